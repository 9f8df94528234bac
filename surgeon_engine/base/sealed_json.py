"""JSON files that hold a checksum of themselves, so that damage is noticed.

    {"sha256":"4f0c...", ...

The checksum is of all bytes that follow its comma.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.reading import LIMIT, read_bytes

_T = TypeVar("_T")
_SEAL = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')


def sealed_json(value: msgspec.Struct | dict[str, Any], *, indent: int = 0) -> bytes:
    """Return values as a JSON object whose first field is the checksum of the rest.

    Args:
        value: The struct or mapping; it is not empty.
        indent: Spaces of each level; 0: one line.
    """
    rest = msgspec.json.format(encode_json(value), indent=indent)[1:]
    return b'{"sha256":"%s",%s' % (_checksum(rest), rest)


def read_sealed_json(path: Path, kind: type[_T], limit: int = LIMIT) -> _T:
    """Return the value of a type that a sealed JSON file holds.

    Raises:
        UnreadableFileError: See `read_bytes`; or the checksum is missing or another
            one, or the values are not of the type.
    """
    data = read_bytes(path, limit)
    seal = _SEAL.match(data)
    if seal is None or seal[1] != _checksum(data[seal.end() :]):
        raise UnreadableFileError(
            f"{path} is damaged or was edited: its checksum does not match."
        )
    try:
        return decode_json(data, kind)
    except msgspec.MsgspecError as error:
        raise UnreadableFileError(f"{path} is damaged: {error}.") from error


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
