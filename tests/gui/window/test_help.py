"""The Help menu: commands, shortcuts, About, first steps, debug bundle."""

import json
import logging
import re
import zipfile
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QAction, QGuiApplication, QTextDocument
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QLabel,
    QLineEdit,
    QTextBrowser,
    QTreeWidget,
)

from surgeon_gui.base import paths
from surgeon_gui.base.redaction import REMOVED, redacted
from surgeon_gui.base.settings import Settings
from surgeon_gui.state import debug_bundle
from surgeon_gui.state.debug_bundle import write_bundle
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.help.commands_dialog import entries_of
from surgeon_gui.window import help_menu
from surgeon_gui.window.help_menu import HelpMenu
from surgeon_gui.window.log_view import LogView
from surgeon_gui.window.places import Place
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    find,
    find_type,
    load_and_wait,
    run_until,
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
def test_redacted_removes_secrets_and_user_names(text, expected):
    environment = {"MY_PASSWORD": "s3cret", "PATH": "tokens", "NO_TOKEN": "16"}
    assert redacted(text, HOME, environment) == expected


# In two parts, so that programs that look for secrets do not find them here.
SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "IOSFODNN7EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMI/" + "K7MDENG/bPxRfiCYEXAMPLEKEY",
    '"SecretAccessKey": "wJalrXUtnFEMI/' + 'K7MDENG/bPxRfiCYEXAMPLEKEY"',
    "AWS said wJalrXUtnFEMI/" + "K7MDENG/bPxRfiCYEXAMPLEKEY",
    "glpat-" + "abcDEF123456_-ghIJkl",
    "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-" + "123456789012-abcdefghijkl",
    "https://hooks.slack.com/services/" + "T00000000/B00000000/abcdefgh",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN",
    'api_key="' + 'a b c d e"',
    "API-KEY: " + "abcdefgh",
    "password = 'correct " + "horse battery'",
    '{\\"token\\": \\"' + 'abcdefgh\\"}',
    "PASSWORD=" + "12345678",
    "--token " + "abcdefgh",
    "sk-" + "proj-abcdefghijklmnopqrst",
    "SG." + "abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuv",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "sk_live_" + "abcdefghijkl",
    "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "-----BEGIN RSA PRIVATE" + " KEY-----\nabcd+/\nefgh\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE" + " KEY-----\\nabcd\\n",
    "ada@" + "example.org",
    "https://ada@" + "example.org/x",
    "ssh: ada.l+x@" + "gpu.example.co.uk refused",
]


@pytest.mark.parametrize("text", SECRETS)
def test_redacted_removes_each_kind_of_secret(text):
    found = redacted(f"before {text}", HOME, {})
    assert REMOVED in found
    kept = re.findall(r"\w{4,}", found.replace(REMOVED, ""))
    words = {"before", "secret_access_key", "SecretAccessKey", "said", "password"}
    words |= {"aws_secret_access_key", "https", "hooks", "slack", "token", "PASSWORD"}
    words |= {"api_key", "example", "refused", "services"}
    assert set(kept) <= words


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + 8 * "0123abcd",
        "commit " + 5 * "0123abcd",
        "hf://HuggingFaceTB/SmolLM2-135M@main",
        "hf://gpt2@v1.0",
        '"kl": 0.4312345678, "loss": 2.71828182845, "tokens": 123456',
        '"new_tokens": 123456, "tokens_per_second": 1234.5678',
        "model.layers.11.mlp.down_proj: 123456 of 196608 weights",
        "2026-11-28_23-13-01_SmolLM2-135M",
        "torch 2.9.1+cpu, transformers 5.5.0, tokenizer = builtin",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/resolve/main/config.json",
        "model-00001-of-00002.safetensors: 4,976,698,672 bytes",
        "Key of gpu-box is not known",
    ],
)
def test_redacted_keeps_figures_names_and_hashes(text):
    assert redacted(text, HOME, {}) == text


def test_redacted_with_home_at_the_root_changes_nothing():
    assert redacted("/opt/x", "/", {}) == "/opt/x"


def test_write_bundle_leaves_no_file_after_an_error(tmp_path, monkeypatch):
    def fail(text, home):
        raise OSError("the disk is full")

    monkeypatch.setattr(debug_bundle, "redacted", fail)
    with pytest.raises(OSError, match="full"):
        write_bundle({"log.txt": "words"}, "", tmp_path / "bundle.zip")
    assert not list(tmp_path.iterdir())


def test_bundle_contains_the_shown_run(window, tmp_path):
    (tmp_path / "events.jsonl").write_text("an event\n")
    window.session.reopen(RunState(folder=str(tmp_path)), "Earlier")
    help_menu = find_type(window, HelpMenu)
    help_menu.save_bundle(str(tmp_path / "bundle.zip"))
    help_menu.finish_writing()
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.read("run/events.jsonl") == b"an event\n"


