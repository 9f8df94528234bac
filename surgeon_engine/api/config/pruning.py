"""How much is removed, in which structure, by which method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from surgeon_engine.api.config.fields import Limits, check_limits, option
from surgeon_engine.api.config.layer_patterns import parse_limit
from surgeon_engine.api.errors import ConfigError


class Structure(StrEnum):
    """What is removed as a whole."""

    HEADS_AND_NEURONS = "heads_and_neurons"
    NEURONS = "neurons"  # of the MLPs
    HEADS = "heads"  # whole KV groups, where heads share keys and values
    ROWS_AND_COLUMNS = "rows_and_columns"
    ROWS = "rows"
    COLUMNS = "columns"
    N_M = "n_m"  # single weights, of every M neighbours in a row N stay
    ELEMENTS = "elements"  # single weights, anywhere


COUPLED = (Structure.HEADS_AND_NEURONS, Structure.NEURONS, Structure.HEADS)


BY_LAYER = (Structure.ROWS_AND_COLUMNS, Structure.ROWS, Structure.COLUMNS)


SPARSE = (Structure.N_M, Structure.ELEMENTS)  # leave zeros in place, smaller nowhere


class Method(StrEnum):
    """By what curvature costs are computed, and whether the kept weights adapt."""

    LLM_SURGEON = "llm_surgeon"
    K_OBD = "k_obd"
    L_OBD = "l_obd"
    MAGNITUDE = "magnitude"
    SPARSEGPT = "sparsegpt"
    WANDA = "wanda"


class Target(StrEnum):
    """In what the size to reach is given."""

    PRUNABLE_SHARE = "prunable_share"  # `sparsity` of the prunable weights go
    PARAMETER_SHARE = "parameter_share"  # `sparsity` of all parameters go
    PARAMETERS = "parameters"  # `million_parameters` stay
    FILE_SIZE = "file_size"  # the parameters that stay take `megabytes`


class Fisher(StrEnum):
    """Where the labels come from whose gradients are measured."""

    EMPIRICAL = "empirical"  # the text's own next tokens
    SAMPLED = "sampled"  # drawn from what the model predicts


class CostBasis(StrEnum):
    """What the global threshold compares."""

    PER_PARAMETER = "per_parameter"  # cost / weights removed: the budgeted optimum
    RAW = "raw"  # the cost alone, as the paper does


class Widths(StrEnum):
    """Whether layers may lose different numbers of heads or neurons."""

    FREE = "free"  # each as many as its costs say
    SAME = "same"  # all equally many: plain files for any program


class UpdateKind(StrEnum):
    """How the kept weights of a layer that loses rows and columns change."""

    JOINT = "joint"  # the exact minimiser over all kept weights
    SEPARATE = "separate"  # row and column updates added up, as the paper's code does


class Correction(StrEnum):
    """Whether the kept weights also follow the gradient of the loss."""

    NONE = "none"  # they only make up for what was removed
    LOSS = "loss"  # a damped step, its length chosen on held-out windows


class Damping(StrEnum):
    """How the damping of costs and of the update is chosen."""

    AUTOMATIC = "automatic"  # per shot, by the loss on held-out calibration windows
    FIXED = "fixed"


class Schedule(StrEnum):
    """How the target sparsity is spread over the shots."""

    LINEAR = "linear"  # equal steps
    CUBIC = "cubic"  # large steps first


def display_name(choice: StrEnum) -> str:
    """The name of a structure or method in a sentence."""
    return _NAMES.get(choice, choice.replace("_", " "))


_NAMES: dict[StrEnum, str] = {
    Structure.N_M: "N:M",
    Method.LLM_SURGEON: "LLM Surgeon",
    Method.K_OBD: "K-OBD",
    Method.L_OBD: "L-OBD",
    Method.SPARSEGPT: "SparseGPT",
    Method.WANDA: "Wanda",
}


_MAX_PATTERNS = 20_000  # 8:16 has 12,870


_ROUNDING = 0.001  # 66.7 % are asked for where two of three are meant


def _is_share(pruning: PruningConfig) -> bool:
    return pruning.target in (Target.PRUNABLE_SHARE, Target.PARAMETER_SHARE)


def _adapts(pruning: PruningConfig) -> bool:
    return pruning.adapts


def _has_given_damping(pruning: PruningConfig) -> bool:
    return pruning.adapts and not pruning.searches_damping


@dataclass(frozen=True, slots=True)
class PruningConfig:
    """How much is removed, in which structure, by which costs and updates."""

    structure: Structure = Structure.HEADS_AND_NEURONS
    kept: int = option(2, Limits(1, 31), applies=lambda p: p.structure is Structure.N_M)
    of: int = option(4, Limits(2, 32), applies=lambda p: p.structure is Structure.N_M)
    method: Method = Method.LLM_SURGEON
    target: Target = Target.PRUNABLE_SHARE
    sparsity: float = option(0.3, Limits(0, 0.95, low_is_open=True), applies=_is_share)
    million_parameters: float = option(
        100.0,
        Limits(0, 1e7, low_is_open=True),
        applies=lambda p: p.target is Target.PARAMETERS,
    )
    megabytes: float = option(
        400.0,
        Limits(0, 1e8, low_is_open=True),
        applies=lambda p: p.target is Target.FILE_SIZE,
    )
    perplexity_rise: float = option(0.0, Limits(0, 100))  # per cent; 0: any
    shots: int = option(3, Limits(1, 200))
    width_multiple: int = option(
        1,
        Limits(1, 1024),
        advanced=True,
        applies=lambda p: (
            p.structure in (Structure.HEADS_AND_NEURONS, Structure.NEURONS)
        ),
    )
    widths: Widths = option(
        Widths.FREE, advanced=True, applies=lambda p: p.structure in COUPLED
    )
    protect: tuple[str, ...] = option((), advanced=True)  # names of layers, with *
    keep_at_least: float = option(0.0, Limits(0, 1), advanced=True)  # of each layer
    limits: tuple[str, ...] = option((), advanced=True)  # as "block 3=0.5": of those
    schedule: Schedule = option(Schedule.LINEAR, advanced=True)
    fisher: Fisher = option(
        Fisher.EMPIRICAL,
        advanced=True,
        applies=lambda p: p.method in (Method.LLM_SURGEON, Method.K_OBD),
    )
    cost_basis: CostBasis = option(
        CostBasis.PER_PARAMETER,
        advanced=True,
        applies=lambda p: p.structure not in SPARSE,
    )
    update: UpdateKind = option(
        UpdateKind.JOINT,
        advanced=True,
        applies=lambda p: _adapts(p) and p.structure is Structure.ROWS_AND_COLUMNS,
    )
    max_correlated: int = option(
        0,  # all of a layer together
        Limits(0, 100_000),
        advanced=True,
        applies=lambda p: _adapts(p) and p.structure in SPARSE,
    )
    correction: Correction = option(Correction.LOSS, advanced=True, applies=_adapts)
    damping: Damping = option(Damping.AUTOMATIC, advanced=True, applies=_adapts)
    cost_damping: float = option(
        0.01,
        Limits(0, 100),
        advanced=True,
        applies=lambda p: _has_given_damping(p) or p.method is Method.SPARSEGPT,
    )
    update_damping: float = option(
        0.1, Limits(0, 100), advanced=True, applies=_has_given_damping
    )

    def __post_init__(self) -> None:
        check_limits(self)
        for limit in self.limits:
            parse_limit(limit)
        if self.structure is Structure.N_M:
            self._check_pattern()
        if self.method not in methods_for(self.structure):
            raise ConfigError(
                f"{display_name(self.method)} does not remove "
                f"{display_name(self.structure)}.",
                "It removes elements and N:M; for others choose llm_surgeon.",
            )
        if self.is_corrected and self.fisher is Fisher.SAMPLED:
            raise ConfigError(
                "The correction follows the gradient of the text's own labels.",
                "Set fisher to empirical, or correction to none.",
            )
        if self.target is Target.FILE_SIZE and self.structure in SPARSE:
            raise ConfigError(
                "Single weights become zeros that stand in their place: "
                "no file gets smaller by them.",
                "Give the target as a share or as a number of parameters, or choose "
                "another structure.",
            )

    @property
    def adapts(self) -> bool:
        """Whether the weights that stay make up for those that go."""
        return self.method is Method.LLM_SURGEON

    @property
    def searches_damping(self) -> bool:
        """Whether held-out windows choose the damping."""
        return self.adapts and self.damping is Damping.AUTOMATIC

    @property
    def has_same_widths(self) -> bool:
        """Whether all layers lose equally many heads or neurons."""
        return self.structure in COUPLED and self.widths is Widths.SAME

    @property
    def is_corrected(self) -> bool:
        """Whether a run ends with steps along the gradient."""
        return self.adapts and self.correction is Correction.LOSS

    def _check_pattern(self) -> None:
        if self.kept >= self.of:
            raise ConfigError(
                f"{self.kept}:{self.of} removes nothing.",
                f"Keep fewer than {self.of} of every {self.of} weights.",
            )
        ways = math.comb(self.of, self.kept)
        if ways > _MAX_PATTERNS:
            raise ConfigError(
                f"There are {ways:,} ways to keep {self.kept} of {self.of} weights; "
                f"Surgeon compares at most {_MAX_PATTERNS:,} in every group.",
                "Choose shorter groups, such as 4:8.",
            )
        most = 1 - self.kept / self.of
        is_share = self.target is Target.PRUNABLE_SHARE
        if is_share and self.sparsity > most + _ROUNDING:
            raise ConfigError(
                f"{self.kept}:{self.of} removes at most {most:.1%} of the weights, "
                f"{self.sparsity:.1%} were asked for.",
                f"Lower the sparsity to {most:.1%}.",
            )


def methods_for(structure: Structure) -> tuple[Method, ...]:
    """The methods that can remove `structure`."""
    of_elements = (Method.SPARSEGPT, Method.WANDA)
    return tuple(m for m in Method if structure in SPARSE or m not in of_elements)


class Coupling(StrEnum):
    """What a group is."""

    HEADS = "heads"  # a key and value head with all query heads that share it
    NEURONS = "neurons"


COUPLINGS = {
    Structure.HEADS_AND_NEURONS: (Coupling.HEADS, Coupling.NEURONS),
    Structure.HEADS: (Coupling.HEADS,),
    Structure.NEURONS: (Coupling.NEURONS,),
}
