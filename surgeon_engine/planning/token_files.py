"""The counts and lengths of the windows in token files, read from their headers."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from surgeon_engine.api.config.calibration import CalibrationConfig, is_token_file
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.base.reading import open_to_read

_MAGIC = b"\x93NUMPY"  # the first bytes of NumPy's files
_LONGEST = 10_000  # bytes of a header
_SHAPE = re.compile(rb"'shape': \((\d{1,18}), (\d{1,18})\)")


def with_token_file_shape(calibration: CalibrationConfig) -> CalibrationConfig:
    """Return the config with the counts and lengths of its token files.

    Files that cannot be read change nothing; reading them later raises.
    """
    own = _shape(calibration.text)
    other = _shape(calibration.validation_text)
    changes: dict[str, Any] = {}
    if own is not None:
        changes["windows"], changes["window_length"] = own
    if other is not None:
        changes["validation_windows"] = other[0]
    try:
        return dataclasses.replace(calibration, **changes)
    except ConfigError:  # windows of an invalid length
        return calibration


def _shape(text: str) -> tuple[int, int] | None:
    if not is_token_file(text):
        return None
    try:
        path = Path(text).expanduser()
        with open_to_read(path) as file:
            start = file.read(_LONGEST)
    except (OSError, RuntimeError, UnreadableFileError):
        return None
    found = _SHAPE.search(start) if start.startswith(_MAGIC) else None
    return (int(found[1]), int(found[2])) if found else None
