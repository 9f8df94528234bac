"""Read the texts of strangers, and cut them with their tokenizers, in another process.

The results come back as tokens and sentences, so that this process opens no text. What
comes with Surgeon is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.sources import (
    ModelSummary,
    TextDescribed,
    TextPreviewed,
)
from surgeon_engine.api.messages.vocabulary import VocabularyPreviewed
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration.texts import SHIPPED_TEXT, TextSource
from surgeon_engine.calibration.windows import TokenWindows, vocabulary_of
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import ModelSource, locate
from surgeon_engine.model.tokenizer import reading_seconds, tokenizer_problem
from surgeon_engine.model.vocabulary.definition import definition_of
from surgeon_engine.planning.windows import check_tokenizer
from surgeon_engine.runtime import fence

_OWN = {BUILTIN_TEXT, SHIPPED_TEXT}
_NETWORK_SECONDS = 30.0  # between two rows of a dataset; a wait may be longer
_T = TypeVar("_T")


def described_text(config: CalibrationConfig) -> TextDescribed:
    """Return the columns, configurations and splits of the calibration text.

    Raises:
        CalibrationError: The text cannot be read.
    """
    return _read("texts:described_text", (config,), TextDescribed, (config.text,))


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
    source, names = locate(model.source), config.texts_read
    problem = tokenizer_problem(source)
    check_tokenizer(problem, names)
    arguments = (model, config, own_windows, not problem)
    return _read("preview:preview_text", arguments, TextPreviewed, names, source)


def with_windows_there(
    model: ModelConfig, config: CalibrationConfig
) -> CalibrationConfig:
    """Return settings of one text with no more windows than it has, or with the least.

    Raises:
        ModelError: The model cannot be read.
        CalibrationError: See `load_windows`.
    """
    source, names = locate(model.source), config.texts_read
    check_tokenizer(tokenizer_problem(source), names)
    function = "short_texts:with_windows_there"
    return _read(function, (source, config), CalibrationConfig, names, source)


def preview_vocabulary(
    model: ModelConfig,
    config: CalibrationConfig,
    tokens: int | None,
    kept_texts: tuple[str, ...] = (),
) -> VocabularyPreviewed:
    """Return the effects of fewer tokens on the texts, by the tokenizer alone.

    Raises:
        ModelError: The model cannot be read.
        CalibrationError: See `load_windows`.
        ConfigError: So many tokens cannot be removed, or none can.
    """
    source, names = locate(model.source), config.texts_read
    check_tokenizer(tokenizer_problem(source), (*names, BUILTIN_TEXT))
    return _read(
        "vocabulary_preview:preview_vocabulary",
        (model, config, tokens, kept_texts),
        VocabularyPreviewed,
        (*names, *kept_texts),
        source,
    )


def check_tokens(config: RunConfig, model: ModelSummary) -> None:
    """Check that a run can keep the tokens that its settings name.

    Raises:
        ConfigError: So many tokens cannot be removed, none can, or a name is unknown.
        UnreadableFileError: A file of words cannot be read.
    """
    pruning = config.pruning
    if not pruning.removes_tokens:
        return
    source, names = locate(config.model.source), pruning.kept_texts
    if tokenizer_problem(source):
        definition_of(None)  # raises
    arguments = (config.model, model.vocabulary, pruning.tokens_to_keep, names)
    _read("vocabulary_preview:check_tokens", arguments, type(None), names, source)


def load_windows(
    config: CalibrationConfig, loaded: LoadedModel, epochs: int = 0, judging: int = 0
) -> TokenWindows:
    """Return the windows that `config` describes, or all windows of a token file.

    `epochs` is how many of a training read other windows, and `judging` how
    many windows of each further text judge the model.

    Raises:
        CalibrationError: A text cannot be read or is too short, or its tokens exceed
            the vocabulary or the window of the model.
        ConfigError: A token file leaves no windows for another text.
    """
    names = config.texts_read
    check_tokenizer(loaded.tokenizer_problem, names)
    source = None if loaded.tokenizer_problem else loaded.source
    arguments = (source, config, vocabulary_of(loaded.model.config), epochs, judging)
    return _read("windows:load_windows", arguments, TokenWindows, names, loaded.source)


def all_windows(
    text: TextSource,
    config: CalibrationConfig,
    loaded: LoadedModel,
    most: int | None = None,
) -> Tensor:
    """Return windows of a text, all or at most so many, in random order; perhaps none.

    Raises:
        CalibrationError: The text cannot be read, or its tokens exceed the vocabulary
            or the window of the model.
    """
    check_tokenizer(loaded.tokenizer_problem, (text.name,))
    vocabulary = vocabulary_of(loaded.model.config)
    arguments = (loaded.source, text, config, vocabulary, most)
    return _read("windows:all_windows", arguments, Tensor, (text.name,), loaded.source)


def shipped_windows(loaded: LoadedModel, length: int, seed: int) -> Tensor:
    """Return all windows of the shipped text in random order: windows x length.

    These passages of many kinds keep a pruned model from specializing to the user's
    text, as own text does (`own_samples.py`), but cost no writing.

    Raises:
        CalibrationError: The tokenizer cannot read them, or their tokens exceed the
            vocabulary or the window of the model.
        ConfigError: No window may have this length.
    """
    config = CalibrationConfig(text=SHIPPED_TEXT, window_length=length, seed=seed)
    return all_windows(TextSource(SHIPPED_TEXT, column="text"), config, loaded)


def _read(
    function: str,
    arguments: Sequence[Any],
    kind: type[_T],
    names: Sequence[str],
    source: ModelSource | None = None,
) -> _T:
    """Return the result of a function that reads texts, perhaps with a tokenizer."""
    function = f"surgeon_engine.calibration.{function}"
    is_own = set(names) <= _OWN
    if is_own and (source is None or source.is_bundled):
        return cast(_T, fence.resolve(function)(*arguments))
    return fence.call(function, arguments, kind, _blame(names, source))


def _blame(names: Sequence[str], source: ModelSource | None) -> fence.Blame:
    names = [name for name in dict.fromkeys(names) if name not in _OWN]
    shown = ", ".join(Path(name).name for name in names)
    seconds = fence.SECONDS if source is None else reading_seconds(source)
    if any(map(is_hub_source, names)):
        seconds = max(seconds, _NETWORK_SECONDS)
    return fence.Blame(
        CalibrationError,
        say("The text {name}", name=shown) if names else say("The built-in text"),
        say(
            "Choose another text. If others fail too, the tokenizer of the model may "
            "be damaged: download it again."
        ),
        seconds,
    )
