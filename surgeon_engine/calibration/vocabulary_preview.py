"""Preview the effects of fewer tokens on texts, by the tokenizer alone.

Instead of the predictions of the model, the ranks of tokens say how often each is
expected beside how often it occurs in the calibration texts: tokenizers number frequent
tokens first. Texts are judged on windows that were not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.vocabulary import (
    HitScript,
    Rewritten,
    VocabularyPreviewed,
)
from surgeon_engine.calibration.texts import calibration_source, validation_source
from surgeon_engine.calibration.windows import (
    Vocabulary,
    all_windows,
    draw_windows,
    vocabulary_of,
)
from surgeon_engine.model.gguf_parsing import parsed_once
from surgeon_engine.model.inspect import describe_files
from surgeon_engine.model.source import (
    ModelSource,
    locate,
    read_generation_config,
    read_model_config,
)
from surgeon_engine.model.tokenizer import kept_tokenizer
from surgeon_engine.model.vocabulary.config_ids import needed_rows
from surgeon_engine.model.vocabulary.recoding import Recoding, stretch
from surgeon_engine.model.vocabulary.scripts import COMMON, script_of
from surgeon_engine.model.vocabulary.tokens import (
    TokenTable,
    closed_costs,
    lost,
    table_for,
    too_few_tokens,
    zipf,
)
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer
from surgeon_engine.planning.fewer_tokens import check_fewer_tokens, typical_tokens
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import planned_file

_OF_TEXT = 0.01  # the share of a text from which on a script matters
_HIT = 0.05  # the share of its tokens from which on a script is hit


def preview_vocabulary(
    model: ModelConfig,
    config: CalibrationConfig,
    tokens: int | None,
    kept_texts: tuple[str, ...] = (),
) -> VocabularyPreviewed:
    """Return the effects of fewer tokens on the texts.

    `tokens` says how many to keep; None: as is typical of a run that chooses them.
    `kept_texts` are scripts, languages or text files that keep all their tokens.

    Raises:
        ModelError: The model cannot be read.
        CalibrationError: See `load_windows`.
        ConfigError: So many tokens cannot be removed, or none can.
    """
    source = locate(model.source)
    with parsed_once():
        tokenizer, described = kept_tokenizer(source), describe_files(model).model
        check_fewer_tokens(tokens, described)
        model_config = read_model_config(source)
        table = _table(source, described.vocabulary, kept_texts)
    counted, judging = _windows(source, config, vocabulary_of(model_config))
    _, removable = closed_costs(_expected(counted, table.size), table)
    least = _least(table, tokens)
    if tokens is None:
        count = table.size - max(least, typical_tokens(table.size))
    else:
        count = max(0, table.size - tokens)
    removed = removable[:count].tolist()
    gone = len(removed) + described.vocabulary - table.size if removed else 0
    parameters = gone * described.token_parameters
    kept = described.vocabulary - gone
    form = file_form(RunConfig(model), described)
    unpruned = PruningConfig(sparsity=0.0)
    before, after = (
        planned_file(described, form, unpruned, count).bytes(0)
        for count in (described.vocabulary, kept)
    )
    own = [x for name, x in judging.items() if name in config.all_texts]
    return VocabularyPreviewed(
        tokens=described.vocabulary,
        kept=kept,
        least=least,
        parameters=parameters,
        share=parameters / described.parameters,
        file_bytes=before - after,
        scripts=lost(table, removed),
        texts=_rewritten(tokenizer, table, removed, judging),
        hit=_hit(np.concatenate([x.ravel() for x in own]), table, removed),
        is_typical=tokens is None,
    )


def check_tokens(
    model: ModelConfig, rows: int, tokens: int | None, kept_texts: tuple[str, ...]
) -> None:
    """Check that a run can keep the tokens that it should, of `rows` of an embedding.

    Raises:
        ModelError: The model cannot be read.
        ConfigError: So many tokens cannot be removed, none can, or a name is unknown.
        UnreadableFileError: A file of words cannot be read.
    """
    with parsed_once():
        table = _table(locate(model.source), rows, kept_texts)
    _least(table, tokens)


def _table(source: ModelSource, rows: int, kept_texts: tuple[str, ...]) -> TokenTable:
    """Return the tokens and fix the ones that a run must keep."""
    config, generation = read_model_config(source), read_generation_config(source)
    needed = needed_rows(config, generation, rows)
    return table_for(kept_tokenizer(source), rows, needed, kept_texts)


def _least(table: TokenTable, tokens: int | None) -> int:
    """Return how many tokens must be kept."""
    _, removable = closed_costs(np.zeros(table.size), table)
    least = table.size - len(removable)
    if tokens is not None and tokens < least:
        raise too_few_tokens(tokens, least)
    return least


def _windows(
    source: ModelSource, config: CalibrationConfig, vocabulary: Vocabulary
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return windows to count tokens in, and windows of each text that is judged.

    The built-in text is judged, too, unless a window is longer than it. Where a text
    is not held out, these are the same.
    """
    texts, drawn = draw_windows(config, kept_tokenizer(source), vocabulary)
    judging = {
        name: windows.numpy()
        for name, windows in zip(config.all_texts, texts, strict=True)
        if len(windows)
    }
    is_held_out = calibration_source(config).is_same(validation_source(config))
    if is_held_out and len(drawn.validation):
        judging[config.text] = drawn.validation.numpy()
    if BUILTIN_TEXT not in judging:
        builtin = CalibrationConfig(window_length=config.window_length)
        text = calibration_source(builtin)
        found = all_windows(source, text, builtin, vocabulary)
        if len(found):
            judging[BUILTIN_TEXT] = found[: builtin.validation_windows].numpy()
    return drawn.calibration.numpy(), judging


def _expected(windows: np.ndarray, size: int) -> np.ndarray:
    """Return how often each token is expected, per token of text, by id.

    One half is how often it occurs, the other Zipf's law.
    """
    counts = np.bincount(windows.ravel(), minlength=size)[:size]
    return (counts / max(1, counts.sum()) + zipf(size)) / 2


def _rewritten(
    tokenizer: PreTrainedTokenizerBase,
    table: TokenTable,
    removed: Sequence[int],
    texts: Mapping[str, np.ndarray],
) -> tuple[Rewritten, ...]:
    """Return the effects on texts that are rewritten in the kept tokens."""
    if not removed:
        return tuple(Rewritten(name, x.size, 0.0, 0.0) for name, x in texts.items())
    kept = np.setdiff1d(np.arange(table.size), removed).tolist()
    recoding = Recoding(tokenizer, trimmed_tokenizer(tokenizer, kept))
    return tuple(
        Rewritten(
            name,
            windows.size,
            share=float(np.isin(windows, removed).mean()),
            longer=stretch(recoding.windows(windows)[1]) - 1,
        )
        for name, windows in texts.items()
    )


def _hit(
    text: np.ndarray, table: TokenTable, removed: Sequence[int]
) -> tuple[HitScript, ...]:
    """Return the scripts of a text that lose many of their tokens in it."""
    tokens, counts = np.unique(text[text < table.size], return_counts=True)
    scripts = np.array([script_of(table.pieces[x] or b"") for x in tokens.tolist()])
    is_removed = np.isin(tokens, removed)
    found = []
    for script in sorted({*scripts.tolist()} - {COMMON}):
        of_script = scripts == script
        count = int(counts[of_script].sum())
        of_text = count / counts.sum()
        share = int(counts[of_script & is_removed].sum()) / count
        if of_text >= _OF_TEXT and share >= _HIT:
            found.append(HitScript(script, float(of_text), share))
    return tuple(sorted(found, key=lambda x: -x.of_text))