def test_bundle_contains_diagnostics_without_secrets(
    qtbot, window, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "sesame-open-now")
    monkeypatch.setattr(paths, "home", lambda: tmp_path)
    run_until(qtbot, window, Status.FINISHED)
    run = Path(window.session.state.run.folder)
    run.mkdir(parents=True, exist_ok=True)
    (run / "events.jsonl").write_text(f'{{"folder": "{run}"}}\n')
    logging.getLogger("surgeon_gui").warning("login with sesame-open-now failed")
    assert "sesame" in find_type(window, LogView).shown_text()
    target = tmp_path / "bundle.zip"
    help_menu = find_type(window, HelpMenu)
    choose_file(window, "save_bundle_action", target)
    log = find_type(window, LogView)
    qtbot.waitUntil(log.isVisible, timeout=TIMEOUT_MS)
    help_menu.finish_writing()
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
    assert str(target) in find_type(window, LogView).all_text()


def check_unwritable_bundle(qtbot, window, tmp_path):
    help_menu = find_type(window, HelpMenu)
    help_menu.save_bundle(str(tmp_path / "missing" / "bundle.zip"))
    bar = find(window, "error_bar")
    qtbot.waitUntil(bar.isVisible, timeout=TIMEOUT_MS)
    help_menu.finish_writing()


def test_commands_dialog_lists_filters_and_triggers_the_actions(window):
    entries = {entry.name: entry for entry in entries_of(window.menuBar())}
    assert entries["Start"].keys == "Ctrl+R"
    assert entries["Theme: Dark"].menu == "View"
    action = find(window, "commands_action", QAction)
    assert [key.toString() for key in action.shortcuts()] == ["F1", "Ctrl+?"]
    action.trigger()
    commands = find(window, "commands_dialog", QDialog)
    edit = find(commands, "command_filter", QLineEdit)
    listed = find(commands, "command_list", QTreeWidget)
    edit.setText("run start")  # without a model it is disabled
    assert not listed.selectedItems()
    edit.setText("ollama")
    assert listed.currentItem().text(0) == "Open GGUF file"
    edit.setText("playgr")
    assert listed.currentItem().text(0) == "Playground"
    QTest.keyClick(edit, Qt.Key.Key_Return)
    assert not commands.isVisible()
    assert window.places.current is Place.PLAYGROUND
    action.trigger()
    click(commands, "commands_close_button")
    assert not commands.isVisible()


def test_commands_come_before_what_was_used_recently(make_window):
    recent = Settings(recent_models=["/models/tiny"], recent_runs=["/runs/one"])
    entries = entries_of(make_window(settings=recent).menuBar())
    menus = list(dict.fromkeys(entry.menu for entry in entries))
    assert menus == ["File", "Edit", "Run", "View", "Help", "Open recent"]
    *_, run, model, clear = (entry.action.objectName() for entry in entries)
    assert (run, model) == ("recent_run_action_1", "recent_model_action_1")
    assert clear == "recent_clear_action"
    assert all(entry.action.objectName() for entry in entries)  # no titles of lists


def test_shortcuts_are_unique_and_each_place_has_one(window):
    keys = [
        shortcut.toString()
        for action in window.findChildren(QAction)
        for shortcut in action.shortcuts()
        if action.shortcutContext() is not Qt.ShortcutContext.WidgetShortcut
    ]
    assert len(keys) == len(set(keys))
    for number, place in enumerate(Place, start=1):
        action = find(window, f"go_{place.value}_action", QAction)
        assert action.shortcuts()[0].toString() == f"Ctrl+{number}"
        action.trigger()
        assert window.places.current is place


def test_about_shows_the_versions_and_a_bundle_may_fail(qtbot, window, tmp_path):
    check_unwritable_bundle(qtbot, window, tmp_path)
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


def choose_file(window, action, path):
    find(window, action, QAction).trigger()
    dialog = window.findChild(QFileDialog)
    dialog.selectFile(str(path))
    dialog.accept()


def test_chosen_language_applies_after_a_restart(window):
    find(window, "language_de_action", QAction).trigger()
    assert window.settings.language == "de"
    assert find(window, "start_button").text() == "&Start"
    note = find(window, "saved_label", QLabel)
    assert note.isVisible()
    assert note.text() == "The language applies when Surgeon is started again."
    assert find(window, "saved_folder_button").isHidden()
    find(window, "language_system_action", QAction).trigger()
    assert window.settings.language == ""
    assert not note.isVisible()


def test_guide_has_its_pictures_and_links_lead_to_chapters(
    qtbot, window, make_window, monkeypatch
):
    find(window, "guide_action", QAction).trigger()
    dialog = find(window, "guide_dialog", QDialog)
    text = find(dialog, "guide_text", QTextBrowser)
    qtbot.waitExposed(dialog)
    kind = QTextDocument.ResourceType.ImageResource.value
    picture = text.loadResource(kind, QUrl("pictures/first.png"))
    assert 0 < picture.width() <= text.width()
    bar = text.verticalScrollBar()
    assert bar.maximum() > text.height()
    assert bar.value() == 0
    text.anchorClicked.emit(QUrl("#measure-the-model"))
    assert text.textCursor().block().text() == "Measure the model"
    heading = text.cursorRect()
    assert 0 < bar.value() < bar.maximum()
    assert 0 <= heading.top() < 2 * heading.height()
    dialog.close()
    monkeypatch.setattr(help_menu, "guide_path", lambda: None)
    assert not find(make_window(), "guide_action", QAction).isEnabled()
