"""JSON that holds a checksum of itself, so that damage is noticed.

    {"sha256":"4f0c...","version":1, ...    a file
    {"crc32":"1c291ca3", ...                a line of a log

The checksum covers all bytes that follow its comma; the version is the format's.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import LIMIT, read_bytes
from surgeon_engine.base.versions import Version, check_version

_T = TypeVar("_T")
_SEAL = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_LINE_SEAL = re.compile(rb'\{"crc32":"([0-9a-f]{8})",')


def sealed_json(
    value: msgspec.Struct | dict[str, Any], version: int, *, indent: int = 0
) -> bytes:
    """Return values as a JSON object whose first field is the checksum of the rest.

    `value` is not empty. `version` is one of `versions`. `indent` is the number of
    spaces of each level; 0: all is in one line.
    """
    encoded = b'{"version":%d,%s' % (version, encode_json(value)[1:])
    rest = msgspec.json.format(encoded, indent=indent)[1:]
    return b'{"sha256":"%s",%s' % (_checksum(rest), rest)


def read_sealed_json(
    path: Path, kind: type[_T], version: int, limit: int = LIMIT
) -> _T:
    """Return the value of a type that a sealed JSON file holds.

    Raises:
        OtherVersionError: The format of the file has another version.
        UnreadableFileError: See `read_bytes`; or the checksum is missing or another
            one, or the values are not of the type.
    """
    data = read_bytes(path, limit)
    seal = _SEAL.match(data)
    if seal is None or seal[1] != _checksum(data[seal.end() :]):
        raise UnreadableFileError(
            "{path} is damaged or was edited: its checksum does not match.", path=path
        )
    try:
        check_version(path, decode_json(data, Version).version, version)
        return decode_json(data, kind)
    except msgspec.MsgspecError as error:
        raise UnreadableFileError(unreadable(path, error)) from error


def sealed_line(value: msgspec.Struct) -> bytes:
    """Return a struct as a line of JSON whose first field is the CRC-32 of the rest."""
    rest = encode_json(value)[1:] + b"\n"
    return b'{"crc32":"%08x",%s' % (zlib.crc32(rest), rest)


def decode_sealed_line(line: bytes, kind: type[_T]) -> _T:
    """Return the value of a type that a line of `sealed_line` holds.

    Raises:
        msgspec.MsgspecError: The checksum is missing or another one, or the values are
            not of the type.
    """
    seal = _LINE_SEAL.match(line)
    if seal is None or int(seal[1], 16) != zlib.crc32(line[seal.end() :]):
        raise msgspec.ValidationError("its checksum does not match")
    return decode_json(line, kind)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
