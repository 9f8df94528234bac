"""Whole runs on a GPU: no operation mixes devices, and the figures are the CPU's.

The GPU is pretended; the same tests run on a real one with `pytest -m gpu`.
"""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Damping,
    Fisher,
    Method,
    Structure,
    UpdateKind,
)
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, Offload
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Recovered, ShotFinished
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.planning.automatic_settings import with_chosen_multiple
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.run import pipeline
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime import devices
from tests.helpers.gguf_files import needs_llama, pruned, tiny_llama
from tests.helpers.pretended_gpu import GPU, DeviceMismatchError, pretended_gpu
from tests.helpers.runs import Recorder, job

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]

OFF = RecoveryConfig(Recovery.OFF)
REFIT = RecoveryConfig(Recovery.REFIT, general_windows=0)
BOTH = RecoveryConfig(Recovery.BOTH, general_windows=0)
LORA = RecoveryConfig(
    Recovery.DISTILLATION,
    general_windows=2,
    trained_weights=TrainedWeights.LORA,
    gradient_checkpointing=GradientCheckpointing.ON,
)
SURGEON = {"method": Method.LLM_SURGEON, "damping": Damping.AUTOMATIC, "shots": 2}
CASES = {
    "first order, trained": ({"method": Method.FIRST_ORDER}, BOTH),
    "first order, adapters": (
        {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED},
        LORA,
    ),
    "heads and neurons": (SURGEON, REFIT),
    "rows and columns": (SURGEON | {"structure": Structure.ROWS_AND_COLUMNS}, REFIT),
    "separate update": (
        {
            "method": Method.LLM_SURGEON,
            "structure": Structure.ROWS_AND_COLUMNS,
            "update": UpdateKind.SEPARATE,
        },
        OFF,
    ),
    "elements": (SURGEON | {"structure": Structure.ELEMENTS}, REFIT),
    "2:4": ({"method": Method.FIRST_ORDER, "structure": Structure.N_M}, REFIT),
    "limit of quality": (SURGEON | {"max_perplexity_increase": 1.0}, OFF),
    "magnitude": ({"method": Method.MAGNITUDE}, OFF),
    "K-OBD": ({"method": Method.K_OBD, "structure": Structure.ROWS_AND_COLUMNS}, OFF),
    "L-OBD": ({"method": Method.L_OBD}, OFF),
    "SparseGPT": ({"method": Method.SPARSEGPT, "structure": Structure.N_M}, OFF),
    "Wanda": ({"method": Method.WANDA, "structure": Structure.ELEMENTS}, OFF),
}
FIRST = ("first order, trained", "separate update")
OTHERS = ("opt", "gpt2", "gpt_neox", "gemma3", "qwen2", "phi3", "falcon")


REAL = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(params=["pretended", pytest.param("real", marks=REAL)])
def gpu(request, monkeypatch):
    """Return a context in which the engine chooses a GPU."""
    if request.param == "real":
        return nullcontext()
    choose_gpu(monkeypatch)
    return pretended_gpu()


def choose_gpu(monkeypatch):
    """Let the engine choose the GPU while one is pretended."""

    def choose(device):
        is_gpu = device is not Device.CPU and torch.cuda.is_available()
        return GPU if is_gpu else torch.device("cpu")

    monkeypatch.setattr(devices, "choose", choose)


def run_on_both(config, folder, gpu):
    """Run a job on the CPU and on a GPU, with any widths; return both runs."""
    config = with_chosen_multiple(config, 1)  # a GPU would choose another
    cpu = replace(
        config,
        model=replace(config.model, device=Device.CPU, offload=Offload.OFF),
    )
    expected = Recorder().run(cpu, folder / "cpu")
    with gpu as pretended:
        found = Recorder().run(config, folder / "gpu")
        if pretended is not None:
            assert pretended.doubles == 0  # slow on many GPUs, and some have none
    return expected, found


def removed(recorder):
    return [layer.removed for x in recorder.of(ShotFinished) for layer in x.layers]


def losses(recorder):
    shots = [x.evaluation.loss for x in recorder.of(ShotFinished)]
    return shots + [x.evaluation.loss for x in recorder.of(Recovered)]


def check(config, folder, gpu):
    expected, found = run_on_both(config, folder, gpu)
    assert removed(found) == removed(expected)
    assert losses(found) == pytest.approx(losses(expected), rel=1e-3)
    return found


def each(cases, pretended):
    """Run all cases on a real GPU, and the named ones on the pretended one."""
    found = [pytest.param("pretended", name) for name in pretended]
    found += [pytest.param("real", name, marks=REAL) for name in cases]
    return pytest.mark.parametrize(("gpu", "case"), found, indirect=["gpu"])


@each(CASES, FIRST)
def test_run_equals_that_of_the_cpu(tmp_path, gpu, case):
    settings, recovery = CASES[case]
    config = job(tmp_path, "llama", **settings, recovery=recovery)
    found = check(config, tmp_path, gpu)
    assert len(found.of(Recovered)) == (recovery is not OFF)


