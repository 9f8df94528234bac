"""The need of a stage of a run: its time, and memory and disk at each moment."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """The bytes of a moment beside the model, by where they are.

    Where the processor computes, it is the device, and all are in main memory.
    """

    device: float = 0.0
    host: float = 0.0  # in main memory in any case
    states: float = 0.0  # in a store on the device, the host or in files
    stores: tuple[float, ...] = ()  # on the host or in files: factors, copies
    of_stores: float = 0.0  # the part of them that a GPU holds at once
    has_original: bool = False  # beside the pruned model
    copies_ahead: bool = True  # whether the next offloaded block is copied ahead


@dataclass(frozen=True, slots=True)
class StageNeed:
    """The need of a stage in the whole run."""

    seconds: float = 0.0
    shared_by: float = 1  # how many processes can share its work; inf: any number
    moments: tuple[Moment, ...] = ()
    # Bytes in main memory beside a GPU from this stage to the end of a shot: in stores,
    # and in any case. Torch does not give pinned memory back.
    stored: tuple[float, ...] = ()
    held: float = 0.0
    process: float = 0.0  # bytes of the whole engine, where the model is not as usual
    child: float = 0.0  # bytes of a process that the stage starts
    files: float = 0.0  # bytes of stores that are in files where memory has no room
    saved: float = 0.0  # bytes on the disk of the saved state
    written: int = 0  # bytes on the disk of the result, and of what checks it
    fixed: float = 0.0  # further seconds, which the settings give, on any machine


ANY_NUMBER = math.inf
