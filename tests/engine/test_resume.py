"""A run that is interrupted and resumed gives what it would have given in one go."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import Damping, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.commands import Cancel, StopAndKeep
from surgeon_engine.api.messages.events import Event
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    Progressed,
    RunFinished,
    RunResumed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder, remove_litter
from surgeon_engine.api.saved_state import Origin, SavedPart, SavedState
from surgeon_engine.base.errors import EngineError, ExportError, RunFolderError
from surgeon_engine.base.reading import Content
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import STATE
from surgeon_engine.run import pipeline, preflight
from surgeon_engine.run.pipeline import resume
from surgeon_engine.runtime import run_context
from surgeon_engine.runtime import saver as saver_module
from surgeon_engine.runtime.run_context import RunCancelled
from surgeon_engine.runtime.speed_probe import room
from surgeon_engine.shots import damping, loop
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import read_state
from tests.engine.shots.test_quality_budget import (
    costly_elements,
    mark,
    markable,
    with_recovery,
)
from tests.helpers.exports import write_export
from tests.helpers.locks import write_lock
from tests.helpers.quantized import FORMATS, quantize
from tests.helpers.runs import Recorder, job, skip_verification

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]


def cut():
    raise PowerCut


class PowerCut(BaseException):
    """Nothing in the program handles it, as nothing handles the end of a process."""


@pytest.fixture(autouse=True)
def save_everywhere(monkeypatch):
    """Let a run save wherever it may, and report every step."""
    monkeypatch.setattr(run_context, "_SECONDS_BETWEEN_PROGRESS", 0.0)
    monkeypatch.setattr(saver_module, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(saver_module, "_SHARE_OF_TIME", 1e9)


def config_of(folder, structure=Structure.HEADS_AND_NEURONS, **settings):
    recovery = RecoveryConfig(
        settings.pop("level", Recovery.OFF), own_windows=0, epochs=3
    )
    pruning = {"shots": 3, "sparsity": 0.4} | settings
    config = job(folder, windows=8, structure=structure, **pruning)
    return dataclasses.replace(config, recovery=recovery)


def cut_at(when: Callable[[Event], bool], config, folder) -> Recorder:
    """Run a job until an event; nothing is done after it."""

    def react(event):
        if when(event):
            raise PowerCut

    recorder = Recorder()
    recorder.react = react
    with pytest.raises(PowerCut):
        recorder.run(config, folder)
    return recorder


def resumed(folder) -> Recorder:
    recorder = Recorder()
    resume(folder, recorder.context)
    return recorder


def results(folder) -> dict[str, bytes]:
    """Return the bytes of all exported tensors; the order of files' metadata varies."""
    return {
        f"{path.name} {name}": x.numpy().tobytes()
        for path in (folder / "export").glob("*.safetensors")
        for name, x in load_file(path).items()
    }


def report_without_times(folder):
    report = RunFolder(folder).read_report()
    shots = [msgspec.structs.replace(shot, seconds=0) for shot in report.shots]
    recovered = report.recovered and msgspec.structs.replace(
        report.recovered, seconds=0
    )
    return report.baseline, shots, recovered, report.stopped_early


def assert_same_result(folder, whole):
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
    def when(event):
        return (
            isinstance(event, Progressed)
            and event.stage is stage
            and event.shot == 0  # of the last recovery
            and event.done == step
        )

    return when


def at_stage(stage: Stage) -> Callable[[Event], bool]:
    def when(event):
        return isinstance(event, StageStarted) and event.stage is stage

    return when


