"""Events of a run.

cost         increase of the loss that a method predicts for one removal alone
total cost   their sum: not the joint increase of the loss, but layers can be compared
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Annotated, NamedTuple

import msgspec

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.sentences import Text, say

# Limits of the numbers in logs and reports: larger ones cannot be shown.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e10)]


class Paused(msgspec.Struct, frozen=True, tag=True):
    """The run waits at a safe point with its model in memory."""


class Resumed(msgspec.Struct, frozen=True, tag=True):
    """The run continues after a pause."""


class MemorySampled(msgspec.Struct, frozen=True, tag=True):
    """Current memory use of the engine."""

    process_bytes: Count  # RAM of the engine's process
    device_bytes: Count = 0  # tensors on the GPU; 0: no GPU
    device_total: Count = 0  # memory of the GPU


class CostHistogram(msgspec.Struct, frozen=True):
    """Histogram of the costs of all candidates of a shot.

    The bins are equally wide on a log scale: bin i covers `edges[i]` to `edges[i + 1]`.
    Costs below the first edge are counted in the first bin.
    """

    edges: tuple[float, ...]  # number of bins + 1
    removed: tuple[Count, ...]  # number of removed candidates
    kept: tuple[Count, ...]  # number of kept candidates
    removed_weights: tuple[Count, ...]  # number of weights of the removed candidates
    kept_weights: tuple[Count, ...]


class GroupsLeft(msgspec.Struct, frozen=True):
    """Number of remaining heads, neurons or experts in the module of a layer."""

    # "heads" (with the query heads that share one), "neurons", "experts" or
    # "expert_neurons"
    kind: str
    kept: Count
    of: Positive


class Routing(msgspec.Struct, frozen=True):
    """The use of a layer's experts by the calibration text, in the original."""

    tokens: tuple[Count, ...]  # number of tokens that are routed to each expert
    costs: tuple[float, ...]  # cost of removing each expert, by the method
    kept: tuple[Count, ...]  # numbers of the remaining experts, from 0

    @property
    def unused(self) -> int:
        """The number of experts that no token is routed to."""
        return self.tokens.count(0)


class Stage(Enum):
    """The stages of a run, in order; DEPTH to EVALUATION repeat for each shot."""

    LOAD = "load"
    TEXT = "text"
    BASELINE = "baseline"
    VOCABULARY = "vocabulary"  # costs of tokens
    DEPTH = "depth"  # costs of whole blocks, attentions and MLPs
    CURVATURE = "curvature"
    DAMPING = "damping"
    SELECTION = "selection"
    UPDATE = "update"
    EVALUATION = "evaluation"
    SAMPLING = "sampling"
    REFERENCE = "reference"  # the original's hidden states, for recovery
    REFIT = "refit"
    RECONSTRUCTION = "reconstruction"  # with the refit
    DISTILLATION = "distillation"
    EXPORT = "export"
    VERIFICATION = "verification"
    MEASUREMENT = "measurement"  # speed and memory; not part of a run
    GENERATION = "generation"  # a sample; or texts and answers, outside of runs
    COMPARISON = "comparison"  # two models' predictions; not part of a run


# The activity of each stage, as the window and the command line say it.
ACTIVITIES = {
    Stage.LOAD: "loading the model",
    Stage.TEXT: "preparing the text",
    Stage.BASELINE: "evaluating the original",
    Stage.VOCABULARY: "measuring what tokens cost",
    Stage.DEPTH: "measuring whole blocks",
    Stage.CURVATURE: "measuring what counts",
    Stage.DAMPING: "searching for the damping",
    Stage.SELECTION: "selecting what to remove",
    Stage.UPDATE: "removing weights and updating the rest",
    Stage.SAMPLING: "writing text with the original",
    Stage.REFERENCE: "running the original",
    Stage.REFIT: "refitting the remaining weights",
    Stage.RECONSTRUCTION: "refitting and training block by block",
    Stage.DISTILLATION: "training toward the original",
    Stage.EVALUATION: "evaluating",
    Stage.EXPORT: "writing the pruned model",
    Stage.VERIFICATION: "a fresh process loads the export and compares it",
    Stage.MEASUREMENT: "measuring speed and memory",
    Stage.GENERATION: "generating with both models",
    Stage.COMPARISON: "comparing the predictions of both models",
}

SHOT_STAGES = (
    Stage.DEPTH,
    Stage.CURVATURE,
    Stage.DAMPING,
    Stage.SELECTION,
    Stage.UPDATE,
    Stage.EVALUATION,
)


class FormatSupport(msgspec.Struct, frozen=True):
    """Support of an export format for a pruned model."""

    format: Format
    reason: Text = ""  # why the format is not supported; empty: it is


