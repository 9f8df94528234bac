"""What is known of a model before anything is cut: the costs of all that could go.

    unit        what the threshold takes removals from: a layer, or a consumer with its
                producers; in the order in which a run looks at them
    removal     what may go of a unit, the cheapest first
    rise        predicted rise of the loss by a removal, nats per token

The arrays lie in an .npz file, those of all units one after the other; `Diagnosed` says
which part is whose. They leave out nothing that is protected or limited: whoever plans
does that. Two kinds:

    structured      cost, weights, rise and is_row of each removal
    single weights  bin and count: how many weights cost about as much. A bin is the
                    upper 16 bits of a float32, a step of less than 0.8 %.

Imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.pruning import Method, PruningConfig

BIN_BITS = 16  # of a float32 that stay


class DiagnosedLayer(msgspec.Struct, frozen=True):
    """A layer of which something goes with the removals of a unit."""

    name: str
    block: int
    kind: str
    rows: int
    columns: int
    weights: int  # bias included
    each: int = 0  # weights that go with one group; 0: as many as the removals say


class DiagnosedUnit(msgspec.Struct, frozen=True):
    """One unit, and how many entries of the arrays are its own."""

    name: str  # of the layer by whose factors its costs were computed
    group: (
        str  # "heads", "neurons", or "layer": what goes in step where widths are same
    )
    layers: tuple[DiagnosedLayer, ...]  # that one first
    entries: int
    candidates: int


class Diagnosed(msgspec.Struct, frozen=True, tag=True):
    """The costs of a first shot: answer to `Diagnose`."""

    path: str  # of the .npz file
    units: tuple[DiagnosedUnit, ...]
    prunable: int  # weights
    loss: float  # of the original on the validation windows
    windows: int  # those
    window_length: int
    text: str
    calibration_tokens: int
    device: str
    seconds: float
    atom: int = 1  # single weights that go together
    bundle: int = 1  # neurons that go together
    cost_damping: float | None = None  # None: nothing adapts
    damping_tried: int = 0  # settings that were compared; 0: it was given

    @property
    def layers(self) -> tuple[DiagnosedLayer, ...]:
        """All layers of which something may go."""
        return tuple(layer for unit in self.units for layer in unit.layers)


def predicts_loss(pruning: PruningConfig) -> bool:
    """Whether costs are rises of the loss, and not just an order."""
    return pruning.method in (Method.LLM_SURGEON, Method.K_OBD)
