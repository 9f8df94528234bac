"""Run the engine on a model of any size without numbers, and count its work.

The model is made from its config; nothing is read or written. The engine runs from the
evaluation of the original to recovery; loading, texts and export are left out, and the
model's own text is given.

Four things depend on numbers and are decided here. The second block loses nothing, and
each unit of the others the same share of its weights. Each ridge fits better than the
one before. A layer adds its output to the residual stream if its name says so. Routers
send equally many tokens to all experts.

A run of the full size takes hours. `counted_job` makes one with a share of the windows,
and `extrapolated` computes the counts of the whole from four such runs.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, Offload, RunConfig
from surgeon_engine.api.messages.run import (
    RecoveryUndone,
    ShotFinished,
    StageStarted,
    UndoReason,
)
from surgeon_engine.api.messages.sources import ModelSummary, TextStatistics
from surgeon_engine.calibration.windows import JudgingText, TokenWindows
from surgeon_engine.model import load
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.layers import ExpertsLayer, find_blocks, prunable_layers
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.offload import OffloadedBlocks
from surgeon_engine.model.sinks import fuse_sinks
from surgeon_engine.model.source import ModelSource
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning import measure_curvature
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import Selection
from surgeon_engine.recovery import recover
from surgeon_engine.recovery.least_squares import NormalEquations
from surgeon_engine.recovery.refit import Target, _BlockRefit
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots import shot
from surgeon_engine.shots.loop import run_shots
from surgeon_engine.shots.quality_budget import QualityBudget
from surgeon_engine.shots.shot import evaluate_original
from tests.helpers.abstract_gpu import Abstract, AbstractGpu, Counts, abstract_gpu
from tests.helpers.pretended_gpu import GPU, HOST, current

LORA = RecoveryConfig(
    Recovery.DISTILLATION,
    trained_weights=TrainedWeights.LORA,
    gradient_checkpointing=GradientCheckpointing.ON,
)
_INTO_RESIDUAL = ("o_proj", "down_proj", "out_proj", "fc2")


FULL_WINDOWS, FULL_LENGTH = 128, 2048  # calibration windows, tokens of each
_JUDGING = 16  # judging windows of a full run, for all texts


def counted_job(
    structure: Structure | None = None,
    windows: int = FULL_WINDOWS,
    offload: Offload = Offload.OFF,
) -> RunConfig:
    """Return a job of one shot on a GPU in 16 bits, a window at a time.

    Args:
        structure: the structure to remove; None: heads and neurons, of any widths.
        windows: calibration windows, a multiple of 8; all others are in proportion.
        offload: whether blocks are offloaded.
    """
    return RunConfig(
        ModelConfig("counted", Dtype.BFLOAT16, Device.GPU, offload),
        CalibrationConfig(
            windows=windows,
            validation_windows=windows // 4,
            window_length=FULL_LENGTH,
            batch=1,
        ),
        PruningConfig(width_multiple=1)
        if structure is None
        else PruningConfig(structure),
        recovery=replace(LORA, general_windows=windows // 2),
        evaluation=EvaluationConfig(windows=windows // 8),
    )


@dataclass(frozen=True, slots=True)
class CountedRun:
    """The GPU of a run, with its counts, and a summary of the model."""

    gpu: AbstractGpu
    model: ModelSummary


def count(
    model: PretrainedConfig, config: RunConfig, *, in_files: bool = False
) -> CountedRun:
    """Run a job on a model with this config, and count by stage.

    Args:
        model: the config of the model.
        config: the job.
        in_files: offloaded blocks are in mapped files.
    """
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(
            model, dtype=devices.dtype_of(config.model.dtype)
        )
    made.requires_grad_(False).eval()
    source = ModelSource("counted", Path("counted"))
    windows = _windows(config, made.config.get_text_config().vocab_size)
    with (
        mock.patch.object(ModelSource, "weight_files", ()),
        mock.patch.object(load, "stamps_of", return_value=()),
        abstract_gpu() as gpu,
        mock.patch.object(load, "_stays_in_files", lambda *_: in_files),
        _answers(),
        _proportions(config.calibration.windows),
    ):
        summary = describe(made, source, made.dtype)
        loaded = _loaded(made, source, config.model.offload)
        gpu.phase = "load"

        def load_again(settings: ModelConfig, *_: object) -> LoadedModel:
            with torch.device("meta"):
                other = AutoModelForCausalLM.from_config(model, dtype=loaded.stored)
            other.requires_grad_(False).eval()
            return _loaded(other, source, settings.offload)

        with mock.patch.object(load, "_load", load_again):
            goal = goal_of(config.pruning, summary, file_form(config, summary))
            units = units_of(config.pruning, made)
            state = PruningState(config, loaded, windows, units, goal, summary)
            _run(state, gpu)
    return CountedRun(gpu, summary)


def summary_of(model: PretrainedConfig, config: RunConfig) -> ModelSummary:
    """Return the facts of a model with this config, by which a run is planned."""
    dtype = devices.dtype_of(config.model.dtype)
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(model, dtype=dtype)
    with mock.patch.object(ModelSource, "weight_files", ()):
        return describe(made, ModelSource("counted", Path("counted")), dtype)


def _run(state: PruningState, gpu: AbstractGpu) -> None:
    undone = []

    def send(envelope) -> None:
        match envelope.event:
            case RecoveryUndone(reason=UndoReason.FAILED):
                undone.append(envelope.event)
            case StageStarted(stage=stage):
                gpu.phase = stage.value
            case ShotFinished():
                gpu.phase = "compaction"

    context = RunContext("counted", send)
    baseline = evaluate_original(state, context)
    run_shots(state, QualityBudget.of(state.config.pruning, baseline), context)
    assert not undone, undone  # later stages would count as if they needed nothing


def _loaded(model, source: ModelSource, offload: Offload) -> LoadedModel:
    """Return a model whose weights are on the GPU, or offloaded."""
    offloads = offload is Offload.ON
    place = HOST if offloads else GPU
    in_files = offloads and load._stays_in_files(model, GPU)
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                held = torch.empty_like(parameter.data)
                with current().making("files" if in_files else "host"):
                    data = Abstract(held, place)
                made[id(parameter)] = torch.nn.Parameter(data, requires_grad=False)
            module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                numbers = torch.ones(buffer.shape, dtype=buffer.dtype)
                module._buffers[name] = numbers.to(HOST if offloads else GPU)
    fuse_sinks(model)
    blocks, layers = find_blocks(model), prunable_layers(model)
    for layer in layers:
        if isinstance(layer, ExpertsLayer):
            layer.module.register_forward_pre_hook(_route_evenly)
    if offloads:
        OffloadedBlocks(model, blocks, GPU, in_files=in_files)
    return LoadedModel(source, model, None, model.dtype)


def _route_evenly(experts: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Let a router choose all experts equally often, one after another."""
    chosen = inputs[1]
    numbers = torch.arange(chosen.numel()) % len(experts.down_proj)
    chosen.known = numbers.view(chosen.shape)


