"""The pruning part of a job: how much is removed, in which structure, by which method.

Structure, target, vocabulary and damping are one of several kinds, with settings that
are there with some of these alone. In TOML:

    [pruning]
    structure = "n_m"
    pattern = "2:4"
    target = "prunable_share"
    sparsity = 0.5
    shots = 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits, reset_others
from surgeon_engine.api.config.layer_patterns import (
    NamedLayer,
    any_matches,
    parse_limit,
)
from surgeon_engine.api.config.n_m import NM, Pattern
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import reworded, say, say_list


class Structure(StrEnum):
    """The kinds of structures, each removed as a whole."""

    HEADS_AND_NEURONS = "heads_and_neurons"
    NEURONS = "neurons"  # neurons of the MLPs
    HEADS = "heads"  # whole KV groups, where heads share keys and values
    EXPERTS = "experts"  # experts of a mixture
    EXPERTS_AND_NEURONS = "experts_and_neurons"  # also neurons inside and beside them
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
    EXPERTS = "experts"  # one of the experts that a router chooses from


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
WITH_NEURONS = tuple(x for x, y in COUPLINGS.items() if Coupling.NEURONS in y)
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


SAME_WIDTHS = f'pruning.widths = "{Widths.SAME}"'  # in a job; a `choice` of sentences


class UpdateKind(StrEnum):
    """The update of a layer's kept weights when it loses rows and columns."""

    JOINT = "joint"  # the exact minimizer over all kept weights
    SEPARATE = "separate"  # the sum of row and column updates, as in the paper's code


class Target(StrEnum):
    """The units of a pruning target."""

    PRUNABLE_SHARE = "prunable_share"  # share of the prunable weights to remove
    PARAMETER_SHARE = "parameter_share"  # share of all parameters to remove
    PARAMETERS = "parameters"  # number of parameters to keep
    FILE_SIZE = "file_size"  # as many as fit a file of this size in its number format
    MEMORY = "memory"  # as many as run in this memory with their context


class Vocabulary(StrEnum):
    """The ways to choose the tokens that a model keeps."""

    WHOLE = "whole"
    AUTOMATIC = "automatic"  # removed while they cost less, per parameter, than others
    TOKENS = "tokens"  # a number of them


class Damping(StrEnum):
    """The ways to choose the damping of costs and update."""

    AUTOMATIC = "automatic"  # in every shot, by the loss on held-out windows
    FIXED = "fixed"


class Schedule(StrEnum):
    """The spread of the target sparsity over the shots."""

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
    Structure.ELEMENTS: say("single weights"),
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


MAX_SHARE = 0.95  # largest share that can be removed
_SHARE = Limits(0, MAX_SHARE)  # 0: the run writes the unpruned model
OF_SHARE = (Target.PRUNABLE_SHARE, Target.PARAMETER_SHARE)
_FIXED = (Damping.FIXED,)
_DAMPING = Limits(0, 100)  # multiples of a factor's mean eigenvalue
_DROPPED = Option(Limits(0, 1000), advanced=True, kinds=(Structure.HEADS_AND_NEURONS,))


