"""Split texts into windows of tokens for calibration and validation.

A window is a run of tokens of the concatenated documents; each document ends with the
end-of-text token. If the tokenizer puts tokens in front of a text, such as <bos>, every
window begins with them; its length is `window_length` in any case. Chats are rendered
by the template of the model, which puts special tokens into their texts.

Windows of the two parts never overlap: the built-in text is split by topic, any other
text by windows, which are drawn without replacement with the config's seed. Repeated
documents are omitted, and so are validation windows that equal a calibration window.
If a text is far longer than its windows, a random part of it is read. Several texts
share the calibration windows, which are then in random order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from surgeon_engine.api.config.calibration import CalibrationConfig, is_token_file
from surgeon_engine.api.messages.sources import TextStatistics
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.calibration.builtin import Part
from surgeon_engine.calibration.chats import render_chats
from surgeon_engine.calibration.later_windows import later_windows
from surgeon_engine.calibration.long_texts import pieces, random_part, size_of
from surgeon_engine.calibration.texts import (
    Documents,
    TextSource,
    calibration_source,
    more_sources,
    read_documents,
    validation_source,
)
from surgeon_engine.calibration.token_file import read_token_file
from surgeon_engine.model.chat_template import beginning_of_texts
from surgeon_engine.model.source import ModelSource
from surgeon_engine.model.tokenizer import failures_as, kept_tokenizer
from surgeon_engine.planning.windows import check_window_length
from surgeon_engine.runtime import fence

_PIECE = 1_000_000  # characters that are tokenized at once
_PER_SECOND = 20_000  # characters; the slowest tokenizers manage some times that
_SHORT = 4_000_000  # characters of a text that is read as a whole
# A token has 3 to 5 characters in most texts, so that this is a few times the windows.
_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True, eq=False)
class JudgingText:
    """Windows of a text that judge a model."""

    name: str
    windows: Tensor  # windows x length, token ids


@dataclass(frozen=True, slots=True, eq=False)
class TokenWindows:
    """Windows of both parts and their origin."""

    calibration: Tensor  # windows x length, int64
    validation: Tensor  # windows x length, int64
    text: str  # display name of the validation text
    statistics: TextStatistics
    beginning: str = ""  # start of each validation window, such as "<bos>"
    own: Tensor | None = None  # windows x length, written by the model itself
    shipped: Tensor | None = None  # windows x length, from the shipped text
    reserve: Tensor | None = None  # further windows, for the epochs of a training
    # Windows that epochs read in place of each calibration window: windows x length.
    later: tuple[Tensor, ...] = ()
    others: tuple[JudgingText, ...] = ()  # further texts that judge, too

    @property
    def fitted(self) -> list[Tensor]:
        """The windows that a run fits its model to, by kind; the user's come first."""
        kinds = self.calibration, self.own, self.shipped
        return [windows for windows in kinds if windows is not None]

    @property
    def judging(self) -> tuple[JudgingText, ...]:
        """The texts that judge the model; the validation text comes first."""
        return (JudgingText(self.text, self.validation), *self.others)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Limits of a model for its input."""

    size: int
    longest_window: int  # tokens; 0: any


def load_windows(
    source: ModelSource | None,
    config: CalibrationConfig,
    vocabulary: Vocabulary,
    epochs: int,
    judging: int,
) -> TokenWindows:
    """Return the windows that `config` describes, or all windows of a token file.

    They are cut by the tokenizer of `source`; None: texts have none. The rest is as in
    `draw_windows`.

    Raises:
        ModelError: The tokenizer cannot be read.
    """
    tokenizer = kept_tokenizer(source) if source else None
    return draw_windows(config, tokenizer, vocabulary, epochs, judging)[1]


def draw_windows(
    config: CalibrationConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: Vocabulary,
    epochs: int = 0,
    judging: int = 0,
) -> tuple[list[Tensor], TokenWindows]:
    """Draw the calibration windows of each text, and all windows of a run.

    The validation windows come from the main text, or from a text of their own, before
    further texts are read: these do not change what is measured there. The calibration
    windows of several texts are in random order. `tokenizer` is None if no text needs
    it. `epochs` is the number of epochs of a training, which read other windows. At
    most `judging` windows of each further text are held out.

    Raises:
        CalibrationError: A text cannot be read or is too short, or its tokens exceed
            the vocabulary or the window of the model.
        ConfigError: A token file leaves no windows for another text.
    """
    for _, error in config.contradictions():
        raise error
    count, *counts = config.window_counts
    validation_count = config.validation_windows
    source, validation_text = calibration_source(config), validation_source(config)
    reader = _Reader(config, tokenizer)
    if not source.is_builtin and source.is_same(validation_text):
        main = reader.draw(source, "calibration", count, validation_count)
        rest = main[count:]
    else:
        main = reader.draw(source, "calibration", count)
        if is_token_file(source.name):
            count = len(main)  # each of its windows was chosen
        rest = reader.draw(validation_text, "validation", validation_count)
    drawn, left = [(main, count)], list[tuple[str, Tensor]]()
    for more, share in zip(more_sources(config), counts, strict=True):
        windows = reader.draw(more, "calibration", share)
        drawn.append((windows, share))
        unread = windows[share:]
        if more.is_builtin and judging and not validation_text.is_builtin:
            unread = reader.draw(more, "validation")
        left.append((more.display_name, unread))
    texts = [windows[:count] for windows, count in drawn]
    calibration = torch.cat(texts)
    validation = reader.select_held_out(calibration, rest)
    others = reader.select_judging(calibration, left, judging)
    held_out = [validation, *(text.windows for text in others)]
    later = later_windows(drawn, held_out, epochs)
    for windows in (*texts, *held_out, *later):
        _check_usable(windows, vocabulary)
    if len(texts) > 1:
        order = _order(len(calibration), config.seed)
        calibration, later = calibration[order], [later[n] for n in order if later]
    return texts, TokenWindows(
        calibration,
        validation,
        validation_text.display_name,
        reader.statistics,
        reader.beginning_of(validation_text),
        later=tuple(later),
        others=others,
    )


def all_windows(
    source: ModelSource,
    text: TextSource,
    config: CalibrationConfig,
    vocabulary: Vocabulary,
    most: int | None = None,
) -> Tensor:
    """Return windows of a text, all or at most so many, in random order; perhaps none.

    Raises:
        CalibrationError: The text cannot be read, or its tokens exceed the vocabulary
            or the window of the model.
        ModelError: The tokenizer of `source` cannot be read.
    """
    # Models may know the other part of the built-in text: the demo was trained on it.
    windows = _Reader(config, kept_tokenizer(source)).draw(text, "validation")
    _check_usable(windows, vocabulary)
    return windows[:most]


def digest_of(parts: Iterable[Tensor | None]) -> str:
    """Return a digest of windows of tokens; a part may be missing."""
    found = hashlib.sha256()
    for part in parts:
        if part is not None:
            found.update(f"{tuple(part.shape)}".encode())
            found.update(part.long().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def vocabulary_of(config: PretrainedConfig) -> Vocabulary:
    """Return the limits of a model for its input."""
    text = config.get_text_config()
    return Vocabulary(text.vocab_size, getattr(text, "max_position_embeddings", 0) or 0)


class _Reader:
    """Draws windows from texts and counts their tokens and documents."""

    def __init__(
        self, config: CalibrationConfig, tokenizer: PreTrainedTokenizerBase | None
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._beginning = beginning_of_texts(tokenizer)
        self._text_length = config.window_length - len(self._beginning)
        if self._text_length < 2:
            raise CalibrationError(
                "The tokenizer puts {added:,} tokens in front of each window of "
                "{length:,}.",
                "Use longer windows, or download the model's files again.",
                added=len(self._beginning),
                length=config.window_length,
            )
        self._rate = fence.MinimumRate(_PER_SECOND, say("characters"))
        self._seen: set[int] = set()  # hashes of the documents so far
        self.statistics = TextStatistics()

    def draw(self, source: TextSource, part: Part, *counts: int) -> Tensor:
        """Return all windows of `source` in random order: windows x length.

        Raises:
            CalibrationError: There are fewer than the sum of `counts`.
        """
        if is_token_file(source.name):
            windows = read_token_file(source.name)
            self._count(tokens=windows.numel())
            return windows
        length = self._text_length
        documents = read_documents(source, part)
        is_main = source == calibration_source(self._config)
        if is_main:
            self.statistics = replace(self.statistics, column=documents.column)
        unread, without_text = documents.unread, documents.without_text
        self._count(unread_characters=unread, rows_without_text=without_text)
        unseen = self._remove_repeated(documents.chats or documents.texts)
        tokens = self._tokens_of(source, documents, unseen, sum(counts))
        whole = len(tokens) // length
        self._count(tokens=len(tokens) + whole * len(self._beginning))
        if whole < sum(counts):
            subject = say("The text {name}", name=source.display_name)
            if part != "calibration":
                subject = say("The validation text")
            elif is_main:
                subject = say("The calibration text")
            total = len(documents.chats or documents.texts)
            raise CalibrationError(
                say_all(
                    say(
                        "{text} has {tokens:,} tokens: enough for {whole:,} windows of "
                        "{length:,}, but {requested} are needed.",
                        text=subject,
                        tokens=len(tokens),
                        whole=whole,
                        length=self._config.window_length,
                        requested=" + ".join(f"{count:,}" for count in counts),
                    ),
                    say(
                        "{repeated:,} of {total:,} documents are duplicates.",
                        repeated=total - len(unseen),
                        total=total,
                    )
                    if total > len(unseen)
                    else "",
                ),
                "Use a longer or another text, fewer windows or shorter ones.",
            )
        beginning = torch.tensor(self._beginning, dtype=torch.int64)
        rows = tokens[: whole * length].view(whole, length)
        windows = torch.cat([beginning.expand(whole, -1), rows], dim=1)
        return windows[_order(len(windows), self._config.seed)]

    def beginning_of(self, source: TextSource) -> str:
        """Return the beginning of each window of `source`, such as "<bos>"."""
        if self._tokenizer is None or is_token_file(source.name):
            return ""
        return self._tokenizer.decode(self._beginning)

    def select_held_out(self, calibration: Tensor, windows: Tensor) -> Tensor:
        """Return the first windows for validation that are not in `calibration`.

        Raises:
            CalibrationError: There are too few.
        """
        count = self._config.validation_windows
        if is_token_file(self._config.validation_text):
            return windows  # each of them was chosen
        kept = self._unused(calibration, windows, count)
        if len(kept) < count:
            raise CalibrationError(
                "{shared:,} windows that could be held out are in the calibration "
                "text too; {remaining:,} remain, but {count:,} are needed.",
                "Use a text that repeats itself less, or fewer windows.",
                shared=self.statistics.shared_windows,
                remaining=len(kept),
                count=count,
            )
        return kept

    def select_judging(
        self, calibration: Tensor, left: Iterable[tuple[str, Tensor]], most: int
    ) -> tuple[JudgingText, ...]:
        """Return windows of further texts that are not in `calibration`, if any are."""
        found = []
        for name, windows in left:
            kept = self._unused(calibration, windows, most)
            if len(kept):
                found.append(JudgingText(name, kept))
            elif most:
                self._count(unjudged=(name,))
        return tuple(found)

    def _unused(self, calibration: Tensor, windows: Tensor, most: int) -> Tensor:
        """Return the first windows that are not in `calibration`, at most so many."""
        used, kept = set(map(tuple, calibration.tolist())), list[int]()
        for number, window in enumerate(map(tuple, windows.tolist())):
            if len(kept) == most:
                break
            if window in used:
                self._count(shared_windows=1)
            else:
                kept.append(number)
        return windows[kept]

    def _count(self, **more: Any) -> None:
        """Add to counts of the statistics, or to their lists."""
        sums = {name: getattr(self.statistics, name) + x for name, x in more.items()}
        self.statistics = replace(self.statistics, **sums)

    def _remove_repeated(self, documents: Sequence[Any]) -> list[Any]:
        """Return the texts or chats that have not been read before."""
        kept = []
        for document in documents:
            key = hash(str(document).strip())
            if key not in self._seen:
                self._seen.add(key)
                kept.append(document)
        repeated = len(documents) - len(kept)
        self._count(documents=len(documents), repeated_documents=repeated)
        return kept

    def _tokens_of(
        self, source: TextSource, documents: Documents, unseen: list[Any], windows: int
    ) -> Tensor:
        """Return the tokens of the texts or chats, or of a random part of them.

        The part is read again, larger, if it has too few tokens for the windows.
        """
        config, before = self._config, self.statistics
        needed = max(windows, config.windows + config.validation_windows)
        needed *= self._text_length
        total = size_of(unseen)
        characters = max(_SHORT, needed * _CHARACTERS_PER_TOKEN)
        while True:
            self.statistics = before
            part: Sequence[Any] = unseen
            if characters < total:
                part = random_part(unseen, characters, config.seed)
                self._count(unread_characters=total - size_of(part))
            if documents.chats:
                assert self._tokenizer is not None
                column, file = documents.column, Path(source.name).name
                texts = render_chats(column, file, part, self._tokenizer)
                self._count(chats=len(texts), skipped_chats=len(part) - len(texts))
                part = texts
            tokens = self._tokenize(part, are_chats=bool(documents.chats))
            if characters >= total or len(tokens) >= needed:
                return tokens
            characters *= 8

    def _tokenize(self, documents: Sequence[str], *, are_chats: bool) -> Tensor:
        tokenizer = self._tokenizer
        assert tokenizer is not None  # `check_tokenizer` has seen to it
        end, k = tokenizer.eos_token_id, len(self._beginning)
        tokens: list[int] = []
        split = [self._ids_of(document, tokenizer) for document in documents]
        self._count(short_documents=sum(len(x) < self._text_length for x in split))
        for document, ids in zip(documents, split, strict=True):
            if are_chats and ids[:k] == self._beginning:
                ids = ids[k:]  # the window has it already
            tokens += ids
            ends = are_chats and document.rstrip().endswith(tokenizer.eos_token or "")
            if end is not None and not ends:
                tokens.append(end)
        return torch.tensor(tokens, dtype=torch.int64)

    def _ids_of(self, document: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Return the token ids of a text, a piece at a time if it is very long.

        Raises:
            CalibrationError: The tokenizer fails.
        """
        ids: list[int] = []
        failures = failures_as(
            CalibrationError,
            say("The tokenizer of the model fails on this text"),
            say("Choose another text, or download the model's files again."),
        )
        self._rate.leave_out()
        with failures:
            for piece in pieces(document, _PIECE):
                found = tokenizer(piece, add_special_tokens=False, verbose=False)
                ids += found.input_ids
                self._rate.count(len(piece))
        return ids


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _check_usable(windows: Tensor, vocabulary: Vocabulary) -> None:
    """Check token ids and window length, which would fail deep in the model."""
    if not windows.numel():
        return  # the share of a further text is less than a window
    low, high = int(windows.min()), int(windows.max())
    if low < 0 or high >= vocabulary.size:
        raise CalibrationError(
            "The text has token ids from {low} to {high}; the vocabulary of the "
            "model has 0 to {size}.",
            "Use the tokens of this model's own tokenizer.",
            low=low,
            high=high,
            size=vocabulary.size - 1,
        )
    check_window_length(windows.shape[1], vocabulary.longest_window)
