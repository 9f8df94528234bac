"""What the engine tells the outside. Plain frozen values, sent as lines of JSON.

An `Envelope` says which run an event belongs to and when it was sent; the same lines
make up `events.jsonl` in a run's folder. Imports neither torch nor Qt.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from surgeon_engine.config import Structure
from surgeon_engine.couplings import Coupling
from surgeon_engine.diagnoses import Diagnosed
from surgeon_engine.formats import FileDtype, Format
from surgeon_engine.live import (
    CostHistogram,
    GroupsLeft,
    MemorySampled,
    Paused,
    Resumed,
)
from surgeon_engine.machine import MachineProbed
from surgeon_engine.measurements import Measured
from surgeon_engine.playground import (
    Generated,
    ModelsLoaded,
    TextCompared,
    TokenWritten,
)
from surgeon_engine.sources import Downloading, ModelDownloaded, TextDescribed


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


class Level(Enum):
    """How serious a log line is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class StructureSupport(msgspec.Struct, frozen=True):
    """Whether a model can be pruned in a structure; if not, why not."""

    structure: Structure
    reason: str = ""  # empty: supported

    @property
    def supported(self) -> bool:
        """Whether the structure can be chosen for this model."""
        return not self.reason


class FormatSupport(msgspec.Struct, frozen=True):
    """Whether a pruned model can be written in a format; if not, why not."""

    format: Format
    reason: str = ""  # empty: it can


class LayerSummary(msgspec.Struct, frozen=True):
    """One prunable layer as it was found."""

    name: str  # full name of the module in the model
    block: int  # index of its decoder block, from 0
    kind: str  # its name inside the block, such as "mlp.down_proj"
    rows: int
    columns: int
    weights: int  # with the bias, where there is one
    coupling: str = ""  # "heads" or "neurons" where whole ones are its columns


class CoupledSummary(msgspec.Struct, frozen=True):
    """The heads or the neurons of a block."""

    kind: Coupling
    layers: tuple[str, ...]  # whose columns they are, then those that make its input
    groups: int  # how many there are


class ModelSummary(msgspec.Struct, frozen=True):
    """A model as it stands before pruning."""

    name: str
    source: str
    architecture: str  # class name, such as "LlamaForCausalLM"
    parameters: int  # all of them; tied ones counted once
    prunable: int  # weights of the prunable layers, biases included
    blocks: int
    hidden_size: int
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    file_bytes: int
    layers: tuple[LayerSummary, ...]
    structures: tuple[StructureSupport, ...]
    dtype: str = ""  # of the weights in the files; empty: they are quantised
    coupled: tuple[CoupledSummary, ...] = ()  # where the model's are known


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


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its libraries and waits for commands."""

    versions: dict[str, str]
    device: str  # what it would compute on, in words
    memory_bytes: int  # of that device


class ModelInspected(msgspec.Struct, frozen=True, tag=True):
    """Answer to `InspectModel`."""

    model: ModelSummary


class TextPreviewed(msgspec.Struct, frozen=True, tag=True):
    """Answer to `PreviewText`: the first windows of each part, decoded."""

    calibration: tuple[str, ...]
    validation: tuple[str, ...]
    calibration_tokens: int  # that will be used
    validation_tokens: int
    available_tokens: int  # in the whole text
    source: str
    window_length: int = 0
    calibration_windows: int = 0  # of which the first are shown
    validation_windows: int = 0
    column: str = ""  # of a table, that was read
    documents: int = 0
    short_documents: int = 0  # shorter than a window
    repeated_documents: int = 0  # left out, as they were there before
    shared_windows: int = 0  # not held out, as they are in the calibration text too


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


class Logged(msgspec.Struct, frozen=True, tag=True):
    """Something worth knowing that changes no state."""

    level: Level
    message: str


class RunFinished(msgspec.Struct, frozen=True, tag=True):
    """The run is complete, or was stopped early and kept; see `report.json`."""

    stopped_early: bool
    seconds: float
    peak_memory_bytes: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request or run ended early; `hint` says what the user can do about it."""

    message: str
    hint: str = ""
    details: str = ""  # a traceback, where it was a bug


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The run ended early because the user asked for it."""


Event = (
    EngineReady
    | ModelInspected
    | Downloading
    | ModelDownloaded
    | TextDescribed
    | TextPreviewed
    | RunStarted
    | StageStarted
    | Progressed
    | BaselineEvaluated
    | ShotFinished
    | Corrected
    | Exported
    | Measured
    | MemorySampled
    | Paused
    | Resumed
    | Diagnosed
    | ModelsLoaded
    | TokenWritten
    | TextCompared
    | Generated
    | MachineProbed
    | Logged
    | RunFinished
    | Failed
    | Cancelled
)


class Envelope(msgspec.Struct, frozen=True):
    """An event with the run it belongs to ("" for the engine itself) and its time."""

    run: str
    at: float  # seconds since the epoch
    event: Event
