"""Check that a model can read windows of the length that a job gives them."""

from __future__ import annotations

from surgeon_engine.base.errors import CalibrationError


def check_window_length(length: int, longest: int) -> None:
    """Check a length against the longest window of a model; 0: it states none.

    Raises:
        CalibrationError: The windows are longer.
    """
    if 0 < longest < length:
        raise CalibrationError(
            "The windows have {shape:,} tokens; the maximum of the model is {limit:,}.",
            "Set window_length to at most {limit}, or split a token file into such "
            "windows.",
            shape=length,
            limit=longest,
        )
