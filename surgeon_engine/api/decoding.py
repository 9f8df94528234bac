"""Decode JSON and values into types of this program, in any thread.

msgspec crashes if two threads are the first to use a type. Here, one thread at a time
uses a type; a decoder that has been made can be used in all of them.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar, overload

import msgspec

_T = TypeVar("_T")
_LOCK = threading.RLock()  # a type may decode others while it checks its values


@overload
def json_decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]: ...
@overload
def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]: ...
def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder of JSON."""
    with _LOCK:
        return msgspec.json.Decoder(kind)


def decode_json(data: bytes, kind: type[_T]) -> _T:
    """Return the value of a type that JSON holds.

    Raises:
        msgspec.MsgspecError: The data is no JSON, is nested too deeply, or is not of
            this type.
        UnicodeDecodeError: It is no text.
    """
    try:
        return json_decoder(kind).decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error


@overload
def convert(value: Any, kind: type[_T], *, strict: bool = True) -> _T: ...
@overload
def convert(value: Any, kind: Any, *, strict: bool = True) -> Any: ...
def convert(value: Any, kind: Any, *, strict: bool = True) -> Any:
    """Return plain values as a value of a type.

    Args:
        value: Of mappings, lists, strings and numbers.
        kind: The type.
        strict: Whether strings are no numbers.

    Raises:
        msgspec.ValidationError: They are not of this type.
    """
    with _LOCK:
        return msgspec.convert(value, kind, strict=strict)
