"""Runs on tiny models that are cut off and go on."""

from collections.abc import Callable

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.events import Event
from surgeon_engine.api.messages.run import (
    Progressed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.run.pipeline import resume
from surgeon_engine.runtime import run_context, saver
from tests.helpers.runs import Recorder, job


def let_save_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Let a run save wherever it may, and report every step."""
    patch.setattr(run_context, "_SECONDS_BETWEEN_PROGRESS", 0.0)
    patch.setattr(saver, "_SECONDS_BETWEEN", 0.0)
    patch.setattr(saver, "_SHARE_OF_TIME", 1e9)


class PowerCut(BaseException):
    """Nothing in the program handles it, as nothing handles the end of a process."""


def config_of(
    folder, structure=Structure.HEADS_AND_NEURONS, level=Recovery.OFF, **settings
):
    """Return a job of three shots with the recovery of this level."""
    recovery = RecoveryConfig(level, general_windows=4, epochs=3)
    settings = {"shots": 3, "sparsity": 0.4, "recovery": recovery} | settings
    return job(folder, windows=8, structure=structure, **settings)


def cut_at(when: Callable[[Event], bool], config, folder) -> Recorder:
    """Run a job, or without one go on, until an event; nothing is done after it."""

    def react(event):
        if when(event):
            raise PowerCut

    recorder = Recorder()
    recorder.react = react
    with pytest.raises(PowerCut):
        if config is None:
            resume(folder, recorder.context)
        else:
            recorder.run(config, folder)
    return recorder


def resumed(folder) -> Recorder:
    """Go on with a run."""
    recorder = Recorder()
    resume(folder, recorder.context)
    return recorder


def results(folder) -> dict[str, bytes]:
    """Return the bytes of all exported tensors; the order of files' metadata varies."""
    return {
        f"{path.name} {name}": x.view(torch.uint8).numpy().tobytes()
        for path in (folder / "export").glob("*.safetensors")
        for name, x in load_file(path).items()
    }


def report_without_times(folder):
    """Return the parts of a run's report that must not depend on its speed."""
    report = RunFolder(folder).read_report()
    shots = [msgspec.structs.replace(shot, seconds=0) for shot in report.shots]
    recovered = report.recovered and msgspec.structs.replace(
        report.recovered, seconds=0
    )
    return report.baseline, shots, recovered, report.stopped_early


def assert_same_result(folder, whole):
    """Check that two runs gave one result, and that the first left no saved state."""
    assert results(folder) == results(whole)
    assert report_without_times(folder) == report_without_times(whole)
    assert not RunFolder(folder).saved_state.path.exists()
    assert not list(folder.glob(".*"))


def after_shot(number: int) -> Callable[[Event], bool]:
    """Match the first stage after a shot: the state has been saved by then."""
    seen = []

    def when(event):
        if isinstance(event, ShotFinished):
            seen.append(event)
        return len(seen) == number and isinstance(event, StageStarted)

    return when


def at_step(stage: Stage, step: int) -> Callable[[Event], bool]:
    """Match a step of the last recovery."""

    def when(event):
        return (
            isinstance(event, Progressed)
            and event.stage is stage
            and event.shot == 0
            and event.done == step
        )

    return when


def at_stage(stage: Stage) -> Callable[[Event], bool]:
    """Match the start of a stage."""

    def when(event):
        return isinstance(event, StageStarted) and event.stage is stage

    return when
