"""The pruning part of a job: how much is removed, in which structure, by which method.

Structure, target and damping are one of several kinds, each a class with the settings
of this kind alone. In TOML:

    [pruning]
    structure = "n_m"
    pattern = "2:4"
    target = "prunable_share"
    sparsity = 0.5
    shots = 5
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias

from surgeon_engine.api.config.fields import Limits, Member, Option, check_limits
from surgeon_engine.api.config.layer_patterns import parse_limit
from surgeon_engine.api.config.n_m import NM, MaxCorrelated
from surgeon_engine.api.config.target import (
    AnyTarget,
    FileSize,
    Memory,
    PrunableShare,
    Target,
)
from surgeon_engine.api.config.vocabulary import (
    WHOLE,
    AnyVocabulary,
    AutomaticVocabulary,
    Vocabulary,
)
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import reworded, say, say_list


class Structure(StrEnum):
    """The kinds of structures, each removed as a whole."""

    HEADS_AND_NEURONS = "heads_and_neurons"
    NEURONS = "neurons"  # of the MLPs
    HEADS = "heads"  # whole KV groups, where heads share keys and values
    EXPERTS = "experts"  # of a mixture of experts
    EXPERTS_AND_NEURONS = "experts_and_neurons"  # inside and beside them
    EXPERTS_HEADS_AND_NEURONS = "experts_heads_and_neurons"
    ROWS_AND_COLUMNS = "rows_and_columns"
    ROWS = "rows"
    COLUMNS = "columns"
    N_M = "n_m"  # single weights: N of every M neighbors in a row are kept
    ELEMENTS = "elements"  # single weights, anywhere


class Coupling(StrEnum):
    """Kind of coupled group."""

    HEADS = "heads"  # a key and value head with all query heads that share it
    NEURONS = "neurons"
    EXPERT_NEURONS = "expert_neurons"  # one of each expert of a block
    EXPERTS = "experts"  # one of those that a router chooses from


_WITH_EXPERTS = (Coupling.NEURONS, Coupling.EXPERT_NEURONS, Coupling.EXPERTS)
COUPLINGS = {
    Structure.HEADS_AND_NEURONS: (Coupling.HEADS, Coupling.NEURONS),
    Structure.NEURONS: (Coupling.NEURONS,),
    Structure.HEADS: (Coupling.HEADS,),
    Structure.EXPERTS: (Coupling.EXPERTS,),
    Structure.EXPERTS_AND_NEURONS: _WITH_EXPERTS,
    Structure.EXPERTS_HEADS_AND_NEURONS: (Coupling.HEADS, *_WITH_EXPERTS),
}
COUPLED = tuple(COUPLINGS)
OF_EXPERTS = tuple(x for x, y in COUPLINGS.items() if Coupling.EXPERTS in y)
BY_LAYER = (Structure.ROWS_AND_COLUMNS, Structure.ROWS, Structure.COLUMNS)
SPARSE = (Structure.N_M, Structure.ELEMENTS)  # zeros remain; no tensor gets smaller


class Method(StrEnum):
    """The curvature behind the costs, and whether the kept weights adapt."""

    LLM_SURGEON = "llm_surgeon"
    FIRST_ORDER = "first_order"
    K_OBD = "k_obd"
    L_OBD = "l_obd"
    MAGNITUDE = "magnitude"
    SPARSEGPT = "sparsegpt"
    WANDA = "wanda"
    REAP = "reap"
    ROUTING_FREQUENCY = "routing_frequency"


BY_ROUTING = (Method.REAP, Method.ROUTING_FREQUENCY)  # methods for experts alone


class Fisher(StrEnum):
    """The labels whose gradients are measured."""

    EMPIRICAL = "empirical"  # the next tokens of the text
    SAMPLED = "sampled"  # drawn from the predictions of the model


class CostBasis(StrEnum):
    """The quantity that the global threshold compares."""

    PER_PARAMETER = "per_parameter"  # cost / weights removed: the budgeted optimum
    RAW = "raw"  # the cost alone, as in the paper


class Widths(StrEnum):
    """Whether layers may lose different numbers of heads, neurons or experts."""

    FREE = "free"  # each as many as its costs imply
    SAME = "same"  # all equally many: plain files for any program


class UpdateKind(StrEnum):
    """How the kept weights of a layer change when it loses rows and columns."""

    JOINT = "joint"  # the exact minimizer over all kept weights
    SEPARATE = "separate"  # the sum of row and column updates, as in the paper's code


class Damping(StrEnum):
    """The ways to choose the damping of costs and update."""

    AUTOMATIC = "automatic"
    FIXED = "fixed"


class Schedule(StrEnum):
    """How the target sparsity is spread over the shots."""

    LINEAR = "linear"  # equal steps
    CUBIC = "cubic"  # large steps first


def display_name(choice: Structure | Coupling | Method) -> str:
    """Return the name of a structure or method for use in a sentence."""
    return reworded(NAMES[choice])


NAMES: dict[str, str] = {
    Structure.HEADS_AND_NEURONS: say("heads and neurons"),
    Structure.NEURONS: say("neurons"),
    Structure.HEADS: say("heads"),
    Structure.EXPERTS: say("experts"),
    Structure.EXPERTS_AND_NEURONS: say("experts and neurons"),
    Coupling.EXPERT_NEURONS: say("neurons of experts"),
    Structure.EXPERTS_HEADS_AND_NEURONS: say("experts, heads and neurons"),
    Structure.ROWS_AND_COLUMNS: say("rows and columns"),
    Structure.ROWS: say("rows"),
    Structure.COLUMNS: say("columns"),
    Structure.N_M: say("N:M"),
    Structure.ELEMENTS: say("elements"),
    Method.LLM_SURGEON: say("LLM Surgeon"),
    Method.FIRST_ORDER: say("first-order gates"),
    Method.K_OBD: say("K-OBD"),
    Method.L_OBD: say("L-OBD"),
    Method.MAGNITUDE: say("magnitude"),
    Method.SPARSEGPT: say("SparseGPT"),
    Method.WANDA: say("Wanda"),
    Method.REAP: say("REAP"),
    Method.ROUTING_FREQUENCY: say("routing frequency"),
}


def methods_for(structure: Structure) -> tuple[Method, ...]:
    """Return the methods that can remove `structure`."""
    if structure is Structure.EXPERTS:
        return (Method.FIRST_ORDER, *BY_ROUTING)
    if structure in OF_EXPERTS:
        return (Method.FIRST_ORDER,)
    for_sparse = () if structure in SPARSE else (Method.SPARSEGPT, Method.WANDA)
    return tuple(m for m in Method if m not in (*BY_ROUTING, *for_sparse))


_DAMPING = Limits(0, 100)


class AutomaticDamping(Member, frozen=True, tag="automatic"):
    """Choose the damping in every shot, by the loss on held-out calibration windows."""


class FixedDamping(Member, frozen=True, tag="fixed"):
    """Use these dampings in every shot, multiples of a factor's mean eigenvalue."""

    cost: Annotated[
        float,
        Option(_DAMPING, advanced=True, name="cost_damping", used_if="uses_damping"),
    ] = 0.01
    update: Annotated[
        float,
        Option(_DAMPING, advanced=True, name="update_damping", used_if="adapts"),
    ] = 0.1