@dataclass(frozen=True, slots=True)
class PruningConfig:
    """The amount to remove, the structure, the costs and the updates."""

    structure: Structure = Structure.HEADS_AND_NEURONS
    # The remaining MLP width of each pruned layer is a multiple of it; 0: of the number
    # that the export's number format needs, or else, on an NVIDIA GPU, of 8.
    width_multiple: Annotated[
        int, Option(Limits(0, 1024), advanced=True, kinds=WITH_NEURONS)
    ] = 0
    widths: Annotated[Widths, Option(advanced=True, kinds=COUPLED)] = Widths.FREE
    cost_basis: Annotated[
        CostBasis, Option(advanced=True, kinds=(*COUPLED, *BY_LAYER))
    ] = CostBasis.PER_PARAMETER
    # How many whole blocks, or attentions and MLPs, are removed before heads and
    # neurons; the latter of other blocks, at most one of each.
    dropped_blocks: Annotated[int, _DROPPED] = 0
    dropped_sublayers: Annotated[int, _DROPPED] = 0
    update: Annotated[
        UpdateKind,
        Option(advanced=True, kinds=(Structure.ROWS_AND_COLUMNS,), used_if="adapts"),
    ] = UpdateKind.JOINT
    pattern: Annotated[Pattern, Option(kinds=(Structure.N_M,), parse=NM)] = Pattern(
        "2:4"
    )
    # How many removed weights of a layer are compensated jointly; 0: all of them.
    max_correlated: Annotated[
        int, Option(Limits(0, 100_000), advanced=True, kinds=SPARSE, used_if="adapts")
    ] = 0
    method: Method = Method.FIRST_ORDER
    target: Target = Target.PRUNABLE_SHARE
    sparsity: Annotated[float, Option(_SHARE, kinds=OF_SHARE)] = 0.3
    million_parameters: Annotated[
        float, Option(Limits(0, 1e7, low_is_open=True), kinds=(Target.PARAMETERS,))
    ] = 100.0
    megabytes: Annotated[
        float, Option(Limits(0, 1e8, low_is_open=True), kinds=(Target.FILE_SIZE,))
    ] = 400.0
    memory_gigabytes: Annotated[
        float, Option(Limits(0, 1e5, low_is_open=True), kinds=(Target.MEMORY,))
    ] = 8.0
    context: Annotated[  # tokens
        int, Option(Limits(1, 10_000_000), kinds=(Target.MEMORY,))
    ] = 4096
    vocabulary: Vocabulary = Vocabulary.WHOLE
    vocabulary_tokens: Annotated[
        int, Option(Limits(256, 10_000_000), kinds=(Vocabulary.TOKENS,))
    ] = 32_768
    # Tokens that are never removed: names of languages or scripts, or text files whose
    # words keep their tokens.
    kept_texts: Annotated[
        tuple[str, ...],
        Option(advanced=True, kinds=(Vocabulary.TOKENS, Vocabulary.AUTOMATIC)),
    ] = ()
    # In percent of the original's perplexity; 0: no limit.
    max_perplexity_increase: Annotated[float, Option(Limits(0, 100))] = 0.0
    # KL to the original on held-out calibration text, in nats per token; 0: no limit.
    max_divergence: Annotated[float, Option(Limits(0, 100))] = 0.0
    shots: Annotated[int, Option(Limits(1, 200))] = 1
    # Names of layers, in which * matches anything.
    protect: Annotated[tuple[str, ...], Option(advanced=True)] = ()
    # The share of its weights that each layer keeps; of some, as in "block 3=0.5".
    min_density: Annotated[float, Option(Limits(0, 1), advanced=True)] = 0.0
    layer_min_density: Annotated[
        tuple[str, ...], Option(advanced=True, parse=parse_limit)
    ] = ()
    schedule: Annotated[Schedule, Option(advanced=True)] = Schedule.LINEAR
    fisher: Annotated[Fisher, Option(advanced=True, used_if="measures_gradients")] = (
        Fisher.SAMPLED
    )
    # SparseGPT searches no damping: with it, an automatic one becomes a fixed one.
    damping: Annotated[Damping, Option(advanced=True, used_if="adapts")] = (
        Damping.AUTOMATIC
    )
    cost_damping: Annotated[
        float, Option(_DAMPING, advanced=True, kinds=_FIXED, used_if="uses_damping")
    ] = 0.01
    update_damping: Annotated[
        float, Option(_DAMPING, advanced=True, kinds=_FIXED, used_if="adapts")
    ] = 0.1

    def __post_init__(self) -> None:
        if self.method is Method.SPARSEGPT and self.damping is Damping.AUTOMATIC:
            object.__setattr__(self, "damping", Damping.FIXED)
        reset_others(self)
        check_limits(self)
        pattern = self.n_m
        if pattern is not None and self.target is Target.PRUNABLE_SHARE:
            pattern.check_sparsity(self.sparsity)
        if self.method not in methods_for(self.structure):
            raise ConfigError(
                "{method} does not remove {kind}.",
                "Choose one of: {possible}.",
                settings=("method", "structure"),
                method=display_name(self.method),
                kind=display_name(self.structure),
                possible=say_list(*methods_for(self.structure), spec="choice"),
            )
        if self.is_sized and self.structure in SPARSE:
            raise ConfigError(
                "Unstructured and N:M pruning do not make files smaller, so a size in "
                "bytes cannot be the target.",
                "Give the target as a share or as a number of parameters, or choose "
                "another structure.",
                settings=("target", "structure"),
            )

    @property
    def is_sized(self) -> bool:
        """True if the target is a size in bytes."""
        return self.target in (Target.FILE_SIZE, Target.MEMORY)

    @property
    def n_m(self) -> NM | None:
        """The pattern N:M; None: the structure is another one."""
        return NM(self.pattern) if self.structure is Structure.N_M else None

    @property
    def removes_nothing(self) -> bool:
        """True if the run only writes the unpruned model."""
        return self.sparsity == 0

    @property
    def removes_tokens(self) -> bool:
        """True if the model loses a part of its vocabulary."""
        return self.vocabulary is not Vocabulary.WHOLE

    @property
    def chooses_tokens(self) -> bool:
        """True if their costs decide how many tokens the model loses."""
        is_open = self.vocabulary is Vocabulary.AUTOMATIC
        return is_open and not self.removes_nothing

    @property
    def tokens_to_keep(self) -> int | None:
        """The number of tokens to keep; None: none is set."""
        is_set = self.vocabulary is Vocabulary.TOKENS
        return self.vocabulary_tokens if is_set else None

    @property
    def has_quality_limit(self) -> bool:
        """True if the run ends where the model would lose too much quality."""
        return self.max_perplexity_increase > 0 or self.max_divergence > 0

    @property
    def has_same_widths(self) -> bool:
        """True if all layers lose equally many heads, neurons or experts."""
        return self.widths is Widths.SAME

    @property
    def blocks_to_drop(self) -> int:
        """The number of blocks that are removed as a whole."""
        return 0 if self.removes_nothing else self.dropped_blocks

    @property
    def sublayers_to_drop(self) -> int:
        """The number of attentions and MLPs of other blocks that are removed."""
        return 0 if self.removes_nothing else self.dropped_sublayers

    @property
    def drops_depth(self) -> bool:
        """True if whole blocks, attentions or MLPs are removed."""
        return self.blocks_to_drop + self.sublayers_to_drop > 0

    @property
    def measures_gradients(self) -> bool:
        """True if the method needs a backward; its costs then predict losses."""
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
        searches = self.adapts and self.damping is Damping.AUTOMATIC
        return searches and not self.removes_nothing

    def share_to_keep(self, layers: Sequence[NamedLayer]) -> float:
        """Return the share that coupled layers keep: the largest of theirs."""
        shares = [
            limit.share
            for limit in map(parse_limit, self.layer_min_density)
            if any_matches(layers, (limit.pattern,))
        ]
        return max((self.min_density, *shares))