class LayerSparsity(msgspec.Struct, frozen=True):
    """Sparsity of one layer."""

    name: str
    block: Count
    kind: str
    weights: Positive
    removed: Count
    # Total cost of its removals so far; 0 for layers that are removed with another, and
    # for methods without comparable costs.
    cost: float = 0.0
    rows_kept: int = -1  # rows with at least one weight; -1: not known
    columns_kept: int = -1
    groups: GroupsLeft | None = None  # None: its structure has no such groups
    routing: Routing | None = None  # None: not experts, or not measured
    neurons: GroupsLeft | None = None  # neurons per expert; None: they stay together

    @property
    def sparsity(self) -> float:
        """Share of removed weights."""
        return self.removed / self.weights


class ExpertsLeft(NamedTuple):
    """The numbers of experts left in blocks, or of neurons left in experts."""

    least: int  # number in the block, or expert, with the fewest
    most: int
    of: int  # number in a block, or in an expert, of the original


def experts_left(layers: Iterable[LayerSparsity]) -> ExpertsLeft | None:
    """Return how many experts are left in layers; None: none were to be removed."""
    groups = (x.groups for x in layers)
    return _left([x for x in groups if x and x.kind == Coupling.EXPERTS])


def neurons_left(layers: Iterable[LayerSparsity]) -> ExpertsLeft | None:
    """Return how many neurons experts have left; None: none were to be removed."""
    return _left([x.neurons for x in layers if x.neurons])


def _left(found: Sequence[GroupsLeft]) -> ExpertsLeft | None:
    if not found:
        return None
    kept = [groups.kept for groups in found]
    return ExpertsLeft(min(kept), max(kept), max(groups.of for groups in found))


class Estimate(msgspec.Struct, frozen=True):
    """A mean over windows of text, with its 95 % interval; or a forecast."""

    value: float
    low: float
    high: float


def format_estimate(estimate: Estimate, to_text: Callable[[float], str]) -> str:
    """Format a figure with its interval, such as "0.39 (0.36 to 0.42)".

    That of a single window has none.
    """
    if estimate.low == estimate.high:
        return to_text(estimate.value)
    return say(
        "{value} ({low} to {high})",
        value=to_text(estimate.value),
        low=to_text(estimate.low),
        high=to_text(estimate.high),
    )


class Fidelity(msgspec.Struct, frozen=True):
    """The fidelity of a model to the original on one text, with the protocol."""

    divergence: Estimate  # KL(original || model), nats per token
    agreement: Estimate  # share of tokens with the same top token
    perplexity: Estimate  # per token of the original
    windows: Count
    window_length: Count
    text: str  # name
    # Mean of the sum of min(p, q): the share of its own tokens that the original would
    # keep if the model drafted them. None: not measured.
    overlap: Estimate | None = None
    # The share of tokens that are compared, where the model has fewer tokens than the
    # original: those that end at the same byte as one of the original's. None: all.
    compared: float | None = None
    # Bits per byte of the text: comparable between models with different tokens. None:
    # not measured.
    bits_per_byte: Estimate | None = None
    original_bits: Estimate | None = None  # likewise, on the same bytes


class Evaluation(msgspec.Struct, frozen=True):
    """Loss on held-out windows, with its protocol, and the fidelity on each text."""

    loss: float  # mean next-token loss in nats
    perplexity: float  # exp(loss)
    windows: Count
    window_length: Count
    text: str
    beginning: str = ""  # text that begins each window, such as "<bos>"
    # On the same windows, and then on texts of other kinds. Empty: not measured.
    fidelity: tuple[Fidelity, ...] = ()
    # Error of KL by 16-bit products, nats per token on some windows. None: float32.
    rounding: float | None = None

    @property
    def protocol(self) -> tuple[object, ...]:
        """The values that must be equal for figures to be comparable."""
        return self.windows, self.window_length, self.text, self.beginning

    @property
    def divergence(self) -> float | None:
        """KL(original || model) on the same windows, nats per token; None: unknown."""
        return self.fidelity[0].divergence.value if self.fidelity else None


class DampingChoice(msgspec.Struct, frozen=True):
    """The damping of a shot, selected on held-out windows or given."""

    cost: float  # damping of the costs, multiple of the mean eigenvalue
    update: float  # damping of the update, likewise
    tried: Count  # number of settings compared; 0: the damping was given
    # KL to the original on held-out windows, nats per token; None: not compared.
    held_out_nats: float | None = None


class RunStarted(msgspec.Struct, frozen=True, tag=True):
    """The model and the text are loaded; pruning begins."""

    folder: str
    shots: Count
    model: ModelSummary
    device: Text
    calibration_tokens: Count
    validation_tokens: Count
    recovery: RecoveryConfig | None = None  # as it was chosen; None: as in the job
    expected: Estimate | None = None  # as of `StartRun`
    planned: dict[Stage, Seconds] = {}  # likewise


class RunResumed(msgspec.Struct, frozen=True, tag=True):
    """An interrupted run goes on; all before its last save is done already."""

    shots: Count  # shots that are done
    seconds: Seconds  # working time of the run so far


class StageStarted(msgspec.Struct, frozen=True, tag=True):
    """A stage has begun; `shot` counts from 1 and is 0 outside the shots."""

    stage: Stage
    shot: Count
    is_kept: bool = False  # its result was measured before, and is only read
    seconds: Seconds = 0.0  # time that an interrupted process has worked on it