def test_finished_run_is_not_locked(tmp_path):
    Recorder().run(config_of(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "process.json").exists()


@pytest.mark.parametrize(
    "structure",
    [Structure.ELEMENTS],
)
def test_run_goes_on_after_a_shot(structure, tmp_path):
    config = config_of(tmp_path, structure)
    Recorder().run(config, tmp_path / "whole")
    for number in (1, 2):
        folder = tmp_path / f"cut-{number}"
        cut_at(after_shot(number), config, folder)
        assert RunFolder(folder).saved_state.exists
        recorder = resumed(folder)
        (event,) = recorder.of(RunResumed)
        assert event.shots == number
        assert [shot.shot for shot in recorder.of(ShotFinished)] == [
            *range(number + 1, 4)
        ]
        assert not recorder.of(BaselineEvaluated)
        assert_same_result(folder, tmp_path / "whole")


def test_run_of_a_quantized_model_goes_on(tmp_path):
    config = config_of(tmp_path, shots=2, level=Recovery.REFIT)
    quantize(Path(config.model.source), FORMATS["gptq"])
    Recorder().run(config, tmp_path / "whole")
    folder = tmp_path / "cut"
    cut_at(after_shot(1), config, folder)
    (event,) = resumed(folder).of(RunResumed)
    assert event.shots == 1
    assert_same_result(folder, tmp_path / "whole")


CASES = [
    (
        Structure.HEADS_AND_NEURONS,
        Recovery.RECONSTRUCTION,
        at_step(Stage.RECONSTRUCTION, 1),
    ),
    (Structure.HEADS_AND_NEURONS, Recovery.BOTH, at_step(Stage.DISTILLATION, 4)),
    (Structure.ELEMENTS, Recovery.REFIT, at_step(Stage.REFIT, 1)),
]


@pytest.mark.parametrize(("structure", "level", "when"), CASES)
def test_recovery_goes_on(structure, level, when, tmp_path):
    config = config_of(tmp_path, structure, shots=1, level=level)
    Recorder().run(config, tmp_path / "whole")
    cut_at(when, config, tmp_path / "cut")
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_quality_limit_goes_on(tmp_path, monkeypatch):
    config = with_recovery(markable(tmp_path, monkeypatch, gain=0.1))
    monkeypatch.setattr(loop, "recover", mark)
    Recorder().run(config, tmp_path / "whole")
    report = RunFolder(tmp_path / "whole").read_report()
    assert len(report.shots) > 1
    assert report.recovered is not None
    for number in range(1, len(report.shots) + 1):
        folder = tmp_path / f"cut-{number}"
        cut_at(after_shot(number), config, folder)
        resumed(folder)
        assert_same_result(folder, tmp_path / "whole")


@pytest.mark.parametrize("shot", [2])
def test_damping_search_goes_on_after_its_last_trial(tmp_path, monkeypatch, shot):
    evaluate, trials, searches = damping.evaluate_held_out, [], []

    def counted(*arguments):
        if len(searches) == shot and len(trials) == 2:
            raise PowerCut
        trials.append(arguments)
        return evaluate(*arguments)

    def note(event):
        if isinstance(event, StageStarted) and event.stage is Stage.DAMPING:
            trials.clear()
            searches.append(event)

    config = config_of(tmp_path, shots=2, damping=Damping.AUTOMATIC)
    Recorder().run(config, tmp_path / "whole")
    folder, recorder = tmp_path / "cut", Recorder()
    recorder.react = note
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(damping, "evaluate_held_out", counted)
        recorder.run(config, folder)
    saved = RunFolder(folder).saved_state.read()
    assert saved.search is not None
    assert saved.search.shot == shot

    trials.clear()
    searches[:] = ["resumed"] * 3  # none is cut
    with monkeypatch.context() as patch:
        patch.setattr(damping, "evaluate_held_out", counted)
        found = resumed(folder).of(ShotFinished)
    assert len(trials) == sum(each.damping.tried for each in found) - 2
    assert_same_result(folder, tmp_path / "whole")


def test_shot_that_a_quality_limit_has_rejected_is_not_tried_again(
    tmp_path, monkeypatch
):
    config = costly_elements(tmp_path, monkeypatch, shots=4, rise=20)
    run_shot, tried = loop.run_shot, []

    def counted(state, plan, context):
        tried.append(plan.share)
        return run_shot(state, plan, context)

    monkeypatch.setattr(loop, "run_shot", counted)
    Recorder().run(config, tmp_path / "whole")
    whole = list(tried)
    accepted = RunFolder(tmp_path / "whole").read_report().shots
    assert len(whole) > len(accepted) + 1
    tried.clear()

    def cut_at_last(state, plan, context):
        if len(tried) == len(whole) - 1:
            raise PowerCut
        return counted(state, plan, context)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(loop, "run_shot", cut_at_last)
        Recorder().run(config, tmp_path / "cut")
    resumed(tmp_path / "cut")
    assert tried == whole
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_two_interruptions_are_no_worse_than_one(tmp_path):
    config = config_of(tmp_path, level=Recovery.REFIT)
    Recorder().run(config, tmp_path / "whole")
    folder = tmp_path / "cut"
    cut_at(after_shot(1), config, folder)
    for when in (after_shot(1), at_step(Stage.REFIT, 2), at_stage(Stage.VERIFICATION)):
        recorder = Recorder()
        recorder.react = lambda event, when=when: cut() if when(event) else None
        with pytest.raises(PowerCut):
            resume(folder, recorder.context)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_resumed_run_replaces_its_own_export_and_nothing_else(tmp_path):
    config, out = config_of(tmp_path, shots=1), tmp_path / "out"
    export = dataclasses.replace(config.export, folder=str(out))
    config, folder = dataclasses.replace(config, export=export), tmp_path / "cut"
    cut_at(lambda event: isinstance(event, Exported), config, folder)
    (out / "notes.txt").touch()
    with pytest.raises(ExportError, match=r"notes\.txt"):
        resume(folder, Recorder().context)
    out.rename(tmp_path / "own")
    write_export(out)
    with pytest.raises(ExportError, match="not empty"):
        resume(folder, Recorder().context)
    shutil.rmtree(out)
    (tmp_path / "own").rename(out)
    (out / "notes.txt").unlink()
    resumed(folder)
    assert RunFolder(folder).read_report().exported is not None


def test_resumed_run_replaces_another_export_if_it_may(tmp_path):
    config, out = config_of(tmp_path, shots=1), tmp_path / "out"
    export = dataclasses.replace(config.export, folder=str(out))
    config, folder = dataclasses.replace(config, export=export), tmp_path / "cut"
    cut_at(after_shot(1), config, folder)
    write_export(out)
    resume(folder, Recorder().context, replace=True)
    assert (out / "run.toml").is_file()


def test_export_of_another_program_goes_on(tmp_path, monkeypatch):
    """Its run writes a checkpoint for transformers first."""
    monkeypatch.setattr(pipeline, "FOR_TRANSFORMERS", ())
    config = config_of(tmp_path, shots=2)
    export = dataclasses.replace(
        config.export, format=Format.MASKED, folder=str(tmp_path / "out")
    )
    config = dataclasses.replace(config, export=export)
    for count in (1, 2):  # of exports that had begun
        folder = tmp_path / f"cut-{count}"
        stages = []

        def when(event, stages=stages, count=count):
            if isinstance(event, StageStarted) and event.stage is Stage.VERIFICATION:
                stages.append(event)
            return len(stages) == count

        cut_at(when, config, folder)
        resumed(folder)
        assert (folder / "checkpoint" / "README.md").is_file()
        assert (tmp_path / "out" / "README.md").is_file()
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(
    "level",
    [Recovery.REFIT],
)
def test_stopped_run_can_go_on(tmp_path, level):
    config = config_of(tmp_path, level=level)
    Recorder().run(config, tmp_path / "whole")
    folder, recorder = tmp_path / "cut", Recorder()

    def stop(event):
        if isinstance(event, ShotFinished) and event.shot == 1:
            recorder.context.handle(StopAndKeep(run="test"))

    recorder.react = stop
    recorder.run(config, folder)
    assert RunFolder(folder).read_report().stopped_early
    assert results(folder) != results(tmp_path / "whole")
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_cancelled_run_can_go_on(tmp_path):
    config = config_of(tmp_path)
    Recorder().run(config, tmp_path / "whole")
    folder, recorder = tmp_path / "cut", Recorder()

    def cancel(event):
        if isinstance(event, ShotFinished) and event.shot == 2:
            recorder.context.handle(Cancel(run="test"))

    recorder.react = cancel
    with pytest.raises(RunCancelled):
        recorder.run(config, folder)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    "structure",
    [Structure.HEADS_AND_NEURONS],
)
def test_run_that_a_failed_shot_has_ended_goes_on(tmp_path, structure, monkeypatch):
    """Its shots may succeed later; recovery begins anew."""
    config = config_of(tmp_path, structure, level=Recovery.REFIT)
    Recorder().run(config, tmp_path / "whole")
    run_shot = loop.run_shot

    def fail_in_the_third(state, plan, context):
        if plan.number == 3:
            raise EngineError("Made up.", "None.")
        return run_shot(state, plan, context)

    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_shot", fail_in_the_third)
        cut_at(at_step(Stage.REFIT, 2), config, folder)
    assert RunFolder(folder).saved_state.read().blocks is not None
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_time_goes_on(tmp_path):
    config = config_of(tmp_path)
    folder = tmp_path / "cut"
    cut_at(after_shot(2), config, folder)
    state = RunFolder(folder).saved_state.read()
    longer = {name: 1000 + s for name, s in state.seconds_of_stages.items()}
    changed = msgspec.structs.replace(state, seconds=5000.0, seconds_of_stages=longer)
    write_state(folder, changed)
    (finished,) = resumed(folder).of(RunFinished)
    assert 5000 < finished.seconds < 6000
    report = RunFolder(folder).read_report()
    assert report.seconds_of_stages[Stage.CURVATURE.value] > 1000


