"""A run goes on only from a whole state of its own model, text and settings."""

import shutil

import msgspec
import numpy as np
import pytest
from safetensors.torch import load_file

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.messages.run import RunFinished, RunResumed, Stage
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.saved_state import SavedPart
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.reading import Content
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import STATE
from surgeon_engine.runtime import saver as saver_module
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import read_state
from tests.helpers.exports import flip
from tests.helpers.interrupted_runs import (
    after_shot,
    assert_same_result,
    at_stage,
    at_step,
    config_of,
    cut_at,
    let_save_everywhere,
    resumed,
)
from tests.helpers.locks import write_lock
from tests.helpers.runs import Recorder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick_runs", "save_everywhere"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a folder with a run that was interrupted after its first shot."""
    root = tmp_path_factory.mktemp("interrupted")
    (root / "job").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        let_save_everywhere(patch)
        cut_at(after_shot(1), config_of(root / "job"), root / "job" / "cut")
    return root


@pytest.fixture
def interrupted(prepared):
    """Return the folder of that run, as it was, beside its model and its texts."""
    job, before = prepared / "job", prepared / "before"
    if before.exists():
        shutil.rmtree(job)
        shutil.copytree(before, job)
    else:
        shutil.copytree(job, before)
    return job / "cut"


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


def test_damaged_weights_are_refused(interrupted):
    (path,) = RunFolder(interrupted).saved_state.path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    assert "shot-1.safetensors has another content" in refused(interrupted)


def test_weights_of_another_model_are_refused(interrupted):
    (path,) = RunFolder(interrupted).saved_state.path.glob("*.safetensors")
    tensors = load_file(path)
    name = next(x for x in tensors if x.startswith("weight."))
    saver_module.save_file(tensors | {name: tensors[name][:-1]}, path)
    state = RunFolder(interrupted).saved_state.read()
    parts = {"shot": SavedPart(path.name, Content.of(path))}
    write_state(interrupted, msgspec.structs.replace(state, parts=parts))
    assert "are of another model" in refused(interrupted)


def test_another_text_is_refused(interrupted):
    (path,) = interrupted.parent.glob("fit_*.npy")
    tokens = np.load(path)
    tokens[0, 0] += 1
    np.save(path, tokens)
    assert refused(interrupted) == (
        "The text is no longer the one that this run began with."
    )


def test_another_model_is_refused_and_the_run_keeps_its_record(interrupted):
    before = read_state(interrupted)
    path = interrupted.parent / "llama" / "model.safetensors"
    saver_module.save_file(load_file(path), path, {"format": "pt", "other": "x"})
    assert "model.safetensors has changed" in refused(interrupted)
    assert read_state(interrupted).history == before.history


@pytest.mark.parametrize(
    ("path", "old", "new", "sentence"),
    [
        ("llama/config.json", "{", "{ ", "config.json has changed"),
        ("llama/tokenizer.json", "unk_token", "unk_taken", "tokenizer.json has ch"),
        ("cut/run.toml", "seed = 0", "seed = 1", "The config is no longer the one"),
    ],
)
def test_other_file_is_refused_before_it_is_used(interrupted, path, old, new, sentence):
    path = interrupted.parent / path
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert sentence in refused(interrupted)


def test_copy_of_the_model_is_the_same_model(interrupted):
    model = interrupted.parent / "llama"
    copy = model.with_name("copy")
    shutil.copytree(model, copy, copy_function=shutil.copyfile)
    shutil.rmtree(model)
    copy.rename(model)
    assert resumed(interrupted).of(RunFinished)


def test_run_with_a_damaged_shot_goes_on_from_the_shot_before(tmp_path):
    config = config_of(tmp_path)
    Recorder().run(config, tmp_path / "whole")
    cut_at(after_shot(2), config, tmp_path / "cut")
    for name in ("state.json", "shot-2.safetensors"):
        damaged = tmp_path / name
        shutil.copytree(tmp_path / "cut", damaged)
        flip(RunFolder(damaged).saved_state.path / name)
        recorder = resumed(damaged)
        assert [event.shots for event in recorder.of(RunResumed)] == [1]
        assert name in recorder.warnings()[0].message
        assert "goes on from the state before" in recorder.warnings()[0].message
        assert_same_result(damaged, tmp_path / "whole")


def test_run_with_damaged_recovery_recovers_again(tmp_path):
    config = config_of(tmp_path, shots=1, level=Recovery.DISTILLATION)
    whole, cut, over = (tmp_path / name for name in ("whole", "cut", "over"))
    Recorder().run(config, whole)
    cut_at(at_step(Stage.DISTILLATION, 3), config, cut)
    shutil.copytree(cut, over)
    cut_at(at_stage(Stage.EXPORT), None, over)
    for part, folder in (("blocks", cut), ("training", cut), ("recovered", over)):
        damaged = tmp_path / part
        shutil.copytree(folder, damaged)
        (path,) = RunFolder(damaged).saved_state.path.glob(f"{part}-*")
        flip(path)
        assert path.name in resumed(damaged).warnings()[0].message
        assert_same_result(damaged, whole)


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


def test_run_that_has_just_begun_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    with run.locked():  # nothing is saved yet
        assert "working on the run" in refused(tmp_path)


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
    folder = tmp_path / "cut"
    config = config_of(tmp_path, export=ExportConfig(save_progress=False))
    cut_at(after_shot(2), config, folder)
    assert not RunFolder(folder).saved_state.path.exists()
    assert "holds no state of an interrupted run" in refused(folder)
