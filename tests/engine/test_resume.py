"""A run that is interrupted and resumed gives the same result as in one go."""

import errno
import functools
import shutil
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Fisher, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.commands import Cancel, StopAndKeep
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    HeldOutMeasured,
    Progressed,
    Recovered,
    RunFinished,
    RunResumed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, ExportError, RunCancelled
from surgeon_engine.recovery import block_pass
from surgeon_engine.run import pipeline, preflight
from surgeon_engine.run.pipeline import resume
from surgeon_engine.runtime import saver as saver_module
from surgeon_engine.runtime.speed_probe import room
from surgeon_engine.shots import damping, loop
from tests.helpers.costly_runs import costly_elements, mark, markable, with_recovery
from tests.helpers.exports import write_export
from tests.helpers.interrupted_runs import (
    PowerCut,
    after_shot,
    assert_same_result,
    at_stage,
    at_step,
    config_of,
    cut_at,
    results,
    resumed,
)
from tests.helpers.quantized import FORMATS, quantize
from tests.helpers.runs import Recorder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick_runs", "save_everywhere"),
]


def test_run_goes_on_after_a_shot(tmp_path):
    config = config_of(tmp_path, Structure.ELEMENTS)
    Recorder().run(config, tmp_path / "whole")
    assert not (tmp_path / "whole" / "process.json").exists()
    for number in (1, 2):
        folder = tmp_path / f"cut-{number}"
        cut_at(after_shot(number), config, folder)
        place = place_of(folder)
        assert (place.stage, place.done) == (None, number) and place.seconds > 0
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that returns a job and its run in one go, each done once."""

    @functools.cache
    def job_and_run(**settings):
        folder = tmp_path_factory.mktemp("whole")
        config = config_of(folder, **settings)
        Recorder().run(config, folder / "run")
        return config, folder / "run"

    return job_and_run


def place_of(folder):
    """Return where a run goes on."""
    return RunFolder(folder).saved_state.read().place


CASES = [
    (
        Structure.HEADS_AND_NEURONS,
        Recovery.BOTH,
        [at_step(Stage.RECONSTRUCTION, 1), at_step(Stage.DISTILLATION, 7)],
    ),
    (Structure.ELEMENTS, Recovery.REFIT, [at_step(Stage.REFIT, 1)]),
]


@pytest.mark.parametrize(("structure", "level", "cuts"), CASES)
def test_recovery_goes_on(structure, level, cuts, tmp_path):
    labels = {"fisher": Fisher.SAMPLED}  # which are drawn
    config = config_of(tmp_path, structure, shots=1, level=level, **labels)
    Recorder().run(config, tmp_path / "whole")
    for number, when in enumerate(cuts):
        recorder = cut_at(when, None if number else config, tmp_path / "cut")
        place, *_, last = place_of(tmp_path / "cut"), *recorder.of(Progressed)
        blocks = (Stage.REFIT, Stage.RECONSTRUCTION)  # which are done together
        assert last.stage in (blocks if place.stage in blocks else (place.stage,))
        assert place.total == last.total
        assert 0 < place.done <= last.done <= place.done + 1
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_block_whose_training_was_stopped_is_trained_again(tmp_path, monkeypatch):
    config = config_of(tmp_path, shots=1, level=Recovery.RECONSTRUCTION)
    Recorder().run(config, tmp_path / "whole")
    stopped, blocks, reconstruct = Recorder(), [], block_pass.reconstruct

    def stop_in_the_last_block(pair, weights, seed):
        blocks.append(seed)
        if len(blocks) == 2:
            stopped.context.handle(StopAndKeep(run="test"))
        return reconstruct(pair, weights, seed)

    with monkeypatch.context() as patched:
        patched.setattr(block_pass, "reconstruct", stop_in_the_last_block)
        stopped.run(config, tmp_path / "cut")
    assert len(blocks) == 2
    assert stopped.of(Recovered)[0].stopped_early
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_seconds_of_a_pass_that_has_ended_are_saved(tmp_path):
    config = config_of(tmp_path, shots=1, level=Recovery.BOTH)
    cut_at(at_stage(Stage.DISTILLATION), config, tmp_path / "cut")
    place = place_of(tmp_path / "cut")
    assert place.stage is Stage.REFIT and place.done == place.total > 1
    saved = RunFolder(tmp_path / "cut").saved_state.read()
    assert saved.training is None and saved.blocks.seconds > 0
    stage = saved.seconds_of_stages[Stage.RECONSTRUCTION.value]
    assert stage == pytest.approx(saved.blocks.seconds, rel=0.5)


def test_quality_limit_goes_on(tmp_path, monkeypatch):
    config = with_recovery(markable(tmp_path, monkeypatch, gain=0.1))
    monkeypatch.setattr(loop, "recover", mark)
    Recorder().run(config, tmp_path / "whole")
    report = RunFolder(tmp_path / "whole").read_report()
    assert len(report.shots) > 1
    assert report.recovered is not None
    folder = tmp_path / "cut"
    cut_at(after_shot(1), config, folder)
    for _ in report.shots[1:]:
        cut_at(after_shot(1), None, folder)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_damping_search_goes_on_after_its_last_trial(tmp_path, monkeypatch):
    evaluate, trials, searches = damping.evaluate_held_out, [], []

    def counted(*arguments):
        if len(searches) == 2 and len(trials) == 2:
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
    assert saved.search.shot == 2

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

    def counted(state, plan, context, **how):
        tried.append(plan.share)
        return run_shot(state, plan, context, **how)

    monkeypatch.setattr(loop, "run_shot", counted)
    Recorder().run(config, tmp_path / "whole")
    whole = list(tried)
    accepted = RunFolder(tmp_path / "whole").read_report().shots
    assert len(whole) > len(accepted) + 1
    tried.clear()

    def cut_at_last(state, plan, context, **how):
        if len(tried) == len(whole) - 1:
            raise PowerCut
        return counted(state, plan, context, **how)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(loop, "run_shot", cut_at_last)
        Recorder().run(config, tmp_path / "cut")
    resumed(tmp_path / "cut")
    assert tried == whole
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


def test_two_interruptions_are_no_worse_than_one(tmp_path, whole):
    config, expected = whole(level=Recovery.REFIT)
    folder = tmp_path / "cut"
    cut_at(after_shot(1), config, folder)
    for when in (after_shot(1), at_step(Stage.REFIT, 2), at_stage(Stage.VERIFICATION)):
        cut_at(when, None, folder)
    resumed(folder)
    assert_same_result(folder, expected)


def test_resumed_run_replaces_its_own_export_and_nothing_else(tmp_path, monkeypatch):
    out, folder = tmp_path / "out", tmp_path / "cut"
    config = config_of(tmp_path, shots=1, export=ExportConfig(str(out), Format.MASKED))
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
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "export", Mock(side_effect=OSError(28, "No space")))
        with pytest.raises(ExportError, match="No space"):
            resume(folder, Recorder().context)
    assert (folder / "checkpoint").is_dir()
    resumed(folder)
    assert RunFolder(folder).read_report().exported is not None
    assert not (folder / "checkpoint").exists()


def test_resumed_run_replaces_another_export_if_it_may(tmp_path):
    out, folder = tmp_path / "out", tmp_path / "cut"
    config = config_of(tmp_path, shots=1, export=ExportConfig(str(out), Format.MASKED))
    cut_at(after_shot(1), config, folder)
    write_export(out)
    resume(folder, Recorder().context, replace=True)
    assert (out / "run.toml").is_file()


def test_export_of_another_program_goes_on(tmp_path, monkeypatch):
    """Its run writes a checkpoint for transformers first."""
    monkeypatch.setattr(pipeline, "FOR_TRANSFORMERS", ())
    export = ExportConfig(str(tmp_path / "out"), Format.MASKED)
    config = config_of(tmp_path, shots=2, export=export)
    for count in (1, 2):  # exports begun before the cut
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
    ("when", "shots"),
    [
        (lambda event: isinstance(event, BaselineEvaluated), 1),
        (at_step(Stage.RECONSTRUCTION, 1), 3),
    ],
)
def test_stopped_run_can_go_on(tmp_path, whole, when, shots):
    config, expected = whole(level=Recovery.BOTH)
    folder, recorder = tmp_path / "cut", Recorder()
    recorder.send_at(when, StopAndKeep)
    recorder.run(config, folder)
    assert len(recorder.of(ShotFinished)) == shots
    assert recorder.events[-1].stopped_early
    assert RunFolder(folder).read_report().stopped_early
    assert results(folder) != results(expected)
    judgment = RunFolder(folder).judgment_path
    judgment.write_text("{}")  # judges the file of the stopped run
    resumed(folder)
    assert not judgment.exists()
    assert_same_result(folder, expected)


def test_cancelled_run_can_go_on(tmp_path, whole):
    config, expected = whole(shots=4)
    folder, recorder = tmp_path / "cut", Recorder()
    recorder.send_at(lambda x: isinstance(x, ShotFinished) and x.shot == 2, Cancel)
    with pytest.raises(RunCancelled):
        recorder.run(config, folder)
    resumed(folder)
    assert_same_result(folder, expected)


def test_run_that_a_failed_shot_has_ended_goes_on(tmp_path, whole, monkeypatch):
    """Its shots may succeed later; recovery begins anew."""
    config, expected = whole(level=Recovery.REFIT)
    run_shot = loop.run_shot

    def fail_in_the_third(state, plan, context, **how):
        if plan.number == 3:
            raise EngineError("Made up.", "None.")
        return run_shot(state, plan, context, **how)

    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_shot", fail_in_the_third)
        cut_at(at_step(Stage.REFIT, 2), config, folder)
    assert RunFolder(folder).saved_state.read().blocks is not None
    resumed(folder)
    assert_same_result(folder, expected)


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


def fill_disk(monkeypatch, *saves: int) -> list[Path]:
    """Let these files of the state fail for want of space; return the files."""
    save_file, saved = saver_module.save_file, []

    def save(tensors, path):
        saved.append(path)
        if len(saved) in saves:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(saver_module, "save_file", save)
    return saved


def test_last_state_survives_a_full_disk(tmp_path, whole, monkeypatch):
    """The run warns after each shot and goes on; the saved state stays as it is."""
    config, expected = whole(shots=4)
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        saved = fill_disk(patch, 2, 3)
        recorder = cut_at(after_shot(3), config, folder)
    assert len(saved) == 3
    warning, again = recorder.warnings()
    assert warning == again
    assert warning.message == (
        "The state of the run cannot be saved: No space left on device. The run goes "
        "on, and tries again later."
    )
    files = {path.name for path in RunFolder(folder).saved_state.path.iterdir()}
    assert files == {"state.json", "shot-1.safetensors"}
    resumed(folder)
    assert_same_result(folder, expected)


def test_state_is_saved_again_once_there_is_space(tmp_path, monkeypatch):
    config = config_of(tmp_path, shots=4)
    fill_disk(monkeypatch, 2)
    folder = tmp_path / "cut"
    cut_at(after_shot(3), config, folder)
    assert len(RunFolder(folder).saved_state.read().shots) == 3


def test_recovery_is_not_saved_over_a_state_without_its_shot(
    tmp_path, whole, monkeypatch
):
    """The disk is full after the last shot, and has space again after recovery."""
    config, expected = whole(level=Recovery.REFIT)
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        fill_disk(patch, 3)
        cut_at(at_stage(Stage.EXPORT), config, folder)
    resumed(folder)
    assert_same_result(folder, expected)


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


def test_resumed_training_that_is_stopped_at_once_is_measured(tmp_path):
    recovery = RecoveryConfig(Recovery.DISTILLATION, general_windows=8, epochs=6.0)
    config = config_of(tmp_path, shots=1, recovery=recovery)
    cut_at(at_step(Stage.DISTILLATION, 6), config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "damaged")
    saved = RunFolder(tmp_path / "run").saved_state.read().training
    recorder = Recorder()

    def stop(event):
        if isinstance(event, HeldOutMeasured):
            recorder.context.handle(StopAndKeep(run="test"))

    recorder.react = stop
    resume(tmp_path / "run", recorder.context)
    before, after = recorder.of(HeldOutMeasured)
    assert before.done == after.done > 0
    seconds = {x.stage: x.seconds for x in recorder.of(StageStarted) if x.seconds}
    assert seconds == {Stage.DISTILLATION: saved.seconds}
    report = RunFolder(tmp_path / "run").read_report()
    assert report.seconds_of_stages[Stage.DISTILLATION.value] > saved.seconds
    assert report.recovered.nats_after == min(before.nats, after.nats)
    (weights,) = (tmp_path / "damaged").glob("resume/training*")
    weights.write_bytes(b"")
    recorder = Recorder()
    recorder.react = stop
    resume(tmp_path / "damaged", recorder.context)
    assert not any(x.seconds for x in recorder.of(StageStarted))  # it begins again