def test_run_without_saving_leaves_nothing(tmp_path):
    config = config_of(tmp_path)
    export = dataclasses.replace(config.export, save_progress=False)
    folder = tmp_path / "cut"
    cut_at(after_shot(2), dataclasses.replace(config, export=export), folder)
    assert not RunFolder(folder).saved_state.path.exists()
    assert "holds no state of an interrupted run" in refused(folder)


def test_run_ends_well_if_its_state_cannot_be_deleted(tmp_path, monkeypatch):
    unlink = Path.unlink

    def fail(path, **options):
        if path.name == "state.json":
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        recorder = Recorder().run(config_of(tmp_path, shots=1), tmp_path / "run")
        remove_litter(tmp_path)  # nor does the next start fail
    (warning,) = recorder.warnings()
    assert warning.message == (
        "The saved progress of the run cannot be deleted: Input/output error. The next "
        "start of Surgeon tries again."
    )
    assert isinstance(recorder.events[-1], RunFinished)
    run = RunFolder(tmp_path / "run")
    assert run.saved_state.exists
    remove_litter(tmp_path)
    assert not run.saved_state.path.exists()


def test_last_state_survives_a_full_disk(tmp_path, monkeypatch):
    """The run warns once and goes on; what was saved stays as it is."""
    config = config_of(tmp_path, shots=4)
    Recorder().run(config, tmp_path / "whole")
    save_file, saved = saver_module.save_file, []

    def save(tensors, path):
        saved.append(path)
        if len(saved) > 1:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(saver_module, "save_file", save)
    folder = tmp_path / "cut"
    recorder = cut_at(after_shot(3), config, folder)
    assert len(saved) == 3
    (warning,) = recorder.warnings()
    assert warning.message == (
        "The state of the run cannot be saved: No space left on device. The run goes "
        "on, and tries again later."
    )
    files = {path.name for path in RunFolder(folder).saved_state.path.iterdir()}
    assert files == {"state.json", "shot-1.safetensors"}
    monkeypatch.undo()
    skip_verification(monkeypatch)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def fill_disk_at_second_save(monkeypatch):
    """Let the second file of the state fail for want of space, and no other."""
    save_file, saved = saver_module.save_file, []

    def save(tensors, path):
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(saver_module, "save_file", save)