def _windows(config: RunConfig, vocabulary: int) -> TokenWindows:
    """Return random windows, for general text, too."""
    calibration = config.calibration
    generator = torch.Generator().manual_seed(0)

    def windows(count: int) -> torch.Tensor:
        shape = count, calibration.window_length
        return torch.randint(vocabulary, shape, generator=generator)

    return TokenWindows(
        windows(calibration.windows),
        windows(calibration.validation_windows),
        "counted",
        statistics=TextStatistics(),
        own=windows(config.own_windows) if config.own_windows else None,
        shipped=windows(config.shipped_windows) if config.shipped_windows else None,
        others=(JudgingText("own", windows(config.evaluation.windows)),),
    )


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Replace the decisions that depend on the numbers of tensors."""
    is_direct, error_of = _BlockRefit.adds_to_residual, NormalEquations.error
    numbers = itertools.count(2)

    def adds_to_residual(refit: _BlockRefit, target: Target) -> bool:
        is_direct(refit, target)
        return target.layer.kind.endswith(_INTO_RESIDUAL)

    def error(sums: NormalEquations, W: torch.Tensor) -> float:
        error_of(sums, W)
        return 1 / next(numbers)

    with (
        mock.patch.object(shot, "cheapest_of", _even_selection),
        mock.patch.object(NormalEquations, "error", error),
        mock.patch.object(_BlockRefit, "adds_to_residual", adds_to_residual),
    ):
        yield


@contextlib.contextmanager
def _proportions(windows: int) -> Iterator[None]:
    """Scale the windows that judge recovery, and the windows of gates, in proportion.

    There is one more to judge: offloaded blocks run one at a time on several alone.
    """
    judging = _JUDGING * windows // FULL_WINDOWS + 1
    gates = {
        name: getattr(measure_curvature, name) * windows // FULL_WINDOWS
        for name in ("GATE_GENERAL_WINDOWS", "GATE_SHIPPED_WINDOWS")
    }
    if windows == FULL_WINDOWS:
        yield
        return

    def judging_windows(count: int) -> int:
        return judging if count == windows else 0

    with (
        mock.patch.object(recover, "judging_windows", judging_windows),
        mock.patch.multiple(measure_curvature, **gates),
    ):
        yield


def extrapolated(
    runs: Mapping[tuple[int, int], CountedRun], blocks: int, windows: int
) -> dict[str, Counts]:
    """Return the counts by phase of a run with more blocks and windows.

    All counts are linear in both. The peak of the GPU is linear in blocks from three
    on: two offloaded ones and the next are then there, and another moment may be the
    highest. It depends on the number of windows where experts are refitted.

    Args:
        runs: runs by their numbers of blocks and windows: two and three blocks with
            two numbers of windows, and four blocks with the smaller one.
        blocks: blocks of the whole model.
        windows: calibration windows of the whole run.
    """
    (b, more_b, *_), (w, more_w) = (sorted(set(x)) for x in zip(*runs, strict=True))
    at_b = (blocks - b) / (more_b - b)
    at_w = (windows - w) / (more_w - w)

    def whole(numbers: Callable[[Counts], Mapping[Any, int]]) -> dict[Any, int]:
        found = {key: numbers(run.gpu.counts[phase]) for key, run in runs.items()}
        return {
            name: round(
                (1 - at_b) * (1 - at_w) * found[b, w].get(name, 0)
                + at_b * (1 - at_w) * found[more_b, w].get(name, 0)
                + (1 - at_b) * at_w * found[b, more_w].get(name, 0)
                + at_b * at_w * found[more_b, more_w].get(name, 0)
            )
            for name in set().union(*found.values())
        }

    result = {}
    for phase in runs[b, w].gpu.counts:
        others = whole(lambda x: {"moved": x.moved, "kernels": x.kernels})
        peaks = whole(lambda x: x.peaks)
        of_gpu = [runs[x, w].gpu.counts[phase].peaks["GPU"] for x in (b + 1, b + 2)]
        peaks["GPU"] = of_gpu[0] + (blocks - b - 1) * (of_gpu[1] - of_gpu[0])
        fewer, more = (
            runs[more_b, x].gpu.counts[phase].peaks["GPU"] for x in (w, more_w)
        )
        peaks["GPU"] += round((windows - w) / (more_w - w) * (more - fewer))
        result[phase] = Counts(
            Counter(whole(lambda x: x.flops)),
            Counter(whole(lambda x: x.copied)),
            Counter(whole(lambda x: x.waits)),
            others["moved"],
            others["kernels"],
            peaks,
        )
    return result


def _even_selection(units, costs: Mapping, pruning, budget: int) -> Selection:
    """Select the cheapest candidates of each unit, the same share of its weights.

    The second block keeps all: the largest matrices then belong to whole layers, and
    there are offloaded blocks before and after it.
    """
    del pruning
    of_unit = {u.measured.name: sum(x.weights for x in u.layers) for u in units}
    blocks = {u.measured.name: u.measured.block for u in units}
    share = budget / sum(of_unit.values())
    removed, total = {}, 0
    for name, unit in costs.items():
        weights = unit.weights.cumsum(0)
        count = int((weights <= share * of_unit[name]).sum())
        if blocks[name] == 1:
            count = 0
        total += int(weights[count - 1]) if count else 0
        removed[name] = torch.zeros(unit.candidates, dtype=torch.bool)
        removed[name][unit.candidate[:count]] = True
    return Selection(removed, total, threshold=0.5)
