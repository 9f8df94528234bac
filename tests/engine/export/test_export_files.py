"""An export is written completely or not at all, also after crashes and errors."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Target
from surgeon_engine.api.export_marker import MARKER, differences, write_marker
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.files import write_folder_atomically
from surgeon_engine.base.formatting import format_size
from surgeon_engine.base.process_lock import process_tag
from surgeon_engine.export import export as exporting
from surgeon_engine.export.export import export_again
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.run import pipeline
from tests.helpers.runs import Recorder, job
from tests.helpers.tiny_models import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]

# Exports once for each file operation, in a process that dies right before it.
_DYING = """
import os, shutil, sys
from pathlib import Path

import torch

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.export import export_again
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config

torch.set_num_threads(1)
run, destination, replaces = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "replace"
unverified = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
for writer in WRITERS.values():
    type(writer).verify = lambda *_: unverified


def state():
    aside = list(destination.parent.glob(f"{destination.name}-replaced*/old"))
    if not destination.exists():
        return "aside" if aside else "nothing"
    names = {path.name for path in destination.iterdir()}
    return "complete" if "README.md" in names else "old" if "old" in names else "half"


def make_old():
    shutil.rmtree(destination, ignore_errors=True)
    for aside in destination.parent.glob(f"{destination.name}-replaced*"):
        shutil.rmtree(aside)
    destination.mkdir()
    (destination / "old").write_text("")
    write_marker(destination)


def export(destination=destination):
    config = ExportConfig(str(destination), Format.COMPACT)
    context = RunContext("dying", lambda envelope: None)
    export_again(run, config, context, replace=replaces)


def dies_at(number):
    left = number

    def hook(event, arguments):
        nonlocal left
        if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "open"):
            if event == "open" and destination.name not in str(arguments[0]):
                return
            left -= 1
            if left == 0:
                os._exit(9)

    return hook


export(Path(run).with_name("first"))  # the children inherit the modules it imports
number = 0
while True:
    number += 1
    if replaces and state() != "old":
        make_old()
    pid = os.fork()
    if pid == 0:
        sys.addaudithook(dies_at(number))
        export()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(code, state(), flush=True)
    if code == 0:
        break
"""


@pytest.fixture
def finished(tmp_path):
    """Return the folder of a finished run."""
    Recorder().run(job(tmp_path), tmp_path / "run")
    return tmp_path / "run"


def again(run: Path, folder: Path, *, replace: bool = False) -> None:
    config = ExportConfig(str(folder), Format.COMPACT)
    export_again(str(run), config, Recorder().context, replace=replace)


def dying(run: Path, destination: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DYING, run, destination, how],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


@pytest.mark.runtimes
@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="needs fork")
def test_killed_export_leaves_all_or_nothing(finished, tmp_path):
    lines = dying(finished, tmp_path / "copy", "")
    assert len(lines) > 10
    assert lines[-1] == "0 complete"
    assert {line.split()[1] for line in lines[:-1]} == {"nothing"}
    assert not list(tmp_path.glob(".*"))  # the next export deleted the leftovers


@pytest.mark.runtimes
@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="needs fork")
def test_killed_replacing_export_leaves_old_or_new_folder(finished, tmp_path):
    lines = dying(finished, tmp_path / "copy", "replace")
    assert lines[-1] == "0 complete"
    assert {line.split()[1] for line in lines} == {"old", "aside", "complete"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk")
def test_export_to_small_disk_raises_with_numbers(finished, small_disk):
    with pytest.raises(ExportError, match=r"needs .* but the disk of .* free"):
        again(finished, small_disk / "copy")
    assert not list(small_disk.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk")
def test_export_to_disk_that_fills_up_leaves_nothing(finished, small_disk, monkeypatch):
    """The forecast fits, but other programs fill the disk during the export."""
    roomy = shutil.disk_usage(small_disk)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: roomy)
    with pytest.raises(ExportError, match="No space left"):
        again(finished, small_disk / "copy")
    assert not list(small_disk.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """Return a disk of 8 kilobytes, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this process may not mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_next_export_deletes_files_of_killed_process(finished, tmp_path):
    place = process_tag().rpartition("-")[2]  # tag of this computer
    left = tmp_path / f".copy.4194999-1700000000-{place}-partial"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    again(finished, tmp_path / "copy")
    assert not left.exists()
    assert load_file(tmp_path / "copy" / "model.safetensors")


def test_failed_swap_restores_old_folder(tmp_path, monkeypatch):
    old = tmp_path / "there"
    old.mkdir()
    (old / "precious").write_text("")
    rename = Path.rename

    def fails(self, target):
        if self.name.endswith("-partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(OSError, match="Input/output"),
        write_folder_atomically(old, tmp_path / "aside") as folder,
    ):
        (folder / "new").write_text("")
    assert [path.name for path in old.iterdir()] == ["precious"]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("form", [Format.COMPACT, Format.MASKED])
