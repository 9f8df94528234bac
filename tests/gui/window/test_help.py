"""Help: commands and keys, About, the first start, and a bundle without secrets."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog, QFileDialog, QLineEdit, QTreeWidget

from surgeon_gui.base import paths
from surgeon_gui.base.redaction import REMOVED, redacted
from surgeon_gui.state import debug_bundle as bundle
from surgeon_gui.state.app import Step
from surgeon_gui.state.debug_bundle import Bundle, write_bundle
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.help.commands_dialog import entries_of
from surgeon_gui.window.help_menu import bundle_of
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    wait_for_status,
)

HOME = "/home/ada"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token hf_AbCdEf0123456789xyz here", f"token {REMOVED} here"),
        ("HF_TOKEN=abcdef123", f"HF_TOKEN={REMOVED}"),
        ('{"api_key": "abcdef123", "n": 1}', f'{{"api_key": "{REMOVED}", "n": 1}}'),
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {REMOVED}"),
        ("https://me:secret@host/x", f"https://{REMOVED}@host/x"),
        ("/home/ada/models/a", "~/models/a"),
        ("/home/ada", "~"),
        ("/home/adalbert/x", "/home/user/x"),
        ("/home/grace/x", "/home/user/x"),
        ("/Users/grace/x", "/Users/user/x"),
        (r"C:\Users\grace\x", r"C:\Users\user\x"),
        ("an s3cret from the environment", f"an {REMOVED} from the environment"),
        ("1,024 tokens, 16 windows", "1,024 tokens, 16 windows"),
        ('"tokens_compared": 123456', '"tokens_compared": 123456'),
    ],
)
def test_secrets_and_names_are_taken_out(text, expected):
    environment = {"MY_PASSWORD": "s3cret", "PATH": "tokens", "NO_TOKEN": "16"}
    assert redacted(text, HOME, environment) == expected


def test_a_home_at_the_root_takes_nothing_out():
    assert redacted("/opt/x", "/", {}) == "/opt/x"


def test_a_bundle_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    def fail(text, home):
        raise OSError("the disk is full")

    monkeypatch.setattr(bundle, "redacted", fail)
    with pytest.raises(OSError, match="full"):
        write_bundle(Bundle({"log.txt": "words"}), tmp_path / "bundle.zip")
    assert not list(tmp_path.iterdir())


def test_the_bundle_is_of_the_run_that_is_shown(window):
    state = replace(window.session.state, looked_at=RunState(folder="/runs/earlier"))
    assert bundle_of(state, window.settings, window._log).run_folder == "/runs/earlier"


def test_the_bundle_holds_what_helps_and_no_secret(
    qtbot, window, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "sesame-open-now")
    monkeypatch.setattr(paths, "home", lambda: tmp_path)
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    run = Path(window.session.state.run.folder)
    run.mkdir(parents=True, exist_ok=True)
    (run / "events.jsonl").write_text(f'{{"folder": "{run}"}}\n')
    logging.getLogger("surgeon_gui").warning("login with sesame-open-now failed")
    target = tmp_path / "bundle.zip"
    with qtbot.waitSignal(window._help.bundle_written, timeout=TIMEOUT_MS):
        choose_file(window, "save_bundle_action", target)
    window._help.finish_writing()
    with zipfile.ZipFile(target) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) == {
        "about.txt",
        "log.txt",
        "settings.json",
        "job.toml",
        "run/run.toml",
        "run/events.jsonl",
    }
    assert "Python: " in texts["about.txt"]
    assert f"login with {REMOVED} failed" in texts["log.txt"]
    assert json.loads(texts["settings.json"])["theme"] == "system"
    assert "sparsity = 0.3" in texts["job.toml"]
    for text in texts.values():
        assert "sesame" not in text
        assert str(tmp_path) not in text
    assert "debug bundle is written" in window._log.all_text()


def test_a_bundle_that_cannot_be_written_says_so(qtbot, window, tmp_path):
    window._help.save_bundle(tmp_path / "missing" / "bundle.zip")
    bar = find(window, "error_bar")
    qtbot.waitUntil(bar.isVisible, timeout=TIMEOUT_MS)
    assert "cannot be written" in find(window, "error_message").text()
    window._help.finish_writing()


def test_what_the_window_logs_is_in_its_log(window):
    logging.getLogger("anything").error("it went wrong")
    assert "Error    it went wrong" in window._log.shown_text()


@pytest.mark.parametrize("key", ["F1", "Ctrl+?"])
def test_the_commands_are_shown_by_a_key(window, key):
    action = find(window, "commands_action", QAction)
    assert key in [shortcut.toString() for shortcut in action.shortcuts()]
    action.trigger()
    commands = find(window, "commands_dialog", QDialog)
    assert commands.isVisible()
    click(commands, "commands_close_button")
    assert not commands.isVisible()


def test_every_command_of_the_menus_is_listed_with_its_keys(window):
    entries = {entry.name: entry for entry in entries_of(window.menuBar())}
    assert entries["Start"].keys == "Ctrl+R"
    assert entries["Theme: Dark"].menu == "View"
    assert entries["Commands and keyboard shortcuts"].keys == "F1, Ctrl+?"
    assert "Log" in entries


def test_a_command_is_found_by_typing_and_given_by_enter(window):
    find(window, "commands_action", QAction).trigger()
    commands = find(window, "commands_dialog", QDialog)
    typed = find(commands, "command_filter", QLineEdit)
    typed.setText("first st")
    listed = find(commands, "command_list", QTreeWidget)
    assert listed.currentItem().text(0) == "First steps"
    QTest.keyClick(typed, Qt.Key.Key_Return)
    assert not commands.isVisible()
    assert find(window, "first_hint").isVisible()


def test_what_cannot_be_done_now_cannot_be_given(window):
    find(window, "commands_action", QAction).trigger()
    commands = find(window, "commands_dialog", QDialog)
    find(commands, "command_filter", QLineEdit).setText("run start")
    listed = find(commands, "command_list", QTreeWidget)
    assert not listed.selectedItems()
    commands.reject()


def test_no_two_commands_have_the_same_keys(window):
    keys = [
        shortcut.toString()
        for action in window.findChildren(QAction)
        for shortcut in action.shortcuts()
    ]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("step", Step)
def test_each_step_has_a_key(window, step):
    number = list(Step).index(step) + 1
    action = find(window, f"go_{step.value}_action", QAction)
    assert action.shortcut().toString() == f"Alt+{number}"
    action.trigger()
    assert window._steps.is_open(step)
    assert find(window, f"step_{step.value}_header").hasFocus()


def test_each_view_has_a_key(qtbot, window):
    load_and_wait(qtbot, window)
    for number, name in enumerate(window._centre.names, start=1):
        action = find(window, f"go_{name}_action", QAction)
        assert action.shortcut().toString() == f"Ctrl+{number}"
        action.trigger()
        assert window._centre.open_name == name


def test_about_tells_the_versions_and_copies_them(qtbot, window):
    load_and_wait(qtbot, window)
    find(window, "about_action", QAction).trigger()
    about = find(window, "about_dialog", QDialog)
    click(about, "about_copy_button")
    copied = QGuiApplication.clipboard().text()
    for name in ("Surgeon: ", "Python: ", "Qt, PySide: ", "Device: "):
        assert name in copied
    names = [line.partition(":")[0].lower() for line in copied.splitlines()]
    assert len(names) == len(set(names))
    click(about, "about_close_button")
    assert not about.isVisible()


def test_the_hint_of_the_first_start_is_remembered(window):
    hint = find(window, "first_hint")
    assert not hint.isVisible()
    find(window, "show_hint_action", QAction).trigger()
    assert hint.isVisible()
    click(window, "hint_dismiss_button")
    assert not hint.isVisible()
    assert window.settings.shows_hint is False


def choose_file(window, action, path):
    find(window, action, QAction).trigger()
    dialog = window.findChild(QFileDialog)
    dialog.selectFile(str(path))
    dialog.accept()


def test_the_language_that_is_chosen_holds_from_the_next_start_on(window):
    find(window, "language_de_action", QAction).trigger()
    assert window.settings.language == "de"
    assert find(window, "start_button").text() == "&Start"
    find(window, "language_system_action", QAction).trigger()
    assert window.settings.language == ""
