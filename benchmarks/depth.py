"""Measure the cost of removing whole blocks, attentions and MLPs.

    python benchmarks/depth.py MODEL --calibration calib.npy --validation test.npy \
        --other other.npy --out results/depth

Writes OUT.json: the rise of the KL without each block and sub-layer alone, and without
several of them beside the sum of the single rises; and the KL at one sparsity with some
blocks removed before heads and neurons, without recovery.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import (
    CostBasis,
    PruningConfig,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.evaluation.fidelity import Reference, compare_unchecked
from surgeon_engine.pruning.depth import (
    Depth,
    SkipCosts,
    Sublayers,
    in_order_of_removal,
    without_outputs,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.shot import evaluate_original, run_shot
from surgeon_engine.shots.steps import ShotPlan

_TOGETHER = (2, 4, 6, 8)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--other", required=True)
    parser.add_argument("--sparsity", type=float, default=0.3)
    parser.add_argument(
        "--chained", default="0+0,2+0,4+0,0+4", help="blocks + sub-layers before widths"
    )
    parser.add_argument("--windows", type=int, default=24, help="that judge, per text")
    parser.add_argument("--part", choices=("costs", "chained", "all"), default="all")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    state = _state(given)
    context = _context()
    evaluate_original(state, context)
    path = given.out.with_suffix(".json")
    found = json.loads(path.read_text()) if path.is_file() else {}
    if given.part in ("costs", "all"):
        for part in _costs(state):
            found |= part
            path.write_text(json.dumps(found, indent=1))
    if given.part in ("chained", "all"):
        for each in given.chained.split(","):
            found.setdefault("chained", {})[each] = _chained(state, each, context)
            path.write_text(json.dumps(found, indent=1))


def _context() -> RunContext:
    return RunContext("depth", lambda envelope: None)


def _state(given: argparse.Namespace) -> PruningState:
    windows = np.load(given.calibration)
    count, length = windows.shape
    config = RunConfig(
        model=ModelConfig(given.model),
        calibration=CalibrationConfig(
            text=given.calibration,
            validation_text=given.validation,
            windows=count,
            validation_windows=given.windows,
            window_length=length,
        ),
        evaluation=EvaluationConfig(windows=given.windows, texts=(given.other,)),
        recovery=RecoveryConfig(Recovery.OFF),
        pruning=PruningConfig(dropped_blocks=1, sparsity=given.sparsity),
    )
    return prepare(config, _context())


def _costs(state: PruningState) -> Iterator[dict[str, object]]:
    """Yield the costs of single candidates, and of the cheapest ones together."""
    held_out = state.references.held_out
    assert held_out is not None
    depth = Depth.of(state)
    measured = SkipCosts(state.loaded, held_out)
    yield {"tokens": held_out.windows.numel()}
    for name, candidates in (("blocks", depth.blocks), ("sublayers", depth.sublayers)):
        found = measured.measure(candidates, lambda: None)
        costs = list(zip(candidates, found, strict=True))
        yield {name: {x.label: y for x, y in costs}}
        for basis in CostBasis if name == "sublayers" else (CostBasis.RAW,):
            ranked = in_order_of_removal(costs, basis)
            rows = _together(state, ranked, held_out)
            yield {f"{name} together, by {basis}": rows}
    rows = _again(state, depth, held_out)
    yield {"blocks together, measured again after each": rows}


def _together(
    state: PruningState, ranked: list[tuple[Sublayers, float]], held_out: Reference
) -> list[dict[str, object]]:
    return [
        {
            "candidates": [x.label for x, _ in ranked[:count]],
            "weights": sum(x.weights for x, _ in ranked[:count]),
            "sum": sum(cost for _, cost in ranked[:count]),
            **_divergences(state, [x for x, _ in ranked[:count]], held_out),
        }
        for count in _TOGETHER
    ]


def _again(
    state: PruningState, depth: Depth, held_out: Reference
) -> list[dict[str, object]]:
    """Return the same for blocks whose costs are measured after each removal."""
    chosen: list[Sublayers] = []
    rows: list[dict[str, object]] = []
    for _ in range(max(_TOGETHER)):
        rest = [x for x in depth.blocks if x not in chosen]
        with _without(chosen):
            measured = SkipCosts(state.loaded, held_out)
            costs = measured.measure(rest, lambda: None)
        chosen.append(rest[costs.index(min(costs))])
        if len(chosen) in _TOGETHER:
            names = [x.label for x in chosen]
            rows.append({"candidates": names, **_divergences(state, chosen, held_out)})
    return rows


def _without(candidates: list[Sublayers]) -> ExitStack:
    stack = ExitStack()
    for each in candidates:
        stack.enter_context(without_outputs(each.units))
    return stack


def _divergences(
    state: PruningState, candidates: list[Sublayers], held_out: Reference
) -> dict[str, object]:
    """Return the KL without all of some candidates."""
    model = state.loaded.model
    with _without(candidates):
        found = compare_unchecked(model, held_out, lambda: None)
    return {"together": found.divergence}


def _chained(
    state: PruningState, dropped: str, context: RunContext
) -> dict[str, object]:
    """Return the KL at the sparsity with some blocks removed before widths."""
    blocks, sublayers = map(int, dropped.split("+"))
    pruning = state.config.pruning
    pruning = replace(pruning, dropped_blocks=blocks, dropped_sublayers=sublayers)
    tried = state.with_pruning(pruning, state.units)
    snapshot = state.take_snapshot()
    try:
        shot = run_shot(tried, ShotPlan(1, 1.0, None), context)
    finally:
        snapshot.weights.put_back()
    whole = [x.name for x in shot.layers if x.removed == x.weights]
    return {
        "sparsity": shot.sparsity,
        "seconds": shot.seconds,
        "removed as a whole": whole,
        "sum of costs": sum(x.cost for x in shot.layers),
        **{x.text: x.divergence.value for x in shot.evaluation.fidelity},
    }


if __name__ == "__main__":
    main()