def test_state_is_saved_again_once_there_is_space(tmp_path, monkeypatch):
    config = config_of(tmp_path, shots=4)
    fill_disk_at_second_save(monkeypatch)
    folder = tmp_path / "cut"
    cut_at(after_shot(3), config, folder)
    assert len(RunFolder(folder).saved_state.read().shots) == 3


def test_recovery_is_not_saved_over_a_state_without_its_shot(tmp_path, monkeypatch):
    """The disk is full after the last shot, and has space again after recovery."""
    config = config_of(tmp_path, shots=2, level=Recovery.REFIT)
    Recorder().run(config, tmp_path / "whole")
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        fill_disk_at_second_save(patch)
        cut_at(at_stage(Stage.EXPORT), config, folder)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


@pytest.fixture
def interrupted(tmp_path):
    """Make a run that was interrupted after its first shot."""
    folder = tmp_path / "cut"
    cut_at(after_shot(1), config_of(tmp_path), folder)
    return folder


def refused(folder) -> str:
    """Return the message of a run that cannot go on; it stays as it was."""
    before = {path: path.stat().st_mtime_ns for path in state_files(folder)}
    with pytest.raises(EngineError) as error:
        resumed(folder)
    assert error.value.hint
    assert {path: path.stat().st_mtime_ns for path in state_files(folder)} == before
    return error.value.message


