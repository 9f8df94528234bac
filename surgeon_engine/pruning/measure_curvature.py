"""Measure the curvature that the pruning method of a run needs.

Where several processes share a run, each keeps the factors of its own blocks, and the
gates, which are small, of all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import Fisher, Structure
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.calibration.windows import TokenWindows, digest_of
from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    block_factors,
    block_gates,
    input_covariances,
    routed_outputs,
)
from surgeon_engine.curvature.measured import (
    Gate,
    GateGradients,
    KroneckerFactors,
    Measured,
)
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.products import fast_products
from surgeon_engine.planning.constants import (
    GATE_GENERAL_WINDOWS,
    GATE_SHIPPED_WINDOWS,
    gate_draws,
)
from surgeon_engine.planning.measured_before import Kind, mark_of
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Needs
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.kept import Key, Measurement
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import owns

Factors = dict[str, Measured]  # by layer
_KEPT = ("rows", "columns", "neurons", "routed")  # kept tensors of a gate


def measure(
    state: PruningState,
    windows: Tensor,
    context: RunContext,
    shot: int = 0,
    layers: Sequence[PrunableLayer] = (),
) -> Factors:
    """Measure what the method needs of each layer, on the host or in files.

    Factors of blocks that belong to other processes are left out. Without `layers`, it
    measures the layers by which the units are selected.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    request = CurvatureRequest(
        state.loaded.model,
        state.loaded.blocks,
        layers or [unit.measured for unit in state.units],
        windows,
        state.config.calibration.batch,
        state.config.pruning.fisher,
        state.config.calibration.seed + shot,
    )
    # On the host; its files last as long as their tensors.
    store = HiddenStore(torch.device("cpu"))
    match METHODS[state.config.pruning.method].needs:
        case Needs.NOTHING:
            return {layer.name: KroneckerFactors() for layer in request.layers}
        case Needs.INPUTS:
            with context.stage(Stage.CURVATURE, shot, len(request.batches)) as step:
                return {**_moved(input_covariances(request, step), request, store)}
        case Needs.ROUTING:
            with context.stage(Stage.CURVATURE, shot, len(request.batches)) as step:
                return {**routed_outputs(request, step)}
        case Needs.GATES:
            return _gates(state, request, context, shot)
        case Needs.INPUTS_AND_GRADIENTS:
            factors: Factors = {}
            with context.stage(Stage.CURVATURE, shot, request.steps) as step:
                for measured in block_factors(request, step):
                    factors |= _moved(measured, request, store)
                    measured.clear()  # frees the accelerator before the next block
            return factors


def _gates(
    state: PruningState, request: CurvatureRequest, context: RunContext, shot: int
) -> Factors:
    """Return the gates; reuse earlier measurements of an original model.

    The runs of a sweep, or a diagnosis and the run after it, measure the same.
    """
    is_original = not state.compacted_weights and not any(
        bool(removed.any()) for removed in state.removed.values()
    )
    if not is_original or Gate.WEIGHTS in _gates_of(state.config.pruning.structure):
        measured = _measure_gates(state, request, context, shot)
        return {**measured}  # as large as the model: not kept
    key = key_of_original(
        state,
        Kind.GATES,
        (request.batch, request.labels.value, request.seed),
        tuple(gate.value for gate in _gates_of(state.config.pruning.structure)),
        digest_of((request.windows, _general_windows(state.windows))),
    )
    found = context.kept.find(key)
    kept = {} if found is None else _as_gates(found)
    names = [layer.name for layer in request.layers]
    if not all(name in kept for name in names):
        measured = _measure_gates(state, request, context, shot)
        context.kept.keep(key, _as_measurement(measured))
        return {**measured}
    with context.stage(Stage.CURVATURE, shot, is_kept=True) as step:
        step()
    context.inform("The costs of this model on this text were measured before: kept.")
    return {name: kept[name] for name in names}


def key_of_original(
    state: PruningState,
    kind: Kind,
    *facts: Hashable,
    original: LoadedModel | None = None,
) -> Key:
    """Return the key of what the original model computes.

    `facts` determine it besides the model and how it is run. `original` is the model,
    loaded again; None: the state's model, unpruned as yet.
    """
    loaded = original or state.loaded
    model, device = loaded.model, loaded.device
    attention = getattr(model.config, "_attn_implementation", None)
    of_model = (
        tuple(state.loaded.identity.items()),
        digest_of([loaded.kept_tokens]),
        (str(model.dtype), str(device), str(devices.display_name(device))),
        (torch.get_num_threads(), devices.multiplies_bfloat16_fast(), str(attention)),
    )
    is_whole = bool(state.loaded.files) and loaded.kept_tokens is None
    mark = mark_of(kind, state.config, state.original) if is_whole else ""
    return Key(kind, (of_model, facts), mark)


