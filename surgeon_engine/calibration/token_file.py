"""Read token files: windows of token ids that were cut elsewhere."""

from __future__ import annotations

import tokenize

import numpy as np
import torch
from torch import Tensor

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.sentences import say
from surgeon_engine.planning.windows import check_text_file

_HINT = say(
    "A token file holds token ids, whole numbers, windows x length (2 or more), "
    "as NumPy saves them."
)
# Raised for headers that are damaged, nested, or promise more numbers than there are.
_NOT_AN_ARRAY = (
    ValueError,
    EOFError,
    SyntaxError,
    MemoryError,
    OverflowError,
    RecursionError,
    tokenize.TokenError,
)
_MAX_TOKENS = 100_000_000


def read_token_file(source: str) -> Tensor:
    """Return the windows of a token file: windows x length, int64.

    Raises:
        CalibrationError: It cannot be read, or holds something else.
    """
    path = check_text_file(source)
    try:
        # Mapped: the header may promise more numbers than the memory holds.
        windows = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise CalibrationError(unreadable(path.name, error), _HINT) from error
    except _NOT_AN_ARRAY as error:
        raise CalibrationError(
            "{path} is not a NumPy file of numbers.", _HINT, path=path.name
        ) from error
    if windows.size > _MAX_TOKENS:
        raise CalibrationError(
            "{path} holds {size:,} tokens; at most {most:,} are possible.",
            "Use fewer windows.",
            path=path.name,
            size=windows.size,
            most=_MAX_TOKENS,
        )
    is_whole = windows.dtype.kind in "iu"
    # At least one token of each window is predicted.
    if not is_whole or windows.ndim != 2 or not len(windows) or windows.shape[1] < 2:
        content = say(
            "{dtype} of shape {shape}", dtype=windows.dtype, shape=windows.shape
        )
        raise CalibrationError(
            "{path} holds {content}.", _HINT, path=path.name, content=content
        )
    return torch.from_numpy(windows.astype(np.int64))
