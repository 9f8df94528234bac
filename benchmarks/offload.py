"""Run a job with and without offloaded blocks, and compare memory, time and weights.

    python benchmarks/offload.py [--blocks 16] [--width 2048] [--dtype bfloat16]
        [--device auto]

The model is a Llama of that size with random weights, the text random tokens. Each run
is a process of its own. Its memory is sampled: on Linux also anonymous memory, the
memory without mapped files; on a GPU, the memory of its tensors. The estimates of the
plan stand beside them. Both runs must give the same files, bit for bit.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Method, PruningConfig
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import (
    Device,
    Dtype,
    ModelConfig,
    Offload,
    RunConfig,
)
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.formatting import format_duration, format_size
from surgeon_engine.run.preflight import preflight
from surgeon_engine.runtime import devices

VOCABULARY = 8_000
BETWEEN_SAMPLES = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Run:
    """Needs of a run, measured and planned: bytes and seconds."""

    offload: Offload
    anonymous: int  # memory of the process beside mapped files
    memory: int
    planned_memory: int
    peak: int  # on the device
    planned_peak: int
    seconds: float
    planned_seconds: float
    weights: Path


def main() -> int:
    """Run both jobs and print the table; return 1 if their files differ."""
    options = _options()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="offload-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        config = _job(options, folder)
        size = sum(x.stat().st_size for x in (folder / "model").glob("*.safetensors"))
        print(f"weights: {format_size(size)}")
        runs = [_run(config, offload, folder) for offload in (Offload.OFF, Offload.ON)]
        _print_table(runs)
        same = _are_equal(*(run.weights for run in runs))
        print("files: " + ("the same" if same else "NOT the same"))
        return 0 if same else 1
    finally:
        if not options.keep:
            shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048, help="hidden size")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--length", type=int, default=64, help="tokens of a window")
    parser.add_argument("--dtype", type=Dtype, default=Dtype.FLOAT32)
    parser.add_argument("--device", type=Device, default=Device.AUTO)
    parser.add_argument("--keep", help="folder for the model and the runs")
    return parser.parse_args()


def _job(options: argparse.Namespace, folder: Path) -> RunConfig:
    """Write the model and the tokens; return the job."""
    model = folder / "model"
    if not model.exists():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            num_hidden_layers=options.blocks,
            num_attention_heads=options.width // 64,
        )
        dtype = devices.dtype_of(options.dtype)
        LlamaForCausalLM(config).to(dtype).save_pretrained(model)
    random = np.random.default_rng(0)
    for name, windows in (("calibration", options.windows), ("validation", 4)):
        tokens = random.integers(0, VOCABULARY, (windows, options.length))
        np.save(folder / f"{name}.npy", tokens)
    return RunConfig(
        model=ModelConfig(str(model), options.dtype, options.device),
        calibration=CalibrationConfig(
            text=str(folder / "calibration.npy"),
            validation_text=str(folder / "validation.npy"),
            windows=options.windows,
        ),
        pruning=PruningConfig(method=Method.FIRST_ORDER, shots=1),
        recovery=RecoveryConfig(Recovery.REFIT, general_windows=0),
        evaluation=EvaluationConfig(windows=0),
    )


def _run(config: RunConfig, offload: Offload, folder: Path) -> Run:
    config = replace(config, model=replace(config.model, offload=offload))
    place = folder / f"offload-{offload}"
    shutil.rmtree(place, ignore_errors=True)
    plan = preflight(config, place).resources.estimate
    job = folder / f"{offload}.toml"
    job.write_text(config_to_toml(config))
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "surgeon_engine", "run", str(job)]
    command += ["--run-dir", str(folder), "--name", place.name]
    process = subprocess.Popen(command)
    peaks = _sampled(process)
    if process.wait():
        raise SystemExit(f"The run with offload = {offload} has failed.")
    report = RunFolder(place).read_report()
    return Run(
        offload,
        anonymous=peaks["anonymous"],
        memory=peaks["memory"],
        planned_memory=plan.engine,
        peak=report.peak_memory_bytes,
        planned_peak=plan.gpu or plan.engine,
        seconds=time.perf_counter() - start,
        planned_seconds=plan.seconds or 0.0,
        weights=place / "export",
    )


def _sampled(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Return the peaks of the memory of a process, once it has ended."""
    peaks = {"anonymous": 0, "memory": 0}
    engine = psutil.Process(process.pid)

    while process.poll() is None:
        try:
            found = engine.memory_info()
        except psutil.Error:
            break
        peaks["memory"] = max(peaks["memory"], found.rss)
        anonymous = found.rss - getattr(found, "shared", 0)  # Linux
        peaks["anonymous"] = max(peaks["anonymous"], anonymous)
        time.sleep(BETWEEN_SAMPLES)
    return peaks


def _are_equal(one: Path, other: Path) -> bool:
    files = sorted(one.glob("*.safetensors"))
    for file in files:
        first, second = load_file(file), load_file(other / file.name)
        if first.keys() != second.keys():
            return False
        if not all(torch.equal(first[name], second[name]) for name in first):
            return False
    return bool(files)


def _print_table(runs: list[Run]) -> None:
    print(
        "| offload | anonymous memory | memory | planned | on the device | planned "
        "| time | planned |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for run in runs:
        cells = [
            run.offload.value,
            format_size(run.anonymous),
            format_size(run.memory),
            format_size(run.planned_memory),
            format_size(run.peak),
            format_size(run.planned_peak),
            format_duration(run.seconds),
            format_duration(run.planned_seconds),
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    raise SystemExit(main())