def _as_measurement(gates: dict[str, GateGradients]) -> Measurement:
    """Return gates of rows and columns as a measurement that is kept."""
    tensors = {
        f"{part}/{name}": x
        for name, gate in gates.items()
        for part in _KEPT
        if (x := getattr(gate, part)) is not None
    }
    tokens = {name: gate.tokens for name, gate in gates.items()}
    return Measurement(tensors, encode_json(tokens).decode())


def _as_gates(found: Measurement) -> dict[str, GateGradients]:
    """Return the gates of a measurement that was kept."""
    tokens = decode_json(found.facts.encode(), dict[str, int])
    return {
        name: GateGradients(
            count, **{part: found.tensors.get(f"{part}/{name}") for part in _KEPT}
        )
        for name, count in tokens.items()
    }


def _measure_gates(
    state: PruningState, request: CurvatureRequest, context: RunContext, shot: int
) -> dict[str, GateGradients]:
    """Measure the gates on the user's text, and on general text if there is any.

    Both count alike. The labels of general text are drawn from the model.
    """
    requests = [replace(request, draws=gate_draws(len(request.windows)))]
    general = _general_windows(state.windows)
    if general is not None:
        requests.append(replace(request, windows=general, labels=Fisher.SAMPLED))
    model, total = request.model, sum(each.steps for each in requests)
    parts: list[dict[str, GateGradients]] = []
    with context.stage(Stage.CURVATURE, shot, total) as step:
        for each in requests:
            found: dict[str, GateGradients] = {}
            kinds = _gates_of(state.config.pruning.structure)
            with fast_products(model):
                for of_block in block_gates(each, kinds, step):
                    found |= {name: gates.on_host() for name, gates in of_block.items()}
            parts.append(found)
    if len(parts) == 1:
        return {**parts[0]}
    users, of_general = parts
    return {name: users[name].averaged_with(of_general[name]) for name in users}


def _general_windows(windows: TokenWindows) -> Tensor | None:
    """Return the windows of general text for gates; None: there are none.

    Most are shipped, if the model reads shipped text. The last windows that it wrote
    are chats if it has a template.
    """
    own, shipped = windows.own, windows.shipped
    if own is None:
        return None
    if shipped is None:
        return _spread(own, GATE_GENERAL_WINDOWS)
    shipped = shipped[:GATE_SHIPPED_WINDOWS]
    return torch.cat([own[len(shipped) - GATE_GENERAL_WINDOWS :], shipped])


def _spread(windows: Tensor, count: int) -> Tensor:
    """Return at most so many of the windows, from all their parts."""
    count = min(count, len(windows))
    return windows[torch.arange(count) * len(windows) // count]


def _gates_of(structure: Structure) -> tuple[Gate, ...]:
    """Return the gates of the candidates of a structure."""
    match structure:
        case Structure.ROWS_AND_COLUMNS:
            return (Gate.ROWS, Gate.COLUMNS)
        case Structure.ROWS:
            return (Gate.ROWS,)
        case Structure.N_M | Structure.ELEMENTS:
            return (Gate.WEIGHTS,)
        case Structure.EXPERTS_AND_NEURONS | Structure.EXPERTS_HEADS_AND_NEURONS:
            return (Gate.COLUMNS, Gate.NEURONS)
        case _:
            return (Gate.COLUMNS,)


def pool(factors: Factors, others: Factors, share: float) -> None:
    """Average `factors` with `others` in place, weighted by their windows.

    `others` is emptied, since there is no memory for a third set. Layers that share a
    tensor A still share it afterwards.

    `share` of the windows are in the first part.
    """
    done: set[int] = set()
    for name, pair in factors.items():
        other = others.pop(name)
        assert isinstance(pair, KroneckerFactors)
        assert isinstance(other, KroneckerFactors)
        for mean, added in ((pair.A, other.A), (pair.G, other.G)):
            if mean is not None and added is not None and id(mean) not in done:
                mean.mul_(share).add_(added, alpha=1 - share)
                done.add(id(mean))


def _moved(
    measured: dict[str, KroneckerFactors], request: CurvatureRequest, store: HiddenStore
) -> dict[str, KroneckerFactors]:
    """Move the factors of this process's blocks to a store; leave out the others.

    A tensor that layers share is still shared.
    """
    own = {layer.name for layer in request.layers if owns(layer.block)}
    moved: dict[int, Tensor] = {}

    def move(x: Tensor | None) -> Tensor | None:
        if x is not None and id(x) not in moved:
            moved[id(x)] = store.move(x)
        return None if x is None else moved[id(x)]

    return {
        name: KroneckerFactors(move(pair.A), move(pair.G))
        if name in own
        else KroneckerFactors()
        for name, pair in measured.items()
    }
