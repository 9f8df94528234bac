"""The costs of all possible removals, measured before a run.

    unit        a layer, or a consumer with its producers; in the order of a run
    removal     a candidate of a unit, the cheapest first
    rise        predicted increase of the loss by a removal, nats per token

The arrays are stored in an .npz file, concatenated over all units; `Diagnosed` holds
the number of entries of each unit. Protections and limits are not applied. Arrays:

    structured      cost, weights, rise and is_row of each removal; of experts with
                    neurons, is_row marks the experts
    single weights  bin and count: the number of weights of similar cost. A bin is the
                    upper 16 bits of a float32, a step of less than 0.8 %.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.messages.run import Routing
from surgeon_engine.api.messages.sources import LayerSummary

BIN_BITS = 16  # upper bits of a float32 that identify a bin


class DiagnosedLayer(LayerSummary, frozen=True):
    """A layer that loses weights with the removals of a unit."""

    each: int = 0  # weights in one group; 0: see the array `weights`


class DiagnosedUnit(msgspec.Struct, frozen=True):
    """One unit and its number of entries in the arrays."""

    name: str  # layer whose factors give the costs
    # "heads", "neurons", "experts" or "layer"; with same widths, groups lose the same.
    group: str
    layers: tuple[DiagnosedLayer, ...]  # the layer called `name` first
    entries: int
    candidates: int  # the experts alone, if their neurons are candidates too
    routing: Routing | None = None  # None: not experts
    least: int = 1  # groups that stay
    classes: int = 1  # number of equal runs of experts; all lose equally many
    neurons: int = 0  # removable neurons per expert; 0: none


class Diagnosed(msgspec.Struct, frozen=True, tag=True):
    """Response to `Diagnose`: the costs of a first shot."""

    path: str  # path of the .npz file
    units: tuple[DiagnosedUnit, ...]
    prunable: int  # weights
    calibration_tokens: int
    atom: int = 1  # number of single weights that are removed together
    bundle: int = 1  # number of neurons that are removed together
    cost_damping: float | None = None  # None: the remaining weights are not updated
    damping_tried: int = 0  # number of settings compared; 0: the damping was given
