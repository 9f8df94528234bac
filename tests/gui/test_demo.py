"""The demo prunes, saves pictures and replaces nothing but an earlier demo run."""

import pytest

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui import demo
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.fake_engine import FAILURE
from tests.helpers.windows import close_window, fake_client


def run_demo(qapp, folder, *options):
    engine = EngineThread(fake_client(*options))
    engine.start()
    try:
        return demo.run_demo(qapp, engine, folder, stays_open=False)
    finally:  # the program ends with it; every theme of later tests would go to it
        for each in qapp.topLevelWidgets():
            if isinstance(each, MainWindow):
                each.test_engine = engine
                close_window(each)


@pytest.mark.slow
def test_demo_exits_with_pictures(qtbot, qapp, tmp_path):
    assert run_demo(qapp, tmp_path) == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names >= {"window", "perplexity", "costs", "sparsity"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "source", "reason"),
    [
        (("--mishap", "fail", "--at", "load"), "demo", FAILURE),
        (("--no-start",), "demo", "cannot import torch"),
        ((), "", "There is no model."),
    ],
)
def test_failure_is_printed(
    qtbot, qapp, tmp_path, capsys, monkeypatch, options, source, reason
):
    monkeypatch.setattr("surgeon_gui.app.apply_theme", lambda *_: None)  # it takes long
    (tmp_path / "missing").mkdir()
    config = RunConfig(model=ModelConfig(source or str(tmp_path / "missing")))
    monkeypatch.setattr(demo, "DEMO_CONFIG", config)
    assert run_demo(qapp, tmp_path / "run", *options) == 1
    assert reason in capsys.readouterr().out


def test_earlier_demo_run_is_replaced(tmp_path):
    folder = tmp_path / "demo"
    run = RunFolder(folder)
    with run.created(RunConfig()):
        pass
    run.events_path.touch()
    (folder / "notes.txt").touch()
    assert demo.clear_folder(folder)
    assert not folder.exists()


def test_demo_run_is_kept_beside_where_there_is_no_trash(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "to_trash", lambda path: False)
    folder = tmp_path / "demo"
    with RunFolder(folder).created(demo.DEMO_CONFIG):
        pass
    RunFolder(folder).events_path.touch()
    assert demo.clear_folder(folder)
    assert RunFolder(tmp_path / "demo-replaced").events_path.exists()


def test_other_folder_is_kept(tmp_path):
    (tmp_path / "thesis.tex").touch()
    assert not demo.clear_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_exported_checkpoint_is_kept(tmp_path):
    folder = tmp_path / "checkpoint"
    with RunFolder(folder).created(RunConfig()):
        pass
    assert not demo.clear_folder(folder)
    assert folder.exists()


@pytest.mark.parametrize("job", ["version = 1\n[model]\nsource = 'mine'\n", "no toml"])
def test_run_of_another_model_is_kept(tmp_path, job):
    run = RunFolder(tmp_path / "run")
    with run.created(RunConfig()):
        pass
    run.events_path.touch()
    run.config_path.write_text(job)
    assert not demo.clear_folder(run.path)
    assert run.events_path.exists()


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_display_is_detected(monkeypatch, variable):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not demo.has_display()
    monkeypatch.setenv(variable, ":0")
    assert demo.has_display()
