"""Texts that judge a model, though nothing is fitted to them.

One of another kind than the calibration text shows whether a pruned model still knows
more than its calibration text.
"""

from __future__ import annotations

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    real_name,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.fenced import all_windows
from surgeon_engine.calibration.own_samples import Author, OwnText, own_text
from surgeon_engine.calibration.texts import validation_source
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.model.load import LoadedModel


def own_judging_text(config: RunConfig, author: Author, length: int) -> OwnText | None:
    """Return the text of another kind that the model itself writes; None: it does not.

    It does where the built-in text calibrates, or cannot be read without a tokenizer.
    """
    if not judges_by_own_text(config, author.tokenizer is not None):
        return None
    seed = config.calibration.seed + 1  # not the windows that recovery uses
    return own_text(author, config.evaluation.windows, length, seed)


def judges_by_own_text(config: RunConfig, has_tokenizer: bool) -> bool:
    """Return whether the model itself writes the text of another kind."""
    evaluation = config.evaluation
    is_needed = not has_tokenizer or BUILTIN_TEXT in config.calibration.all_texts
    return bool(evaluation.windows) and not evaluation.texts and is_needed


def read_judging_texts(
    config: RunConfig, loaded: LoadedModel, length: int
) -> tuple[JudgingText, ...]:
    """Return the texts of other kinds that judge the model and that it does not write.

    The built-in text is left out where nobody names it and it has no such windows.

    Raises:
        CalibrationError: a text cannot be read, is too short, or calibrates too.
        ConfigError: a text that is named cannot have windows of this length.
    """
    evaluation, calibration = config.evaluation, config.calibration
    check_judging_texts(config)
    if not evaluation.windows or judges_by_own_text(config, bool(loaded.tokenizer)):
        return ()
    found = []
    for name in evaluation.texts or (BUILTIN_TEXT,):
        try:
            text = _read(name, calibration, loaded, length)
        except ConfigError:  # only token files have windows of such a length
            if evaluation.texts:
                raise
            continue
        if len(text.windows):
            found.append(JudgingText(text.name, text.windows[: evaluation.windows]))
        elif evaluation.texts:
            raise CalibrationError(
                "{text} has no window of {length:,} tokens, so it cannot judge the "
                "model.",
                "Name a longer text to judge on, or use shorter windows.",
                text=text.name,
                length=length,
            )
    return tuple(found)


def check_judging_texts(config: RunConfig) -> None:
    """Check that the texts that a job names to judge the model do not calibrate it.

    Raises:
        CalibrationError: One of them does.
    """
    fitted = set(map(real_name, config.calibration.all_texts))
    for text in config.evaluation.texts if config.evaluation.windows else ():
        if real_name(text) in fitted:
            raise CalibrationError(
                "{text} is a calibration text: it cannot judge as text of another "
                "kind.",
                "Its held-out part judges anyway. Name another text.",
                text=text,
            )


def _read(
    text: str, calibration: CalibrationConfig, loaded: LoadedModel, length: int
) -> JudgingText:
    """Return all windows of a text."""
    settings = CalibrationConfig(
        text=BUILTIN_TEXT if text != BUILTIN_TEXT else f"other than {text}",
        validation_text=text,
        window_length=length,
        seed=calibration.seed,
        rows=calibration.rows,
    )
    source = validation_source(settings)
    windows = all_windows(source, settings, loaded)
    return JudgingText(source.display_name, windows)
