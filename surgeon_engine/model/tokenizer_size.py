"""Estimate the bytes that a tokenizer takes in the header of a GGUF file."""

from __future__ import annotations

import msgspec

from surgeon_engine.api.model_info.gguf_header import check_lists
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.reading import read_json
from surgeon_engine.model.gguf_tokenizer import HEADER_FILE
from surgeon_engine.model.source import ModelSource
from surgeon_engine.planning.constants import HEADER_OPTIONS

_LENGTH = 8  # bytes, before each text
_NUMBER = 4  # bytes of a token's type, and of its score
_LIMIT = 2**27  # bytes of a file; the largest have 40 million


class _Encoding(msgspec.Struct):
    """What `tokenizer.json` says of a byte pair encoding."""

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
