"""Use as many windows as a short text has, where nobody has set their number."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.calibration import CalibrationConfig, is_token_file
from surgeon_engine.calibration.texts import calibration_source
from surgeon_engine.calibration.windows import all_windows, vocabulary_of
from surgeon_engine.model.source import ModelSource, read_model_config

_LEAST = 4  # windows; one of them is held out


def with_windows_there(
    source: ModelSource, config: CalibrationConfig
) -> CalibrationConfig:
    """Return settings of one text with no more windows than it has, or with the least.

    Calibration and validation keep their shares.

    Raises:
        CalibrationError: The text cannot be read, or its tokens exceed the vocabulary
            or the window of the model.
        ModelError: The tokenizer of the model cannot be read.
    """
    text = calibration_source(config)
    if is_token_file(text.name):
        return config
    wanted = config.windows + config.validation_windows
    vocabulary = vocabulary_of(read_model_config(source))
    found = max(_LEAST, len(all_windows(source, text, config, vocabulary, wanted)))
    if found == wanted:
        return config
    held_out = max(1, found * config.validation_windows // wanted)
    return replace(config, windows=found - held_out, validation_windows=held_out)
