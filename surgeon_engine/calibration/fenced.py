"""Read the texts of strangers, and cut them with their tokenizers, in another process.

The results come back as tokens and sentences, so that this process opens no text. What
comes with Surgeon is read here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.sources import TextDescribed, TextPreviewed
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration import preview, texts, windows
from surgeon_engine.calibration.texts import TextSource, check_tokenizer, names_of
from surgeon_engine.calibration.windows import (
    DrawnWindows,
    TokenWindows,
    vocabulary_of,
)
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import tokenizer_problem
from surgeon_engine.runtime import fence

_TEXTS = "surgeon_engine.calibration.texts:described_text"
_PREVIEW = "surgeon_engine.calibration.preview:preview_text"
_DRAW = "surgeon_engine.calibration.windows:draw_with"
_ALL = "surgeon_engine.calibration.windows:all_with"
_NETWORK_SECONDS = 30.0  # between two rows of a data set; a wait may be longer


def described_text(config: CalibrationConfig) -> TextDescribed:
    """Return the columns, configurations and splits of the calibration text.

    Raises:
        CalibrationError: The text cannot be read.
    """
    if is_builtin((config.text,)):
        return texts.described_text(config)
    return fence.call(_TEXTS, (config,), TextDescribed, _blame((config.text,)))


def preview_text(
    model: ModelConfig, config: CalibrationConfig, own_windows: int = 0
) -> TextPreviewed:
    """Return the first windows of each text as text, and the counts of tokens.

    The `own_windows` that the model writes are shown if they are in the cache.

    Raises:
        ModelError: The model cannot be read.
        CalibrationError: See `load_windows`.
        ConfigError: See `load_windows`.
    """
    source, names = locate(model.source), names_of(config)
    problem = tokenizer_problem(source)
    check_tokenizer(problem, names)
    arguments = (model, config, own_windows, not problem)
    if source.is_bundled and is_builtin(names):
        return preview.preview_text(*arguments)
    return fence.call(_PREVIEW, arguments, TextPreviewed, _blame(names))


def load_windows(config: CalibrationConfig, loaded: LoadedModel) -> TokenWindows:
    """Return the windows that `config` describes, or all windows of a token file.

    Raises:
        CalibrationError: A text cannot be read or is too short, or its tokens exceed
            the vocabulary or the window of the model.
        ConfigError: A token file is mixed with further texts.
    """
    vocabulary, names = vocabulary_of(loaded.model.config), names_of(config)
    if loaded.source.is_bundled and is_builtin(names):
        return windows.load_windows(config, loaded.tokenizer, vocabulary)
    check_tokenizer(loaded.tokenizer_problem, names)
    source = None if loaded.tokenizer_problem else loaded.source
    arguments = (source, config, vocabulary)
    return fence.call(_DRAW, arguments, DrawnWindows, _blame(names)).together(
        config.seed
    )


def all_windows(
    text: TextSource, config: CalibrationConfig, loaded: LoadedModel
) -> Tensor:
    """Return all windows of a text in random order: windows x length; perhaps none.

    Raises:
        CalibrationError: The text cannot be read, or its tokens exceed the vocabulary
            or the window of the model.
    """
    check_tokenizer(loaded.tokenizer_problem, (text.name,))
    vocabulary = vocabulary_of(loaded.model.config)
    if loaded.source.is_bundled and text.is_builtin:
        return windows.all_windows(text, config, loaded.tokenizer, vocabulary)
    arguments = (loaded.source, text, config, vocabulary)
    return fence.call(_ALL, arguments, Tensor, _blame((text.name,)))


def is_builtin(names: Iterable[str]) -> bool:
    """Return whether all texts come with Surgeon."""
    return all(name == BUILTIN_TEXT for name in names)


def _blame(names: Iterable[str]) -> fence.Blame:
    names = [name for name in dict.fromkeys(names) if name != BUILTIN_TEXT]
    shown = ", ".join(Path(name).name for name in names)
    is_remote = any(map(is_hub_source, names))
    return fence.Blame(
        CalibrationError,
        say("The text {name}", name=shown) if names else say("The built-in text"),
        say(
            "Choose another text. If others fail too, the tokenizer of the model may "
            "be damaged: download it again."
        ),
        _NETWORK_SECONDS if is_remote else fence.SECONDS,
    )