AnyDamping: TypeAlias = AutomaticDamping | FixedDamping

_Basis: TypeAlias = Annotated[CostBasis, Option(advanced=True)]
_AnyWidths: TypeAlias = Annotated[Widths, Option(advanced=True)]
# The remaining MLP width of each pruned layer is a multiple of it; 0: of what the
# number format of the export needs, or else, on an NVIDIA GPU, of 8.
_WidthMultiple: TypeAlias = Annotated[int, Option(Limits(0, 1024), advanced=True)]
# How many whole blocks, or attentions and MLPs, are removed before heads and neurons.
_Dropped: TypeAlias = Annotated[int, Option(Limits(0, 1000), advanced=True)]


class HeadsAndNeurons(Member, frozen=True, tag="heads_and_neurons"):
    """Remove attention heads and MLP neurons, and before them whole blocks."""

    width_multiple: _WidthMultiple = 0
    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER
    dropped_blocks: _Dropped = 0
    dropped_sublayers: _Dropped = 0  # of other blocks, at most one of each


class Neurons(Member, frozen=True, tag="neurons"):
    """Remove MLP neurons."""

    width_multiple: _WidthMultiple = 0
    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER


class Heads(Member, frozen=True, tag="heads"):
    """Remove attention heads."""

    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER


