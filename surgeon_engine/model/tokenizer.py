"""Load the tokenizer of a model, after a trial in a process of its own; its size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from surgeon_engine.api.model_info.gguf_header import check_lists, read_gguf_header
from surgeon_engine.base.errors import EngineError, ModelError, UnreadableFileError
from surgeon_engine.base.files import temporary_folder
from surgeon_engine.base.reading import read_json
from surgeon_engine.base.sentences import say
from surgeon_engine.model.chat_template import beginning_of_texts, opening_of_chats
from surgeon_engine.model.gguf_llama import RAGGED
from surgeon_engine.model.gguf_parsing import parsed_once
from surgeon_engine.model.gguf_tokenizer import (
    HEADER_FILE,
    correct_splits,
    leave_out_unlisted,
    tokenizer_entries,
    write_header,
)
from surgeon_engine.model.identity import FileStamp, stamps_of
from surgeon_engine.model.source import ModelSource
from surgeon_engine.planning.constants import HEADER_OPTIONS
from surgeon_engine.runtime import fence

HINT = say(
    "Download the model's files again. Without a tokenizer, only token files "
    "(.npy) can be used as texts."
)
# Texts that tokenizers treat in ways of their own: spaces, digits, accents, controls,
# long words.
_TRIAL = (
    "The quick brown fox, isn't it?  It's 1234567890 jumps: 3.14 * (2 + x) != {}\n\n\t",
    "Grüße, \u0301e\u0308, 漢字かな, русский, العربية, \U0001f600\u200d",
    "\ufeff\u2028\x00\x7f\r\n",
    "",
    " ",
    "a" * 3_000,
    "ab " * 1_000,
    "-" * 1_000 + "\n" * 500 + " " * 500,
)
_MAX_TOKENS = 1_000_000  # the largest have 262,144
# Seconds more for each megabyte.
_SECONDS_IN_GGUF = 2.0
_SECONDS_IN_JSON = 0.3
_MOST_MORE = 8.0  # seconds; a file may be made to take forever
_TEKKEN = "tekken.json"
# transformers reads its tokens from this file, and not which of them have a role.
_ROLES_IN_TEKKEN = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
_FILES = (_TEKKEN, "token*", "vocab*", "*.model", "*.tiktoken")
# Bytes in the header of a GGUF file.
_LENGTH = 8  # the length in front of each text
_NUMBER = 4  # the type or the score of a token
_LIMIT = 2**27  # bytes of a tokenizer.json; the largest have 40 million
_Stamps = tuple[FileStamp, ...]
_tried: dict[ModelSource, _Stamps] = {}  # files of tokenizers that can be used


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer from the folder of the weights, or return None."""
    return None if tokenizer_problem(source) else read_tokenizer(source)


def tokenizer_problem(source: ModelSource) -> str:
    """Return a sentence on why the tokenizer cannot be used; empty if it can.

    It is loaded and tried in a process of its own. A success is remembered for these
    files.
    """
    files = stamps_of(source)
    if source.is_bundled or _tried.get(source) == files:
        return ""
    if missing := no_tokenizer(source):
        return missing
    subject = say("The tokenizer of {source}", source=source.name)
    try:
        fence.call(
            "surgeon_engine.model.tokenizer:try_tokenizer",
            (source,),
            type(None),
            fence.Blame(ModelError, subject, HINT, reading_seconds(source)),
        )
    except ModelError as error:
        return error.message
    _tried[source] = files
    return ""


def no_tokenizer(source: ModelSource) -> str:
    """Return a sentence if there are no files of a tokenizer; else empty."""
    if source.gguf_file or any(any(source.folder.glob(x)) for x in _FILES):
        return ""
    return say("The folder of {source} has no tokenizer.", source=source.name)


def reading_seconds(source: ModelSource) -> float:
    """Return how long the reading may take: about three times as long as usual."""
    if source.gguf_file:
        more = _SECONDS_IN_GGUF * check_lists(source.weight_files[0]) / 1e6
    else:
        paths = (source.folder / name for name in ("tokenizer.json", _TEKKEN))
        size = sum(path.stat().st_size for path in paths if path.is_file())
        more = _SECONDS_IN_JSON * size / 1e6
    return fence.SECONDS + min(more, _MOST_MORE)


