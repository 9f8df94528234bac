"""How the calibration text uses the experts of the original, for reports and charts."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.run import Routing
from surgeon_engine.curvature.measured import GateGradients, Measured, RoutedOutputs
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.runtime.run_context import RunContext


def keep_routing(
    state: PruningState, factors: Factors, pruning: PruningConfig, context: RunContext
) -> None:
    """Keep the routing of the original's experts; warn of those that no token chose.

    `factors` are those of the first shot, and `pruning` has the damping of the costs.
    """
    found = {}
    for unit in state.units:
        routing = routing_of(unit, factors[unit.measured.name], pruning)
        if routing is not None:
            found[unit.measured.name] = routing
    state.keep_routing(found)
    unused = sum(routing.unused for routing in found.values())
    if unused:
        context.warn(
            "No token of the calibration text is routed to {unused:,} of {experts:,} "
            "experts, which are removed first. Add texts in the languages and of the "
            "tasks that the model is to keep.",
            unused=unused,
            experts=sum(len(routing.tokens) for routing in found.values()),
        )


def routing_of(
    unit: Unit, measured: Measured, pruning: PruningConfig
) -> Routing | None:
    """Return the tokens and the costs of the experts of a unit of the original.

    None: these are not experts, or their tokens were not counted.
    """
    routed = None
    if isinstance(measured, GateGradients | RoutedOutputs):
        routed = measured.routed
    if routed is None or not isinstance(unit, CoupledUnit):
        return None
    nothing = routed.new_zeros(len(routed)).bool()
    return Routing(
        tokens=tuple(routed.tolist()),
        costs=tuple(unit.costs(measured, nothing, pruning).tolist()),
        kept=tuple(range(len(routed))),
    )
