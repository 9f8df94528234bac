"""What a run tells of itself as it goes: pauses, memory, and what its removals cost.

    cost    the rise of the loss that a method predicts for one removal, by itself
    paid    the sum of the costs of what went; the joint rise is not their sum, but
            the parts of it that layers bear can be compared

Imports neither torch nor Qt.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.messages.sources import ModelSummary


class Paused(msgspec.Struct, frozen=True, tag=True):
    """The run waits at a safe point; its model stays where it is."""


class Resumed(msgspec.Struct, frozen=True, tag=True):
    """The run goes on after a pause."""


class MemorySampled(msgspec.Struct, frozen=True, tag=True):
    """How much memory the engine uses at this moment."""

    process_bytes: int  # in RAM, of the engine's process
    device_bytes: int = 0  # on the GPU, of its tensors; 0: there is none
    device_total: int = 0  # of that GPU


class CostHistogram(msgspec.Struct, frozen=True):
    """The costs of all that could have gone in a shot, and what of it went.

    The bins are equally wide on a log scale: bin i reaches from `edges[i]` to
    `edges[i + 1]`. What costs less than the first edge is counted in the first bin.
    """

    edges: tuple[float, ...]  # one more than there are bins
    removed: tuple[int, ...]  # candidates that went
    kept: tuple[int, ...]  # those that could have gone, and stay
    removed_weights: tuple[int, ...]  # how many weights went with them
    kept_weights: tuple[int, ...]


class GroupsLeft(msgspec.Struct, frozen=True):
    """How many heads or neurons are left in the part that a layer belongs to."""

    kind: str  # "heads" (with the query heads that share one) or "neurons"
    kept: int
    of: int


class Stage(Enum):
    """The stages of a run, in order; CURVATURE to EVALUATION repeat for each shot."""

    LOAD = "load"
    TEXT = "text"
    BASELINE = "baseline"
    CURVATURE = "curvature"
    DAMPING = "damping"
    SELECTION = "selection"
    UPDATE = "update"
    EVALUATION = "evaluation"
    CORRECTION = "correction"
    EXPORT = "export"
    VERIFICATION = "verification"
    MEASUREMENT = "measurement"  # of speed and memory, in no run
    GENERATION = "generation"  # of two texts, in no run
    COMPARISON = "comparison"  # of what two models expect of them, in no run


SHOT_STAGES = (
    Stage.CURVATURE,
    Stage.DAMPING,
    Stage.SELECTION,
    Stage.UPDATE,
    Stage.EVALUATION,
)


class FormatSupport(msgspec.Struct, frozen=True):
    """Whether a pruned model can be written in a format; if not, why not."""

    format: Format
    reason: str = ""  # empty: it can


class LayerSparsity(msgspec.Struct, frozen=True):
    """How much of one layer has been removed."""

    name: str
    block: int
    kind: str
    weights: int
    removed: int
    # What all its removals so far were predicted to cost (live.py); 0 for layers that
    # go along with another, and where a method has no costs to compare.
    cost: float = 0.0
    rows_kept: int = -1  # that still hold a weight; -1: not known
    columns_kept: int = -1
    groups: GroupsLeft | None = None  # None: its structure has no heads or neurons

    @property
    def sparsity(self) -> float:
        """Share of its weights removed."""
        return self.removed / self.weights


class Evaluation(msgspec.Struct, frozen=True):
    """Loss on held-out windows, with the protocol that gives it its meaning."""

    loss: float  # mean next-token loss in nats
    perplexity: float  # exp(loss)
    windows: int
    window_length: int
    text: str


class DampingChoice(msgspec.Struct, frozen=True):
    """What a shot went by: the best, as far as held-out windows can tell."""

    cost: float  # damping of the costs, multiple of the mean eigenvalue
    update: float  # damping of the update, likewise
    tried: int  # settings that were compared; 0: they were given
    held_out_loss: float | None = None  # nats per token; None: none was compared


class RunStarted(msgspec.Struct, frozen=True, tag=True):
    """The model and the text are loaded; pruning begins."""

    folder: str
    shots: int
    model: ModelSummary
    device: str
    calibration_tokens: int
    validation_tokens: int


class StageStarted(msgspec.Struct, frozen=True, tag=True):
    """A stage has begun; `shot` counts from 1 and is 0 outside the shots."""

    stage: Stage
    shot: int


class Progressed(msgspec.Struct, frozen=True, tag=True):
    """`done` of `total` units (batches, blocks, layers) of a stage are done."""

    stage: Stage
    shot: int
    done: int
    total: int


class BaselineEvaluated(msgspec.Struct, frozen=True, tag=True):
    """The unpruned model's loss on the validation windows."""

    evaluation: Evaluation


class ShotFinished(msgspec.Struct, frozen=True, tag=True):
    """The model has `sparsity` of its prunable weights removed."""

    shot: int
    target: float
    sparsity: float
    # The largest cost paid, per the cost basis; a share where removals are spread
    # evenly; None: nothing went.
    threshold: float | None
    parameters: int  # that remain in the whole model
    evaluation: Evaluation
    layers: tuple[LayerSparsity, ...]
    seconds: float
    damping: DampingChoice | None = None  # None: nothing adapts
    costs: CostHistogram | None = None  # None: nothing could have gone


class Corrected(msgspec.Struct, frozen=True, tag=True):
    """After the last shot the weights that stay have followed the gradient."""

    lengths: tuple[float, ...]  # of the steps taken; empty: none would have helped
    loss_before: float  # on the held-out calibration windows, nats per token
    loss_after: float
    evaluation: Evaluation
    seconds: float


class Exported(msgspec.Struct, frozen=True, tag=True):
    """A checkpoint lies in `folder`; what was found when a fresh process loaded it."""

    folder: str
    bytes: int  # of all its files
    tokens_compared: int  # 0: nothing here could run it, its tensors were read back
    largest_difference: float  # between logits in memory and after reloading
    format: Format = Format.MASKED
    dtype: FileDtype = FileDtype.FLOAT32
    weight_bytes: int = 0  # of the files that hold weights
    forecast_bytes: int = 0  # what those were to take
    agreement: float = 1.0  # share of tokens whose likeliest next token is the same
    perplexity: float | None = None  # on the first validation windows, as reloaded
    expected_perplexity: float | None = None  # the same, in memory
    checked_with: str = ""  # by what program
    others: tuple[FormatSupport, ...] = ()  # in which other formats it can be written


class RunFinished(msgspec.Struct, frozen=True, tag=True):
    """The run is complete, or was stopped early and kept; see `report.json`."""

    stopped_early: bool
    seconds: float
    peak_memory_bytes: int
