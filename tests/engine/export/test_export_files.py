"""Whatever happens while an export is written: it is there complete, or not at all."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Parameters, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError, ExportError
from surgeon_engine.api.files import folder_appearing_at
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.export.export import WRITERS, export_again
from tests.helpers.configs import pruning_config
from tests.helpers.runs import Recorder, job
from tests.helpers.tiny_models import tiny_model

pytestmark = pytest.mark.usefixtures("quick_runs")

# Exports once for each file operation, in a process that dies right before it.
_DYING = """
import os, sys
from pathlib import Path

import torch

from surgeon_engine.api.config.run import ExportConfig
from surgeon_engine.export.export import WRITERS, export_again
from surgeon_engine.export.base import Verdict
from surgeon_engine.api.config.formats import Format
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config

torch.set_num_threads(1)
run, destination, replaces = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "replace"
for writer in WRITERS.values():
    type(writer).verify = lambda *_: Verdict(0, 0.0, 0.0, 1.0, None, "nothing")


def state():
    aside = destination.with_name(f".{destination.name}.old")
    if not destination.exists():
        return "aside" if (aside / "old").exists() else "nothing"
    names = {path.name for path in destination.iterdir()}
    return "complete" if "README.md" in names else "old" if "old" in names else "half"


def export():
    wanted = ExportConfig(str(destination), Format.COMPACT, replace=replaces)
    export_again(run, wanted, RunContext("dying", lambda envelope: None))


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


if replaces:
    destination.mkdir()
    (destination / "old").write_text("")
number = 0
while True:
    number += 1
    if replaces and state() == "complete":
        for path in destination.iterdir():
            path.unlink()
        (destination / "old").write_text("")
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
    """The folder of a run."""
    Recorder().run(job(tmp_path), tmp_path / "run")
    return tmp_path / "run"


def again(run: Path, folder: Path, **settings) -> None:
    config = ExportConfig(str(folder), Format.COMPACT, **settings)
    export_again(str(run), config, Recorder().context)


def dying(run: Path, destination: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DYING, run, destination, how],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="needs fork")
def test_killed_before_any_file_operation_it_leaves_all_or_nothing(finished, tmp_path):
    said = dying(finished, tmp_path / "copy", "")
    assert len(said) > 10
    assert said[-1] == "0 complete"
    assert {line.split()[1] for line in said[:-1]} == {"nothing"}
    assert not list(tmp_path.glob(".*"))  # what was left went with the next export


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="needs fork")
def test_killed_while_it_replaces_it_leaves_the_old_or_the_new(finished, tmp_path):
    said = dying(finished, tmp_path / "copy", "replace")
    assert said[-1] == "0 complete"
    assert {line.split()[1] for line in said} == {"old", "aside", "complete"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk")
def test_a_disk_that_is_too_small_is_refused_with_the_numbers(finished, small_disk):
    with pytest.raises(ExportError, match=r"needs .* but the disk of .* free"):
        again(finished, small_disk / "copy")
    assert not list(small_disk.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk")
def test_a_disk_that_is_full_in_the_end_is_left_as_it_was(
    finished, small_disk, monkeypatch
):
    """The forecast fits, but others write meanwhile."""
    roomy = shutil.disk_usage(small_disk)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: roomy)
    with pytest.raises(ExportError, match="No space left"):
        again(finished, small_disk / "copy")
    assert not list(small_disk.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 kilobytes, where this process may make one."""
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


def test_what_a_killed_process_left_goes_with_the_next_export(finished, tmp_path):
    left = tmp_path / ".copy.partial"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    again(finished, tmp_path / "copy")
    assert not left.exists()
    assert load_file(tmp_path / "copy" / "model.safetensors")


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    old = tmp_path / "there"
    old.mkdir()
    (old / "precious").write_text("")
    rename = Path.rename

    def fails(self, target):
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(OSError, match="Input/output"),
        folder_appearing_at(old, replace=True) as folder,
    ):
        (folder / "new").write_text("")
    assert [path.name for path in old.iterdir()] == ["precious"]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("form", [Format.COMPACT, Format.MASKED])
def test_a_run_whose_export_fails_is_not_lost(tmp_path, monkeypatch, form):
    config = dataclasses.replace(job(tmp_path), export=ExportConfig(format=form))
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


def test_the_report_tells_of_the_model_as_it_was_found(finished):
    report = RunFolder(finished).read_report()
    whole = sum(p.numel() for p in tiny_model("llama").parameters())
    assert report.model.parameters == whole
    assert report.shots[-1].parameters < whole
    wanted = dataclasses.replace(report.config.pruning, target=Parameters(0.0063))
    report = msgspec.structs.replace(
        report, config=dataclasses.replace(report.config, pruning=wanted)
    )
    RunFolder(finished).write_report(report)
    again(finished, finished.parent / "copy")
    card = (finished.parent / "copy" / "README.md").read_text()
    assert f"{report.model.prunable:,} prunable weights of llama" in card


def test_what_is_precious_is_not_replaced(finished, tmp_path, monkeypatch):
    inside = tmp_path / "here"
    inside.mkdir()
    (inside / "precious").write_text("")
    monkeypatch.chdir(inside)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    (tmp_path / "link").symlink_to(finished)
    checkpoint = finished / "export"
    for folder in (
        inside,
        tmp_path,
        tmp_path / "home",
        tmp_path / "llama",  # the original model
        tmp_path / "here" / ".." / "run",
        tmp_path / "link",
        checkpoint,
    ):
        with pytest.raises(ExportError, match=r"replaced|keeps its files|no folder"):
            again(finished, folder, replace=True)
    with pytest.raises(ExportError, match="No destination"):
        export_again(str(finished), ExportConfig(replace=True), Recorder().context)
    assert (inside / "precious").is_file()
    assert (tmp_path / "llama" / "model.safetensors").is_file()
    assert (checkpoint / "model.safetensors").is_file()


def test_what_was_set_aside_by_a_killed_process_is_put_back_first(finished, tmp_path):
    aside = tmp_path / ".copy.old"
    aside.mkdir()
    (aside / "precious").write_text("")
    with pytest.raises(ExportError, match="not empty"):
        again(finished, tmp_path / "copy")
    assert (tmp_path / "copy" / "precious").is_file()


def test_masked_files_reach_no_size(tmp_path):
    config = RunConfig(
        pruning=pruning_config(target=Target.FILE_SIZE),
        export=ExportConfig(format=Format.MASKED),
    )
    with pytest.raises(ConfigError, match="as large as the original"):
        Recorder().run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_size_is_told_before_the_work(finished, tmp_path):
    recorder = Recorder()
    config = ExportConfig(str(tmp_path / "copy"), Format.COMPACT)
    told = export_again(str(finished), config, recorder.context)
    words = [event.message for event in recorder.of(Logged)]
    assert words == [f"transformers, compact: the file will take {size_of(told)}."]


def size_of(told: Exported) -> str:
    return f"{told.forecast_bytes / 1e6:.1f} MB"
