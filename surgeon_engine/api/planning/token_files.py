"""The counts and lengths of the windows in token files, read from their headers."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

from surgeon_engine.api.config.calibration import CalibrationConfig, is_token_file
from surgeon_engine.api.errors import ConfigError

_MAGIC = b"\x93NUMPY"  # the first bytes of NumPy's files
_LONGEST = 10_000  # bytes of a header that are read


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
        with Path(text).expanduser().open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            is_first = file.read(2)[0] == 1  # version of the form
            length = int.from_bytes(file.read(2 if is_first else 4), "little")
            header = ast.literal_eval(file.read(min(length, _LONGEST)).decode("latin1"))
        shape = header["shape"]
    except (OSError, RuntimeError, ValueError, SyntaxError, LookupError, TypeError):
        return None
    return shape if isinstance(shape, tuple) and len(shape) == 2 else None