class Progressed(msgspec.Struct, frozen=True, tag=True):
    """`done` of `total` units (batches, blocks, layers) of a stage are done."""

    stage: Stage
    shot: Count
    done: Count  # more than `total`, if work is done again
    total: Count


class BaselineEvaluated(msgspec.Struct, frozen=True, tag=True):
    """The unpruned model's loss on the validation windows."""

    evaluation: Evaluation


class TokensRemoved(msgspec.Struct, frozen=True, tag=True):
    """The vocabulary has fewer tokens: rows of the embedding before and after."""

    before: Positive
    after: Positive


class ShotFinished(msgspec.Struct, frozen=True, tag=True):
    """A shot is complete: `sparsity` of the prunable weights are removed."""

    shot: Count
    target: float
    sparsity: Share
    # Maximum cost of a removal, by the cost basis; a share where removals are spread
    # evenly; None: nothing was removed.
    threshold: float | None
    parameters: Count  # remaining in the whole model
    evaluation: Evaluation | None  # None: left out, as recovery follows
    layers: tuple[LayerSparsity, ...]
    seconds: Seconds
    damping: DampingChoice | None = None  # None: remaining weights are not updated
    costs: CostHistogram | None = None  # None: there were no candidates


class HeldOutMeasured(msgspec.Struct, frozen=True, tag=True):
    """Recovery has measured how far the model is from the original."""

    done: Count  # steps of the training
    total: Count
    nats: float  # KL to the original on held-out windows, per token


class Recovered(msgspec.Struct, frozen=True, tag=True):
    """Recovery is complete."""

    nats_before: float  # KL to the original on held-out windows, per token
    nats_after: float
    layers: Count  # layers whose weights the refit has changed
    steps: Count  # steps of the training; 0: there was none
    evaluation: Evaluation
    seconds: Seconds
    blocks: Count = 0  # blocks whose weights the reconstruction has changed
    stopped_early: bool = False  # by the user, before its end


class UndoReason(Enum):
    """The reason why recovery, or a step of it, was undone."""

    WORSE = "worse"  # further from the original on held-out windows
    LIMIT = "limit"  # beyond the quality limit
    FAILED = "failed"


class RecoveryUndone(msgspec.Struct, frozen=True, tag=True):
    """Recovery was undone, or a step of it; the model is as it was before."""

    reason: UndoReason
    stage: Stage | None = None  # the step; None: all of them
    shot: Count = 0  # the shot after which it came; 0: the end of the run


def step_left_out(stage: Stage) -> str:
    """Return the sentence about a step of recovery that was undone."""
    steps = {
        Stage.REFIT: say("The refit"),
        Stage.RECONSTRUCTION: say("The reconstruction"),
        Stage.DISTILLATION: say("The distillation"),
    }
    return say(
        "{step} brought the model no closer to the original and was left out: the "
        "model is as good as it was before.",
        step=steps[stage],
    )


class SampleWritten(msgspec.Struct, frozen=True, tag=True):
    """The model has continued the prompt of the samples."""

    shot: Count  # last shot before it; 0: the original
    text: str
    is_recovered: bool = False  # written at the end of recovery


class Exported(msgspec.Struct, frozen=True, tag=True):
    """An export is complete, with the result of its verification."""

    folder: str
    weight_bytes: Count  # the size that is shown: all files that hold weights
    tokens_compared: Count  # 0: no program here can run it; its tensors were read back
    largest_difference: float  # between logits in memory and after reloading
    format: Format = Format.MASKED
    dtype: FileDtype = FileDtype.FLOAT32
    agreement: float = 1.0  # share of tokens with the same top token
    perplexity: float | None = None  # reloaded model, on some validation windows
    expected_perplexity: float | None = None  # the same of the model in memory
    divergence: float | None = None  # KL(original || reloaded) on the tokens, in nats
    expected_divergence: float | None = None  # the same of the model in memory
    checked_with: Text = ""  # name and version of the program
    others: tuple[FormatSupport, ...] = ()  # support of all formats
    # KL(model in memory || reloaded) on the tokens, in nats; None: not judged by it.
    saving_divergence: float | None = None
    # Fidelity of the file's weights on all texts. Empty: the same weights as in memory.
    fidelity: tuple[Fidelity, ...] = ()


class RunFinished(msgspec.Struct, frozen=True, tag=True):
    """The run is complete, or was stopped early; see `report.json`."""

    stopped_early: bool
    seconds: Seconds
    peak_memory_bytes: Count


RunEvent = (
    Paused
    | Resumed
    | MemorySampled
    | RunStarted
    | RunResumed
    | StageStarted
    | Progressed
    | BaselineEvaluated
    | TokensRemoved
    | ShotFinished
    | HeldOutMeasured
    | Recovered
    | RecoveryUndone
    | SampleWritten
    | Exported
    | RunFinished
)
