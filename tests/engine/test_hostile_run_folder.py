"""A run folder of a stranger ends in a sentence, whatever its files are."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base import process_lock
from surgeon_engine.base.errors import EngineError, ModelError
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.verify import expected_figures
from surgeon_engine.runtime.folders import list_runs
from surgeon_engine.runtime.saver import Saver
from surgeon_gui.state.debug_bundle import write_bundle
from surgeon_gui.state.runs.reading import (
    UnreadableRunError,
    read_record,
    read_runs,
    read_state,
)
from tests.helpers.fake_runs import write_run, write_saved_state
from tests.helpers.runs import Recorder

pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names"),
]
CONTENT = {"bytes": 1, "sha256": ""}
# Files of a line are read by different functions, whatever the other files are.
NAMES = (
    ("run.toml",),
    ("events.jsonl",),
    ("process.json",),
    ("report.json",),
    ("name.txt", "notes.txt", "tags.txt", "resume/state.json", "probe.safetensors"),
)


def filled(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "deep": filled(b'{"a":' * 30_000 + b"1" + b"}" * 30_000 + b"\n"),
    "dotted": filled(b"a." * 200_000 + b"a = 1"),
    "sparse": sparse,
    "garbage": filled(bytes(range(256)) * 40),
    "empty": Path.touch,
}


def read_everything(path: Path, bundle: Path) -> None:
    """Read a stranger's run as the window and the engine do."""
    run = RunFolder(path)
    remove_litter(path.parent)
    read_runs(path.parent, {})
    read_record(path)
    list_runs(str(path.parent))
    assert not run.is_being_worked_on
    write_bundle({}, str(path), bundle)
    works: tuple[Callable[[], object], ...] = (
        lambda: read_state(path),
        run.read_config,
        run.read_report,
        run.saved_state.read,
        run.remove_cut_off_line,
        lambda: expected_figures(run.probe_path),
        lambda: run.append(Envelope("x", 0.0, Logged("info", "x"))),  # type: ignore[arg-type]
        lambda: run.locked().__enter__(),
    )
    for work in works:
        with suppress(EngineError, UnreadableRunError, OSError):
            work()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_any_file_of_a_run_folder_may_be_anything(tmp_path, monkeypatch, names, kind):
    monkeypatch.setattr(process_lock, "_WAIT_S", 0.1)
    path = write_run(tmp_path / "runs", ending="killed")
    write_saved_state(path)
    for name in names:
        (path / name).unlink(missing_ok=True)
        kind(path / name)
    read_everything(path, tmp_path / "bundle.zip")


@pytest.mark.parametrize("name", ["events.jsonl", "process.json"])
def test_link_in_a_run_folder_changes_no_file_of_the_user(tmp_path, name):
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("mine")
    path = write_run(tmp_path / "runs", ending="killed")
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(thesis)
    read_everything(path, tmp_path / "bundle.zip")
    assert thesis.read_text() == "mine"


def test_linked_state_is_none_and_its_files_stay(tmp_path):
    path = write_run(tmp_path / "runs", ending="killed")
    other = write_saved_state(write_run(tmp_path / "others"))
    (other / "thesis.tex").touch()
    (path / "resume").symlink_to(other)
    read_everything(path, tmp_path / "bundle.zip")
    assert not RunFolder(path).saved_state.exists
    assert (other / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("shots",), []),
        (("seconds",), -1e308),
        (("seconds",), 1e308),
        (("seconds_of_stages",), {"load": -1.0}),
        (("peak_memory_bytes",), 10**30),
        (("shots", 0, "seconds"), 1e308),
        (("shots", 0, "parameters"), -1),
        (("shots", 0, "layers", 0, "weights"), 0),
        (("shots", 0, "sparsity"), 1e308),
    ],
)
def test_report_out_of_range_is_refused(tmp_path, place, value):
    path = write_run(tmp_path)
    _change(RunFolder(path).report_path, place, value)
    with pytest.raises(EngineError, match=str(place[-1])):
        RunFolder(path).read_report()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("parts", {}, "lacks the part shot"),
        ("parts", {"shot": {"file": "../a", "content": CONTENT}}, "names ../a"),
        ("parts", {"shot": {"file": "", "content": CONTENT}}, "not a regular file"),
        ("parts", {"shot": {"file": "no.safetensors", "content": CONTENT}}, "no.safe"),
        ("is_recovered", True, "lacks the part recovered"),
        ("seconds", -1e308, "seconds"),
    ],
)
def test_state_that_promises_what_it_lacks_is_refused(tmp_path, name, value, reason):
    path = write_run(tmp_path, ending="killed")
    write_saved_state(path)
    state = RunFolder(path).saved_state
    _change(state.state_path, (name,), value)
    with pytest.raises(EngineError, match=f"is damaged.*{reason}"):
        state.read_undamaged()


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("blocks", {"done": 1, "fits": {}, "reconstructions": []}, "blocks"),
        ("training", {"steps": 1, "best": 0.1, "seconds": 1.0}, "training"),
        ("search", {"shot": 2, "budget": 10}, "trials"),
    ],
)
def test_progress_that_a_state_lacks_begins_again(tmp_path, name, value, part):
    path = write_run(tmp_path, ending="killed")
    write_saved_state(path)
    state = RunFolder(path).saved_state
    _change(state.state_path, (name,), value)
    recorder = Recorder()
    recorder.context.saver = Saver(state, state.read())
    assert recorder.context.load_progress(part) is None
    (warning,) = recorder.warnings()
    assert f"lacks the part {part}" in warning.message


def _change(path: Path, place: tuple[str | int, ...], value: object) -> None:
    """Change a value in a sealed file, and seal it again."""
    whole = msgspec.json.decode(path.read_bytes())
    del whole["sha256"]
    part = whole
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    path.write_bytes(sealed_json(whole, whole.pop("version")))


def test_pipe_in_place_of_weights_is_refused(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="not a regular file"):
        restore(tmp_path, "x")