def test_run_with_failed_export_keeps_its_model(tmp_path, monkeypatch, form):
    config = job(tmp_path, export=ExportConfig(format=form))
    kind = type(WRITERS[form])
    with monkeypatch.context() as patch:

        def killed(*_):
            raise ExportError("It does not load: exit code -9.", "Close others.")

        patch.setattr(kind, "verify", killed)
        recorder = Recorder()
        with pytest.raises(ExportError, match="exit code -9") as error:
            recorder.run(config, tmp_path / "run")
    assert "can be exported again" in error.value.hint
    assert (tmp_path / "run" / "export-unverified" / "config.json").is_file()
    assert not (tmp_path / "run" / "export").exists()
    report = RunFolder(tmp_path / "run").read_report()
    assert report.exported is None
    again(tmp_path / "run", tmp_path / "copy")
    direct = Recorder().run(config, tmp_path / "direct").of(Exported)[0]
    shots = RunFolder(tmp_path / "direct").read_report().shots
    assert shots[-1].layers == report.shots[-1].layers
    if form is Format.COMPACT:
        ours, theirs = (
            load_file(tmp_path / name / "model.safetensors")
            for name in ("copy", f"direct/{Path(direct.folder).name}")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_report_describes_the_original_model(finished):
    report = RunFolder(finished).read_report()
    whole = sum(p.numel() for p in tiny_model("llama").parameters())
    assert report.model.parameters == whole
    assert report.shots[-1].parameters < whole
    config = dataclasses.replace(
        report.config.pruning, target=Target.PARAMETERS, million_parameters=0.0063
    )
    report = msgspec.structs.replace(
        report, config=dataclasses.replace(report.config, pruning=config)
    )
    RunFolder(finished).write_report(report)
    again(finished, finished.parent / "copy")
    card = (finished.parent / "copy" / "README.md").read_text()
    assert f"{report.model.prunable:,} prunable weights of llama" in card


def test_protected_folders_are_not_replaced(finished, tmp_path, monkeypatch):
    inside = tmp_path / "here"
    inside.mkdir()
    (inside / "precious").write_text("")
    monkeypatch.chdir(inside)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    (tmp_path / "link").symlink_to(finished)
    checkpoint = finished / "export"
    hints = {}
    for folder in (
        inside,
        tmp_path,
        tmp_path / "home",
        tmp_path / "llama",  # the original model
        tmp_path / "here" / ".." / "run",
        tmp_path / "link",
        checkpoint,
    ):
        refused = r"replaced|keeps its files|is a link"
        with pytest.raises(ExportError, match=refused) as raised:
            again(finished, folder, replace=True)
        hints[folder] = raised.value.hint
    assert hints[checkpoint] == hints[tmp_path / "llama"] != hints[inside]
    with pytest.raises(ExportError, match="No destination"):
        export_again(str(finished), ExportConfig(), Recorder().context, replace=True)
    assert (inside / "precious").is_file()
    assert (tmp_path / "llama" / "model.safetensors").is_file()
    assert (checkpoint / "model.safetensors").is_file()


def test_size_is_logged_before_the_export(finished, tmp_path):
    recorder = Recorder()
    config = ExportConfig(str(tmp_path / "copy"), Format.COMPACT)
    event = export_again(str(finished), config, recorder.context)
    messages = [event.message for event in recorder.of(Logged)]
    assert messages == [f"transformers, compact: the file will take {size_of(event)}."]


def size_of(event: Exported) -> str:
    return format_size(event.weight_bytes)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("save_probe", OSError(28, "No space left")),
        ("export", OSError(28, "No space left")),
        ("export", MemoryError()),
        ("export", LookupError("no such thing")),  # an error of the program
    ],
)
def test_failed_export_keeps_pruned_model(tmp_path, monkeypatch, name, error):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(pipeline, name, fails)
    config = job(tmp_path, export=ExportConfig())
    with pytest.raises((ExportError, LookupError)) as caught:
        Recorder().run(config, tmp_path / "run")
    if not isinstance(error, LookupError):
        assert "The export failed" in caught.value.message
        assert "The pruned model is not lost" in caught.value.hint
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint_of(run.read_report())
    assert AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)


def test_replaced_folder_is_kept_until_the_new_one_is_complete(
    finished, tmp_path, monkeypatch
):
    old = tmp_path / "copy" / "old.txt"
    old.parent.mkdir()
    old.write_text("precious")
    write_marker(old.parent)
    trashed = []

    def trash(path):
        trashed.append([each.name for each in path.iterdir()])
        path.rename(tmp_path / "trash")

    monkeypatch.setattr("surgeon_engine.base.files.send2trash", trash)
    with pytest.raises(ExportError, match="not empty"):
        again(finished, old.parent)
    with monkeypatch.context() as patch:

        def full(*_):
            assert old.is_file()
            raise OSError(28, "No space left on device")

        patch.setattr(exporting, "model_card", full)
        with pytest.raises(ExportError, match="No space left"):
            again(finished, old.parent, replace=True)
    assert old.read_text() == "precious"
    again(finished, old.parent, replace=True)
    assert sorted(*trashed) == ["old.txt", MARKER]
    assert (tmp_path / "copy" / "model.safetensors").is_file()
    assert not differences(tmp_path / "copy").all
    assert not list(tmp_path.glob(".*"))
