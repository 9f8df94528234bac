"""The part of the general text that comes with Surgeon: passages of many kinds.

Like own text (`own_samples.py`), it keeps a pruned model from specializing to the
user's text, but costs no writing. `resources/shipped_text/README.md` lists its sources.
"""

from __future__ import annotations

from torch import Tensor

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.calibration.fenced import all_windows
from surgeon_engine.calibration.texts import SHIPPED_TEXT, TextSource
from surgeon_engine.model.load import LoadedModel


def shipped_windows(loaded: LoadedModel, length: int, seed: int) -> Tensor:
    """Return all windows of the shipped text in random order: windows x length.

    Raises:
        CalibrationError: The tokenizer cannot read it, or its tokens exceed the
            vocabulary or the window of the model.
        ConfigError: No window may have this length.
    """
    config = CalibrationConfig(text=SHIPPED_TEXT, window_length=length, seed=seed)
    return all_windows(TextSource(SHIPPED_TEXT, column="text"), config, loaded)
