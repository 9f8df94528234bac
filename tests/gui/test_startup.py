"""The command `surgeon-gui` and the persistent settings."""

import os
import signal
import subprocess
import sys

import pytest
from PySide6.QtCore import QObject

from surgeon_engine.api.config.pruning import Target
from surgeon_gui.base import settings as settings_store
from surgeon_gui.base.settings import Settings, ThemeChoice

pytestmark = pytest.mark.waits

HEAVY = {"torch", "transformers", "datasets", "safetensors"}


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_window_does_not_import_torch():
    done = run_python(
        "import sys, pkgutil, importlib, surgeon_gui\n"
        "for m in pkgutil.walk_packages(surgeon_gui.__path__, 'surgeon_gui.'):\n"
        "    importlib.import_module(m.name)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_do_not_import_qt(option):
    done = run_python(
        "import sys, atexit\n"
        "atexit.register(lambda: print('PySide6' in sys.modules))\n"
        "from surgeon_gui.__main__ import main\n"
        f"main([{option!r}])"
    )
    assert done.returncode == 0
    assert done.stdout.endswith("False\n")


def test_command_works_without_standard_streams():
    done = run_python(
        "import sys\n"
        "sys.stdout = sys.stderr = None\n"
        "from surgeon_gui.__main__ import main\n"
        "try:\n"
        "    main(['--no-such-option'])\n"
        "except SystemExit as error:\n"
        "    raise SystemExit(0 if error.code == 2 else 1)"
    )
    assert done.returncode == 0


def test_settings_are_saved_and_loaded(qtbot):
    settings = Settings("runs", ThemeChoice.DARK, "de", last_folder="here")
    settings.remember_model("one")
    settings.folders_there = ["me@box\t/models"]
    settings.pace, settings.size_unit = 1.7, Target.MEMORY
    settings_store.save(settings)
    assert settings_store.load() == settings
    one, another = settings_store.load(), settings_store.load()  # two windows
    one.computers, another.pace = ["me@box\tsurgeon"], 0.5
    one.remember_model("two")
    another.remember_model("three")
    settings_store.save(one)
    settings_store.save(another)
    loaded = settings_store.load()
    assert (loaded.computers, loaded.pace) == (one.computers, 0.5)
    assert loaded.recent_models == ["three", "two", "one"]
    one.forget_model("one")
    settings_store.save(one)
    another.remember_model("four")
    settings_store.save(another)
    assert settings_store.load().recent_models == ["four", "three", "two"]
    one.recent_models = another.recent_models = list("abcdefgh")
    settings_store.save(one)
    settings_store.save(another)
    one.remember_model("new")
    another.remember_model("e")
    settings_store.save(one)
    settings_store.save(another)
    assert settings_store.load().recent_models == ["e", "new", *"abcdfg"]
    settings_store.reset()
    assert settings_store.load() == Settings()


def test_changed_settings_are_stored_before_the_program_ends(qtbot, monkeypatch):
    monkeypatch.setattr(settings_store, "_SAVE_MS", 5)
    settings, parent = Settings(language="de"), QObject()
    looks = []
    settings_store.save_changes_regularly(settings, lambda: looks.append(1), parent)
    qtbot.waitUntil(lambda: settings_store.load().language == "de")
    writes = []
    monkeypatch.setattr(settings_store, "save", writes.append)
    seen = len(looks)
    qtbot.waitUntil(lambda: len(looks) > seen + 1)
    assert writes == []  # nothing has changed
    settings.remember_model("one")
    qtbot.waitUntil(lambda: writes[:1] == [settings])


def test_invalid_stored_settings_get_defaults(qtbot):
    settings_store.save(Settings())
    from PySide6.QtCore import QSettings

    QSettings().setValue("theme", "purple")
    QSettings().setValue("geometry", 3)
    QSettings().setValue("pace", "slow")
    assert settings_store.load() == Settings()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of X11 and Wayland")
def test_missing_display_ends_in_a_sentence(tmp_path):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-m", "surgeon_gui"],
        env=env | {"XDG_CONFIG_HOME": str(tmp_path)},  # settings of nobody
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no display" in done.stderr
    assert "surgeon run JOB.toml" in done.stderr
    assert "Reinstalling" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("options", [(), ("--reset-settings",)])
def test_settings_that_are_a_pipe_end_in_a_sentence(tmp_path, options):
    folder = tmp_path / "Surgeon"
    folder.mkdir()
    os.mkfifo(folder / "Surgeon.conf")
    environment = os.environ | {
        "XDG_CONFIG_HOME": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "surgeon_gui", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Surgeon.conf" in ended.stderr
    assert "not a regular file" in ended.stderr
    assert "Traceback" not in ended.stderr


RUN_AND_TELL = """
import sys
from PySide6.QtCore import QLocale, QTimer
from PySide6.QtWidgets import QDialogButtonBox
from surgeon_engine.api import client
from surgeon_gui import __main__ as program
from surgeon_gui.state.run import Status
from tests.helpers.windows import LONG, fake_client

client.EngineProcess = fake_client("--pause", "0.05")
shown, timer = [], QTimer(interval=20)

def make_window(*arguments):
    shown.append(make(*arguments))
    timer.timeout.connect(go_on)
    timer.start()
    return shown[0]

def go_on():
    run = shown[0].session.state.run
    if run.status is Status.RUNNING:
        timer.stop()
        box = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        print(shown[0].menuBar().actions()[0].text(), box.buttons()[0].text())
        print(QLocale().toString(1.5, "f", 1))
        box.deleteLater()
        print("running", flush=True)
    elif run.status is Status.IDLE and not shown[0].session.start_obstacle():
        shown[0].start_run()
    elif not shown[0].session.state.model_is_chosen:
        shown[0].session.draft.load(LONG)

make, program._make_window = program._make_window, make_window
code = program.main(["--run-dir", sys.argv[1], "--language", "de"])
print(shown[0].session.state.run.status.name, flush=True)
sys.exit(code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs signals")
@pytest.mark.slow
def test_signal_closes_the_window_during_a_run_and_keeps_its_settings(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_TELL, str(tmp_path / "runs")],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as window:
        try:
            lines = [window.stdout.readline() for _ in range(3)]
            window.send_signal(signal.SIGTERM)
            out, err = window.communicate(timeout=60)
        finally:
            window.kill()
    assert lines == ["&Datei Abbrechen\n", "1,5\n", "running\n"], err
    assert (window.returncode, err) == (0, "")
    assert out in {"CANCELLING\n", "CANCELLED\n"}  # nobody was asked
    (file,) = tmp_path.rglob("*.conf")
    text = file.read_text()
    assert "shots = 50" in text  # the job
    assert "language=de" in text
    assert f"open_run={tmp_path}" in text