@each(["first order, trained", "rows and columns"], [])
@pytest.mark.parametrize("family", OTHERS)
def test_run_of_another_family_equals_that_of_the_cpu(tmp_path, gpu, family, case):
    settings, recovery = CASES[case]
    config = job(tmp_path, family, **settings, recovery=recovery)
    check(config, tmp_path, gpu)


def peak_of(config, folder, gpu):
    with gpu as pretended:
        found = Recorder().run(config, folder)
    return found, pretended.peak


def test_run_goes_on_with_smaller_batches_where_memory_is_short(tmp_path, monkeypatch):
    """The result equals a run with the smaller batch from the start."""
    config = job(
        tmp_path, "llama", method=Method.FIRST_ORDER, sparsity=0.3, recovery=REFIT
    )
    one, four = (
        replace(config, calibration=replace(config.calibration, batch=batch))
        for batch in (1, 4)
    )
    choose_gpu(monkeypatch)
    monkeypatch.setattr(pipeline, "check_fits", lambda _: None)
    small, low = peak_of(one, tmp_path / "one", pretended_gpu())
    found, peak = peak_of(four, tmp_path / "short", pretended_gpu(int(1.05 * low)))
    assert peak <= 1.05 * low
    warnings = [x.message for x in found.of(Logged) if "windows at a time" in x.message]
    assert warnings[0].startswith("There is not enough memory for 4 windows at a time")
    assert removed(found) == removed(small)


OFFLOADED = {
    "gates and refit": ({"method": Method.FIRST_ORDER}, REFIT),
    "factors, adapters": (
        SURGEON | {"structure": Structure.ROWS_AND_COLUMNS},
        replace(LORA, level=Recovery.BOTH),
    ),
    "heads and neurons, adapters": (SURGEON, LORA),
    "single weights": (SURGEON | {"structure": Structure.ELEMENTS}, REFIT),
    "experts, routers": (
        {
            "method": Method.FIRST_ORDER,
            "structure": Structure.EXPERTS,
            "sparsity": 0.2,
            "export": ExportConfig(format=Format.COMPACT),
        },
        replace(LORA, trained_weights=TrainedWeights.ROUTERS),
    ),
}


@each(OFFLOADED, ["gates and refit", "experts, routers"])
def test_run_with_offloaded_blocks_equals_that_of_the_cpu(tmp_path, gpu, case):
    settings, recovery = OFFLOADED[case]
    family = "qwen3_moe" if "experts" in case else "llama"
    config = job(tmp_path, family, **settings, recovery=recovery)
    config = replace(config, model=replace(config.model, offload=Offload.ON))
    check(config, tmp_path, gpu)


def test_run_chooses_widths_that_a_gpu_computes_fast(tmp_path, monkeypatch):
    config = job(tmp_path, "llama", method=Method.MAGNITUDE)
    choose_gpu(monkeypatch)
    with pretended_gpu():
        found = Recorder().run(config, tmp_path / "gpu")
        without_preflight = prepare(config, Recorder().context)
    assert RunFolder(tmp_path / "gpu").read_report().config.pruning.width_multiple == 8
    assert without_preflight.config.pruning.width_multiple == 8
    shot = found.of(ShotFinished)[-1]
    widths = {x.columns_kept for x in shot.layers if x.kind.endswith("down_proj")}
    assert min(widths) < 24
    assert all(width % 8 == 0 for width in widths)


def test_16_bit_model_is_pruned(tmp_path, gpu):
    """Without training: autocast does not see pretended tensors."""
    config = job(tmp_path, "llama", method=Method.FIRST_ORDER)
    config = replace(
        config, model=replace(config.model, dtype=Dtype.BFLOAT16), recovery=REFIT
    )
    with gpu:
        found = Recorder().run(config, tmp_path / "gpu")
    assert len(found.of(Recovered)) == 1


def test_mask_that_stays_on_the_host_is_found(tmp_path, gpu, monkeypatch):
    """The tests above see such a mistake."""
    columns = CoupledUnit._columns
    monkeypatch.setattr(CoupledUnit, "_columns", lambda *x: columns(*x).cpu())
    with gpu, pytest.raises((DeviceMismatchError, RuntimeError), match="device"):
        Recorder().run(job(tmp_path, "llama"), tmp_path / "gpu")


@needs_llama
def test_rounded_weights_are_those_of_the_cpu(gpu, tmp_path):
    config = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    files = []
    for device, place in (("cpu", nullcontext()), (GPU, gpu)):
        folder = tmp_path / str(device)
        folder.mkdir()
        with place:
            model = tiny_llama(num_hidden_layers=1).to(device)
            windows = torch.arange(96).view(4, 24)
            writer = GgufWriter().on_text(Calibration(windows, 2, ""))
            writer.write(pruned(model), config, folder)
        files.append(np.fromfile(folder / "model.gguf", np.uint8))
    cpu, other = files
    assert (cpu == other).mean() > 0.95  # a sum in another order may change a step