class Experts(Member, frozen=True, tag="experts"):
    """Remove experts of a mixture of experts."""

    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER


class ExpertsAndNeurons(Member, frozen=True, tag="experts_and_neurons"):
    """Remove experts, and neurons of experts and of MLPs that all tokens use."""

    width_multiple: _WidthMultiple = 0
    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER


class ExpertsHeadsAndNeurons(Member, frozen=True, tag="experts_heads_and_neurons"):
    """Remove experts, heads, and neurons of experts and of MLPs that all tokens use."""

    width_multiple: _WidthMultiple = 0
    widths: _AnyWidths = Widths.FREE
    cost_basis: _Basis = CostBasis.PER_PARAMETER


class RowsAndColumns(Member, frozen=True, tag="rows_and_columns"):
    """Remove rows and columns of each layer by itself."""

    cost_basis: _Basis = CostBasis.PER_PARAMETER
    update: Annotated[UpdateKind, Option(advanced=True, used_if="adapts")] = (
        UpdateKind.JOINT
    )


class Rows(Member, frozen=True, tag="rows"):
    """Remove rows of each layer by itself."""

    cost_basis: _Basis = CostBasis.PER_PARAMETER


class Columns(Member, frozen=True, tag="columns"):
    """Remove columns of each layer by itself."""

    cost_basis: _Basis = CostBasis.PER_PARAMETER


class Elements(Member, frozen=True, tag="elements"):
    """Remove single weights, anywhere in a layer."""

    max_correlated: MaxCorrelated = 0


AnyStructure: TypeAlias = (
    HeadsAndNeurons
    | Neurons
    | Heads
    | Experts
    | ExpertsAndNeurons
    | ExpertsHeadsAndNeurons
    | RowsAndColumns
    | Rows
    | Columns
    | NM
    | Elements
)


