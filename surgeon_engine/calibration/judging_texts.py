"""Texts that judge a model, though nothing is fitted to them.

One of another kind than the calibration text shows whether a pruned model still knows
more than its calibration text.
"""

from __future__ import annotations

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.fenced import all_windows
from surgeon_engine.calibration.own_samples import Author, OwnText, own_text
from surgeon_engine.calibration.texts import validation_source
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.model.load import LoadedModel


def own_judging_text(config: RunConfig, author: Author, length: int) -> OwnText | None:
    """Return the text of another kind that the model itself writes; None: it does not.

    It does where the built-in text calibrates or validates, or cannot be read without
    a tokenizer.
    """
    if not judges_by_own_text(config, author.tokenizer is not None):
        return None
    seed = config.calibration.seed + 1  # not the windows that recovery uses
    return own_text(author, config.evaluation.windows, length, seed)


def judges_by_own_text(config: RunConfig, has_tokenizer: bool) -> bool:
    """Return whether the model itself writes the text of another kind."""
    evaluation = config.evaluation
    is_needed = not has_tokenizer or BUILTIN_TEXT in config.calibration.texts_read
    return bool(evaluation.windows) and not evaluation.texts and is_needed


def read_judging_texts(
    config: RunConfig, loaded: LoadedModel, length: int
) -> tuple[JudgingText, ...]:
    """Return the texts of other kinds that judge the model and that it does not write.

    The built-in text is left out where nobody names it and it has no such windows.

    Raises:
        CalibrationError: a text cannot be read or is too short.
        ConfigError: a text that is named cannot have windows of this length.
    """
    evaluation = config.evaluation
    if not evaluation.windows or judges_by_own_text(config, bool(loaded.tokenizer)):
        return ()
    found = []
    for name in evaluation.texts or (BUILTIN_TEXT,):
        try:
            text = _read(name, config, loaded, length)
        except ConfigError:  # only token files have windows of such a length
            if evaluation.texts:
                raise
            continue
        if len(text.windows):
            found.append(text)
        elif evaluation.texts:
            raise CalibrationError(
                "{text} has no window of {length:,} tokens, so it cannot judge the "
                "model.",
                "Name a longer text to judge on, or use shorter windows.",
                text=text.name,
                length=length,
            )
    return tuple(found)


def _read(
    text: str, config: RunConfig, loaded: LoadedModel, length: int
) -> JudgingText:
    """Return as many windows of a text as judge a model, if it has them."""
    seed, rows = config.calibration.seed, config.calibration.rows
    settings = CalibrationConfig(
        validation_text=text, window_length=length, seed=seed, rows=rows
    )
    source, most = validation_source(settings), config.evaluation.windows
    windows = all_windows(source, settings, loaded, most)
    return JudgingText(source.display_name, windows)