def try_tokenizer(source: ModelSource) -> None:
    """Load the tokenizer and use it for everything that a run does with one.

    Raises:
        ModelError: A step fails.
    """
    with _unreadable(source):
        tokenizer = kept_tokenizer(source)
        if (size := len(tokenizer)) > _MAX_TOKENS:
            raise ValueError(
                say("it has {n:,} tokens, more than {most:,}", n=size, most=_MAX_TOKENS)
            )
        last = max(tokenizer.get_vocab().values(), default=0)
        if last > _MAX_TOKENS:  # the library counts up to it when it writes a file
            raise ValueError(say("it has a token of the number {last:,}", last=last))
        for text in (*_TRIAL, " ".join(tokenizer.all_special_tokens)):
            tokenizer(text)
            ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            tokenizer.decode(ids)
        beginning_of_texts(tokenizer)
    with _unreadable(source, is_template=True):
        opening_of_chats(tokenizer)


def read_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load the tokenizer; `load_tokenizer` tries it first.

    Raises:
        ModelError: It cannot be read.
    """
    with _unreadable(source), parsed_once():
        if source.gguf_file:
            tokenizer = _read_from_gguf(source)
        else:
            folder = source.folder
            has_files = any(folder.glob("tokenizer*.json"))
            is_alone = (folder / _TEKKEN).is_file() and not has_files
            roles = _ROLES_IN_TEKKEN if is_alone else {}
            tokenizer = AutoTokenizer.from_pretrained(
                folder, **source.arguments, **roles
            )
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if getattr(getattr(backend, "model", None), "dropout", None) is not None:
            backend.model.dropout = None  # a text would have other tokens each time
    return tokenizer


def _read_from_gguf(source: ModelSource) -> PreTrainedTokenizerBase:
    path, arguments = source.weight_files[0], source.arguments
    entries = tokenizer_entries(path)
    if read_gguf_header(path).get("general.architecture") != RAGGED:
        found = AutoTokenizer.from_pretrained(source.folder, **arguments)
    else:
        # transformers wants an architecture that it knows.
        with temporary_folder() as folder:
            write_header(entries, Path(folder) / path.name, "llama")
            found = AutoTokenizer.from_pretrained(folder, **arguments)
    leave_out_unlisted(found, entries)
    correct_splits(found, entries)
    return found


def kept_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Return the tokenizer, and keep it for the next call.

    The library never frees a tokenizer's cache of texts (0.23: 2.3 MB for a run), so
    the runs of a process share one.

    Raises:
        ModelError: It cannot be read.
    """
    return _kept(source, stamps_of(source))


@lru_cache(maxsize=1)
def _kept(source: ModelSource, _files: _Stamps) -> PreTrainedTokenizerBase:
    return read_tokenizer(source)


@contextmanager
def failures_as(error: type[EngineError], subject: str, hint: str) -> Iterator[None]:
    """Turn exceptions of a tokenizer, also a panic of Rust, into an error.

    Args:
        error: Its type; an error that has it already is passed on.
        subject: The beginning of its message; the reason follows a colon.
        hint: Its advice to the user.
    """
    try:
        yield
    except error:
        raise
    except BaseException as failure:
        is_panic = type(failure).__name__ == "PanicException"
        if not isinstance(failure, Exception) and not is_panic:
            raise
        raise error(
            say(
                "{subject}: {reason:clause}.",
                subject=subject,
                reason=fence.describe(failure),
            ),
            hint,
        ) from failure


def _unreadable(
    source: ModelSource, *, is_template: bool = False
) -> AbstractContextManager[None]:
    name = source.name
    return failures_as(
        ModelError,
        say("The chat template of {name} cannot be read", name=name)
        if is_template
        else say("The tokenizer of {name} cannot be read", name=name),
        HINT,
    )


class _Encoding(msgspec.Struct):
    """The byte pair encoding in a `tokenizer.json`."""

    vocab: dict[str, int]
    merges: list[str | tuple[str, str]] = []
    byte_fallback: bool = False  # scores replace the list of merges in GGUF


class _Tokenizer(msgspec.Struct):
    model: _Encoding


def tokenizer_bytes(source: ModelSource) -> int:
    """Return the bytes of a model's tokenizer in a GGUF file, approximately.

    0 if no GGUF file can hold it.
    """
    header = source.folder / (source.gguf_file or HEADER_FILE)
    if header.is_file():
        return check_lists(header)
    try:
        found = read_json(source.folder / "tokenizer.json", _Tokenizer, _LIMIT)
    except UnreadableFileError:  # another kind, which the writer refuses
        return 0
    encoding = found.model
    size = HEADER_OPTIONS + sum(_text(x) + 2 * _NUMBER for x in encoding.vocab)
    if not encoding.byte_fallback:
        size += sum(
            _text(x if isinstance(x, str) else " ".join(x)) for x in encoding.merges
        )
    return size


def _text(x: str) -> int:
    return _LENGTH + len(x.encode("utf-8", errors="replace"))