def state_files(folder):
    return sorted(RunFolder(folder).saved_state.path.rglob("*"))


def write_state(folder, state):
    RunFolder(folder).saved_state.state_path.write_bytes(sealed_json(state, STATE))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"format": 1}', b'{"format": []}']
)
def test_damaged_state_is_refused(interrupted, content):
    RunFolder(interrupted).saved_state.state_path.write_bytes(content)
    assert "is damaged" in refused(interrupted)


@pytest.mark.parametrize("name", ["../../run.toml", "missing.safetensors", ""])
def test_state_that_names_other_files_is_refused(interrupted, name):
    state = RunFolder(interrupted).saved_state.read()
    part = msgspec.structs.replace(state.parts["shot"], file=name)
    write_state(interrupted, msgspec.structs.replace(state, parts={"shot": part}))
    assert "is damaged" in refused(interrupted)


def test_damaged_weights_are_refused(interrupted):
    (path,) = RunFolder(interrupted).saved_state.path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    assert "shot-1.safetensors has another content" in refused(interrupted)


def test_state_without_a_part_is_refused(interrupted):
    state = RunFolder(interrupted).saved_state.read()
    write_state(interrupted, msgspec.structs.replace(state, parts={}))
    assert "lacks the part shot" in refused(interrupted)
    write_state(interrupted, msgspec.structs.replace(state, is_recovered=True))
    assert "lacks the part recovered" in refused(interrupted)


def test_weights_of_another_model_are_refused(interrupted):
    (path,) = RunFolder(interrupted).saved_state.path.glob("*.safetensors")
    tensors = load_file(path)
    name = next(x for x in tensors if x.startswith("weight."))
    saver_module.save_file(tensors | {name: tensors[name][:-1]}, path)
    state = RunFolder(interrupted).saved_state.read()
    parts = {"shot": SavedPart(path.name, Content.of(path))}
    write_state(interrupted, msgspec.structs.replace(state, parts=parts))
    assert "are of another model" in refused(interrupted)


def test_another_text_is_refused(interrupted, tmp_path):
    (path,) = tmp_path.glob("fit_*.npy")
    tokens = np.load(path)
    tokens[0, 0] += 1
    np.save(path, tokens)
    assert refused(interrupted) == (
        "The text is no longer the one that this run began with."
    )


def test_another_model_is_refused(interrupted, tmp_path):
    path = tmp_path / "llama" / "model.safetensors"
    saver_module.save_file(load_file(path), path, {"format": "pt", "other": "x"})
    assert "model.safetensors has changed" in refused(interrupted)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_model_with_another_small_file_is_refused(interrupted, tmp_path, name):
    path = tmp_path / "llama" / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{name} has changed" in refused(interrupted)


def test_damaged_tokenizer_is_noticed_before_it_is_used(interrupted, tmp_path):
    path = tmp_path / "llama" / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace('"unk_token"', '"unknown!"'))
    assert path.read_text() != text
    assert "tokenizer.json has changed" in refused(interrupted)


