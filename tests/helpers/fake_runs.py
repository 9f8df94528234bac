"""Run folders as the engine writes them, for runs that never took place."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    Progressed,
    RunFinished,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import LOG_HEADER, RunFolder
from surgeon_engine.api.saved_state import Origin, SavedState
from surgeon_engine.base.sealed_json import sealed_json, sealed_line
from surgeon_engine.base.versions import STATE
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import (
    FAILURE,
    HINT,
    evaluation,
    model_summary,
    shot_finished,
)
from tests.helpers.fake_results import exported, recovered, write_file_of

BEGAN = 1_764_000_000.0  # start of the first run
SHOT_SECONDS = 4.0
SMALL = CalibrationConfig(windows=8, validation_windows=4, window_length=64)


def job(**pruning) -> RunConfig:
    """Return a job with three shots and the given pruning settings."""
    return RunConfig(
        calibration=SMALL, pruning=pruning_config(**({"shots": 3} | pruning))
    )


def write_run(
    parent: Path,
    name: str = "run",
    config: RunConfig | None = None,
    *,
    ending: str = "finished",
    hour: int = 0,
    factor: float = 1.0,
) -> Path:
    """Write a run folder and return its path.

    `ending` is "finished", "stopped", "failed", "cancelled" or "killed" (no last
    event), `hour` is the start time relative to the other runs and `factor` multiplies
    the perplexity.
    """
    run = RunFolder(parent / name)
    config = config or job()
    began = BEGAN + 3600 * hour
    run.path.mkdir(parents=True)
    run.config_path.write_text(config_to_toml(config))
    log = [
        Envelope("run-1", began + seconds, event)
        for seconds, event in _events(run, config, ending, factor)
    ]
    run.events_path.write_bytes(LOG_HEADER + b"".join(map(sealed_line, log)))
    if ending in ("finished", "stopped"):
        run.write_report(report := _report(config, log))
        write_file_of(report.exported)
    os.utime(run.config_path, (began, began))
    return run.path


def write_saved_state(folder: Path, shots: int = 1) -> Path:
    """Write the state from which a run goes on; return its folder."""
    finished = tuple(shot_finished(n, 3, 0.3) for n in range(1, shots + 1))
    origin = Origin({}, "", "", {})
    state = SavedState(origin, RecoveryConfig(), seconds=10.0, shots=finished)
    saved = RunFolder(folder).saved_state
    saved.path.mkdir()
    saved.state_path.write_bytes(sealed_json(state, STATE))
    return saved.path


def write_three(parent: Path) -> list[Path]:
    """Write three runs with different targets, shots and structures."""
    return [
        write_run(parent, "a", job(sparsity=0.2), hour=1),
        write_run(parent, "b", job(sparsity=0.4, shots=4), hour=2),
        write_run(
            parent, "c", job(sparsity=0.3, structure="neurons"), hour=3, factor=1.3
        ),
    ]


def _events(run: RunFolder, config: RunConfig, ending: str, factor: float):
    """Yield the events of a run with their seconds since its start."""
    model, shots = model_summary(config.model.source), config.pruning.shots
    yield 0.0, StageStarted(Stage.LOAD, 0)
    yield 1.0, RunStarted(str(run.path), shots, model, "a processor", 16_384, 8_192)
    yield 1.0, StageStarted(Stage.BASELINE, 0)
    yield 1.5, Progressed(Stage.BASELINE, 0, 1, 1)
    yield 2.0, BaselineEvaluated(evaluation(14.2))
    last = shots if ending == "finished" else 1
    for shot in range(1, last + 1):
        at = 2.0 + SHOT_SECONDS * (shot - 1)
        for stage in (Stage.CURVATURE, Stage.SELECTION, Stage.UPDATE, Stage.EVALUATION):
            yield at, StageStarted(stage, shot)
            yield at + 0.5, Progressed(stage, shot, 1, 2)
            at += 1.0
        finished = shot_finished(shot, shots, config.pruning.sparsity)
        yield at, _scaled(finished, factor)
    at = 2.0 + SHOT_SECONDS * last
    match ending:
        case "failed":
            yield at, Failed(FAILURE, HINT)
        case "cancelled":
            yield at, Cancelled()
        case "finished" | "stopped":
            yield at + 1, recovered(14.9 * factor)
            yield at + 2, exported(str(run.path / "export"), config.pruning)
            yield at + 3, RunFinished(ending == "stopped", at + 3, 500_000_000)


def _scaled(shot: ShotFinished, factor: float) -> ShotFinished:
    scaled = evaluation(shot.evaluation.perplexity * factor)
    return msgspec.structs.replace(shot, evaluation=scaled)


def _report(config: RunConfig, log: list[Envelope]) -> Report:
    events = [envelope.event for envelope in log]
    return Report(
        config=replace(config),
        model=model_summary(),
        versions={"python": "3.11.2", "surgeon": "0.1.0", "torch": "2.9.0"},
        device="a processor",
        baseline=evaluation(14.2),
        shots=tuple(event for event in events if isinstance(event, ShotFinished)),
        exported=next(each for each in events if isinstance(each, Exported)),
        checkpoint="",
        stopped_early=any(
            isinstance(each, RunFinished) and each.stopped_early for each in events
        ),
        seconds=17.0,
        seconds_of_stages={},
        peak_memory_bytes=500_000_000,
    )
