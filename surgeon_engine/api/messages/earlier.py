"""Read the corrections in the logs and reports of earlier versions.

Those versions could end a run with a correction of the weights. Its evaluation becomes
that of the last shot; its stages are left out.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.messages.run import Evaluation, ShotFinished
from surgeon_engine.base.decoding import decode_json


class Correction(msgspec.Struct, frozen=True):
    """An event of a correction."""

    type: str
    stage: str = ""
    evaluation: Evaluation | None = None  # None: the correction had not ended


class _Line(msgspec.Struct):
    event: Correction


def read_correction(line: bytes) -> Correction | None:
    """Return the event in a line of a log; None if it is not of a correction."""
    try:
        event = decode_json(line, _Line).event
    except msgspec.MsgspecError:
        return None
    is_found = event.type == "Corrected" or event.stage == "correction"
    return event if is_found else None


def with_correction(
    shots: tuple[ShotFinished, ...], correction: Correction | None
) -> tuple[ShotFinished, ...]:
    """Return the shots, the last one with its evaluation after the correction."""
    if correction is None or correction.evaluation is None or not shots:
        return shots
    *before, last = shots
    evaluation = correction.evaluation
    return (*before, msgspec.structs.replace(last, evaluation=evaluation))
