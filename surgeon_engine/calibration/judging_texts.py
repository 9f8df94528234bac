"""Texts that judge a model, though nothing is fitted to them.

One of another kind than the calibration text shows whether a pruned model still knows
more than its calibration text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    real_name,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.calibration.own_samples import own_samples
from surgeon_engine.calibration.texts import validation_source
from surgeon_engine.calibration.windows import (
    JudgingText,
    all_windows,
    vocabulary_of,
)
from surgeon_engine.model.load import LoadedModel

OWN_TEXT = "text by the model itself"


def judges_by_own_text(config: RunConfig, has_tokenizer: bool) -> bool:
    """Return whether the model itself writes the text of another kind."""
    evaluation, calibration = config.evaluation, config.calibration
    is_needed = not has_tokenizer or BUILTIN_TEXT in calibration.all_texts
    return bool(evaluation.windows) and not evaluation.texts and is_needed


def judging_texts(
    config: RunConfig, loaded: LoadedModel, length: int, step: Callable[[], None]
) -> tuple[JudgingText, ...]:
    """Return the texts of other kinds that judge the model of a run.

    Args:
        config: the job.
        loaded: the original model.
        length: tokens of a window.
        step: called after each token that the model writes.

    Raises:
        CalibrationError: a text cannot be read, is too short, or calibrates too.
    """
    count, calibration = config.evaluation.windows, config.calibration
    if count == 0:
        return ()
    if judges_by_own_text(config, loaded.tokenizer is not None):
        windows = own_samples(loaded, count, length, calibration.seed + 1, step)
        return (JudgingText(OWN_TEXT, windows),)
    texts = config.evaluation.texts or (BUILTIN_TEXT,)
    return tuple(_read(text, calibration, loaded, length, count) for text in texts)


def _read(
    text: str,
    calibration: CalibrationConfig,
    loaded: LoadedModel,
    length: int,
    count: int,
) -> JudgingText:
    if real_name(text) in map(real_name, calibration.all_texts):
        raise CalibrationError(
            f"{text} is a calibration text: it cannot judge as text of another kind.",
            "Its held-out part judges anyway. Name another text.",
        )
    other = BUILTIN_TEXT if text != BUILTIN_TEXT else f"other than {text}"
    settings = replace(
        calibration, text=other, validation_text=text, window_length=length
    )
    source = validation_source(settings)
    vocabulary = vocabulary_of(loaded.model.config)
    windows = all_windows(source, settings, loaded.tokenizer, vocabulary)[:count]
    if len(windows) == 0:
        raise CalibrationError(
            f"{source.display_name} has no window of {length:,} tokens, so it "
            "cannot judge the model.",
            "Name a longer text to judge on, or use shorter windows.",
        )
    return JudgingText(source.display_name, windows)
