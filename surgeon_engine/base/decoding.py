"""Convert JSON and values to types of this program and back, in any thread.

A `Sentence` is an object with its template and values, or a string where it has none.

msgspec crashes if two threads are the first to use a type. Here, one thread at a time
uses a type; a decoder that has been made can be used in all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.formatting import escape_controls
from surgeon_engine.base.sentences import Sentence, from_plain, to_plain

# Seconds since the epoch that a calendar can show: until the year 3000.
Time = Annotated[float, msgspec.Meta(ge=0, lt=32_503_680_000)]

_T = TypeVar("_T")
Decoder: TypeAlias = Callable[[bytes | str], _T]
_Hook = Callable[[Any, Any], Any] | None  # makes values of types unknown to msgspec
_MAX_TEXT = 100_000  # characters of a text from another computer
_MAX_INTEGER = 2**53
_MAX_VALUES = 500_000  # values in a line; as many empty lists have 35 MB
_LOCK = threading.RLock()  # a type may decode others while it checks its values


def json_decoder(kind: Any, hook: _Hook = None) -> Decoder[Any]:
    """Return a function that reads values of a type; see `decode_json`."""
    with _LOCK:
        decoder = msgspec.json.Decoder(kind, dec_hook=partial(_read, hook))

    def decode(data: bytes | str) -> Any:
        try:
            return decoder.decode(data)
        except RecursionError as error:
            raise msgspec.DecodeError("JSON is nested too deeply") from error
        except (UnicodeDecodeError, EngineError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return decode


def decode_json(data: bytes, kind: type[_T]) -> _T:
    """Return the value of a type that JSON holds.

    Raises:
        msgspec.MsgspecError: The data is no text and no JSON, is nested too deeply, is
            not of this type, or has a setting out of its range.
    """
    return json_decoder(kind)(data)


def encode_json(value: object, hook: Callable[[Any], Any] | None = None) -> bytes:
    """Return a value as JSON in one line.

    `hook` makes plain values of a type that msgspec does not know.
    """
    return msgspec.json.encode(value, enc_hook=partial(_write, hook))


def to_builtins(value: object, hook: Callable[[Any], Any] | None = None) -> Any:
    """Return a value as plain values; see `encode_json`."""
    return msgspec.to_builtins(value, enc_hook=partial(_write, hook))


def clean_json(data: bytes) -> bytes:
    """Return JSON from another computer with texts and numbers that can be shown.

    Control characters are escaped, and texts beyond 100,000 characters cut.

    Raises:
        msgspec.MsgspecError: See `decode_json`; or there are too many values, or
            too large ones.
    """
    if data.count(b",") > _MAX_VALUES:
        raise msgspec.DecodeError(f"there are more than {_MAX_VALUES:,} values")
    try:
        return msgspec.json.encode(_clean(_ANYTHING(data)))
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error


def _clean(value: Any) -> Any:
    match value:
        case str():
            return escape_controls(value[:_MAX_TEXT])
        case dict():
            return {_clean(name): _clean(each) for name, each in value.items()}
        case list():
            return [_clean(each) for each in value]
        case int() if abs(value) > _MAX_INTEGER:
            raise msgspec.DecodeError(f"an integer exceeds {_MAX_INTEGER}")
    return value


def convert(value: Any, kind: Any, *, strict: bool = True, hook: _Hook = None) -> Any:
    """Return plain values as a value of a type.

    With `strict`, strings are no numbers. `hook` makes a value of a type that msgspec
    does not know, from both.

    Raises:
        msgspec.ValidationError: They are not of this type.
    """
    with _LOCK:
        return msgspec.convert(
            value, kind, strict=strict, dec_hook=partial(_read, hook)
        )


def _read(hook: _Hook, kind: Any, value: Any) -> Any:
    if kind is Sentence:
        return from_plain(value)
    if hook is None:
        raise NotImplementedError(f"no JSON for {kind}")
    return hook(kind, value)


def _write(hook: Callable[[Any], Any] | None, value: Any) -> Any:
    if isinstance(value, Sentence):
        return to_plain(value)
    if hook is None:
        raise NotImplementedError(f"no JSON for {type(value)}")
    return hook(value)


_ANYTHING = json_decoder(Any)