@dataclass(frozen=True, slots=True)
class PruningConfig:
    """How much is removed, in which structure, by which costs and updates."""

    structure: Annotated[AnyStructure, Option(kinds=Structure)] = HeadsAndNeurons()
    method: Method = Method.FIRST_ORDER
    target: Annotated[AnyTarget, Option(kinds=Target)] = PrunableShare()
    vocabulary: Annotated[AnyVocabulary, Option(kinds=Vocabulary)] = WHOLE
    # In percent of the original's perplexity; 0: no limit.
    max_perplexity_increase: Annotated[float, Option(Limits(0, 100))] = 0.0
    # KL to the original on held-out calibration text, in nats per token; 0: no limit.
    max_divergence: Annotated[float, Option(Limits(0, 100))] = 0.0
    shots: Annotated[int, Option(Limits(1, 200))] = 1
    # Names of layers, in which * matches anything.
    protect: Annotated[tuple[str, ...], Option(advanced=True)] = ()
    # The share of its weights that each layer keeps; of some, as in "block 3=0.5".
    min_density: Annotated[float, Option(Limits(0, 1), advanced=True)] = 0.0
    layer_min_density: Annotated[tuple[str, ...], Option(advanced=True)] = ()
    schedule: Annotated[Schedule, Option(advanced=True)] = Schedule.LINEAR
    fisher: Annotated[Fisher, Option(advanced=True, used_if="measures_gradients")] = (
        Fisher.SAMPLED
    )
    # SparseGPT searches no damping: with it, an automatic one becomes the default.
    damping: Annotated[
        AnyDamping, Option(kinds=Damping, advanced=True, used_if="adapts")
    ] = AutomaticDamping()

    def __post_init__(self) -> None:
        check_limits(self)
        if self.method is Method.SPARSEGPT and self.damping == AutomaticDamping():
            object.__setattr__(self, "damping", FixedDamping())
        for limit in self.layer_min_density:
            parse_limit(limit)
        if isinstance(self.structure, NM) and isinstance(self.target, PrunableShare):
            self.structure.check_sparsity(self.target.sparsity)
        if self.method not in methods_for(self.kind):
            raise ConfigError(
                "{method} does not remove {kind}.",
                "Choose one of: {possible}.",
                method=display_name(self.method),
                kind=display_name(self.kind),
                possible=say_list(*methods_for(self.kind), spec="choice"),
            )
        if self.is_sized and self.kind in SPARSE:
            raise ConfigError(
                "Unstructured and N:M pruning do not make files smaller, so a size in "
                "bytes cannot be the target.",
                "Give the target as a share or as a number of parameters, or choose "
                "another structure.",
            )

    @property
    def is_sized(self) -> bool:
        """True if the target is a size in bytes."""
        return isinstance(self.target, FileSize | Memory)

    @property
    def kind(self) -> Structure:
        """The kind of the structure."""
        return Structure(str(self.structure.__struct_config__.tag))

    @property
    def removes_nothing(self) -> bool:
        """True if the run only writes the unpruned model."""
        return getattr(self.target, "sparsity", 1.0) == 0

    @property
    def removes_tokens(self) -> bool:
        """True if the model loses a part of its vocabulary."""
        return self.vocabulary != WHOLE

    @property
    def chooses_tokens(self) -> bool:
        """True if their costs decide how many tokens the model loses."""
        is_open = isinstance(self.vocabulary, AutomaticVocabulary)
        return is_open and not self.removes_nothing

    @property
    def has_quality_limit(self) -> bool:
        """True if the run ends where the model would lose too much quality."""
        return self.max_perplexity_increase > 0 or self.max_divergence > 0

    @property
    def width_multiple(self) -> int:
        """The number that divides the remaining MLP widths; 0: not settled yet."""
        return getattr(self.structure, "width_multiple", 1)

    @property
    def has_same_widths(self) -> bool:
        """True if all layers lose equally many heads, neurons or experts."""
        return getattr(self.structure, "widths", Widths.FREE) is Widths.SAME

    @property
    def dropped_blocks(self) -> int:
        """The number of blocks that are removed as a whole."""
        dropped = getattr(self.structure, "dropped_blocks", 0)
        return 0 if self.removes_nothing else dropped

    @property
    def dropped_sublayers(self) -> int:
        """The number of attentions and MLPs of other blocks that are removed."""
        dropped = getattr(self.structure, "dropped_sublayers", 0)
        return 0 if self.removes_nothing else dropped

    @property
    def drops_depth(self) -> bool:
        """True if whole blocks, attentions or MLPs are removed."""
        return self.dropped_blocks + self.dropped_sublayers > 0

    @property
    def cost_basis(self) -> CostBasis:
        """The quantity that the global threshold compares."""
        return getattr(self.structure, "cost_basis", CostBasis.PER_PARAMETER)

    @property
    def measures_gradients(self) -> bool:
        """True if the method needs a backward."""
        return self.method in (Method.LLM_SURGEON, Method.FIRST_ORDER, Method.K_OBD)

    @property
    def measures_factors(self) -> bool:
        """True if the method needs A, or A and G."""
        return self.method not in (Method.FIRST_ORDER, Method.MAGNITUDE, *BY_ROUTING)

    @property
    def adapts(self) -> bool:
        """True if the kept weights compensate for the removed ones."""
        return self.method is Method.LLM_SURGEON

    @property
    def uses_damping(self) -> bool:
        """True if costs are damped by a setting."""
        return self.adapts or self.method is Method.SPARSEGPT

    @property
    def searches_damping(self) -> bool:
        """True if held-out windows choose the damping."""
        searches = self.adapts and isinstance(self.damping, AutomaticDamping)
        return searches and not self.removes_nothing

    @property
    def fixed_damping(self) -> FixedDamping:
        """The damping where none is searched for, or none can be."""
        found = self.damping
        return found if isinstance(found, FixedDamping) else FixedDamping()