def test_copy_of_the_model_is_the_same_model(interrupted, tmp_path):
    model = tmp_path / "llama"
    shutil.copytree(model, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(model)
    (tmp_path / "copy").rename(model)
    assert resumed(interrupted).of(RunFinished)


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", ["state.json", "shot-2.safetensors"])
def test_run_with_a_damaged_shot_goes_on_from_the_shot_before(tmp_path, damaged):
    config = config_of(tmp_path)
    Recorder().run(config, tmp_path / "whole")
    cut_at(after_shot(2), config, tmp_path / "cut")
    flip(RunFolder(tmp_path / "cut").saved_state.path / damaged)
    recorder = resumed(tmp_path / "cut")
    assert [event.shots for event in recorder.of(RunResumed)] == [1]
    assert f"{damaged}" in recorder.warnings()[0].message
    assert "goes on from the state before" in recorder.warnings()[0].message
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("part", ["blocks", "training", "recovered"])
def test_run_with_damaged_recovery_recovers_again(tmp_path, part):
    config = config_of(tmp_path, shots=1, level=Recovery.DISTILLATION)
    Recorder().run(config, tmp_path / "whole")
    is_over = part == "recovered"
    when = at_stage(Stage.EXPORT) if is_over else at_step(Stage.DISTILLATION, 3)
    cut_at(when, config, tmp_path / "cut")
    (path,) = RunFolder(tmp_path / "cut").saved_state.path.glob(f"{part}-*")
    flip(path)
    recorder = resumed(tmp_path / "cut")
    assert path.name in recorder.warnings()[0].message
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_widths_stay_those_of_the_device_that_the_run_began_on(tmp_path, monkeypatch):
    def with_gpu():
        return msgspec.structs.replace(
            room(), gpu_name="NVIDIA RTX", gpu_bytes=10**12, free_gpu_bytes=10**12
        )

    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(preflight, "room", with_gpu)
        cut_at(after_shot(2), config_of(tmp_path), folder)
    resumed(folder)
    report = RunFolder(folder).read_report()
    assert report.config.pruning.width_multiple == 8
    layers = [x for x in report.shots[-1].layers if x.kind == "mlp.down_proj"]
    assert all(layer.columns_kept % 8 == 0 for layer in layers)


def test_other_settings_are_refused(interrupted):
    path = RunFolder(interrupted).config_path
    path.write_text(path.read_text().replace("seed = 0", "seed = 1"))
    assert "The config is no longer the one" in refused(interrupted)


def test_refused_run_keeps_its_record(interrupted, tmp_path):
    before = read_state(interrupted)
    path = tmp_path / "llama" / "model.safetensors"
    saver_module.save_file(load_file(path), path, {"format": "pt", "other": "x"})
    refused(interrupted)
    assert read_state(interrupted).history == before.history


def test_changed_versions_are_reported(interrupted):
    state = RunFolder(interrupted).saved_state.read()
    versions = state.origin.versions | {"torch": "1.0"}
    origin = msgspec.structs.replace(state.origin, versions=versions)
    write_state(interrupted, msgspec.structs.replace(state, origin=origin))
    warnings = [event.message for event in resumed(interrupted).warnings()]
    assert any(x.startswith("The run began with torch 1.0; this is ") for x in warnings)


def test_run_of_a_living_process_is_refused(interrupted):
    with RunFolder(interrupted).locked():
        assert "working on the run" in refused(interrupted)
    resumed(interrupted)


def test_run_of_another_computer_is_refused_until_it_is_taken_over(interrupted):
    run = RunFolder(interrupted)
    write_lock(run.process_path)
    assert "atlas" in refused(interrupted)
    run.take_over()
    resumed(interrupted)


def test_log_with_a_cut_off_line_goes_on(interrupted):
    log = RunFolder(interrupted).events_path
    with log.open("ab") as file:
        file.write(b'{"run":"te')
    resumed(interrupted)
    assert b'{"run":"te{' not in log.read_bytes()
    state = read_state(interrupted)
    assert state.status is Status.FINISHED
    assert [shot.shot for shot in state.history] == [1, 2, 3]


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="holds no state of an interrupted run"):
        resumed(tmp_path)


def test_state_that_fails_after_its_rename_keeps_its_files(tmp_path, monkeypatch):
    """The disk may be full when the folder is flushed."""
    folder = RunFolder(tmp_path).saved_state
    saved = SavedState(Origin({}, "", "", {}), RecoveryConfig())
    saver = saver_module.Saver(folder, saved)
    assert saver.save({"blocks": {"a": torch.zeros(2)}}) == ""
    write = saver_module.write_atomically

    def write_and_fail(path, data):
        write(path, data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saver_module, "write_atomically", write_and_fail)
    assert saver.save({"blocks": {"a": torch.ones(2)}}) == "No space left on device"
    assert folder.read().parts == saver.saved.parts
    assert saver.load("blocks")["a"].tolist() == [1.0, 1.0]
