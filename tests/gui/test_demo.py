"""The demo prunes by itself, leaves pictures, and replaces nothing but a run."""

from __future__ import annotations

import pytest

from surgeon_engine.config import RunConfig
from surgeon_engine.run_folder import RunFolder
from surgeon_gui import demo
from surgeon_gui.engine_thread import EngineThread
from tests.helpers.windows import fake_link


def run_demo(qapp, folder, *options):
    engine = EngineThread(fake_link(*options))
    engine.start()
    return demo.run_demo(qapp, engine, folder, stays_open=False)


def test_it_ends_by_itself_with_pictures(qtbot, qapp, tmp_path, capsys):
    assert run_demo(qapp, tmp_path) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "window.png",
        "perplexity.png",
        "parameters.png",
        "sparsity.png",
    }
    assert "Finished" in capsys.readouterr().out


def test_a_failure_is_told_on_the_terminal(qtbot, qapp, tmp_path, capsys):
    assert run_demo(qapp, tmp_path, "--mishap", "fail", "--at", "load") == 1
    assert "too little memory" in capsys.readouterr().out


def test_an_earlier_run_is_replaced(tmp_path):
    folder = tmp_path / "demo"
    RunFolder(folder).create(RunConfig())
    assert demo._make_room(folder)
    assert not folder.exists()


def test_any_other_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    assert not demo._make_room(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_a_display_is_noticed(monkeypatch, variable):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not demo._has_display()
    monkeypatch.setenv(variable, ":0")
    assert demo._has_display()
