"""Offscreen Qt, isolated settings, and a check that tests clean up."""

import functools
import gc
import itertools
import json
import os
import sys
import tempfile
import weakref
from pathlib import Path

import psutil
import pytest


def pytest_addoption(parser, pluginmanager):
    parser.addoption("--headed", action="store_true", help="show the windows")
    if not pluginmanager.hasplugin("pytest-qt"):  # the engine is tested without Qt
        for name in ("qt_api", "qt_log_level_fail"):
            parser.addini(name, "an option of pytest-qt")


def pytest_configure(config):
    if not config.getoption("--headed"):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    if not hasattr(config, "workerinput"):  # workers inherit the folder
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):  # the trash is in the latter
            folder = tempfile.TemporaryDirectory(prefix="surgeon-tests-")
            os.environ[name] = folder.name
            config.add_cleanup(folder.cleanup)


WINDOWS = {"make_window", "window"}  # fixtures that open the whole window
FIRST = {"fresh_process", "waits"}  # markers


@pytest.hookimpl(tryfirst=True)  # before tests are deselected by their markers
def pytest_collection_modifyitems(config, items):
    for item in items:
        if WINDOWS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    # Each worker begins with its part of those that wait: others use the processors
    # meanwhile, which they could not at the end.
    waiting = [x for x in items if FIRST.intersection(x.keywords)]
    others = [x for x in items if not FIRST.intersection(x.keywords)]
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    bounds = [len(others) * n // workers for n in range(workers + 1)]
    parts = [others[a:b] for a, b in itertools.pairwise(bounds)]
    items[:] = [
        x for n, part in enumerate(parts) for x in (*waiting[n::workers], *part)
    ]
    # The offscreen platform warns about windows of fixed size, and those on top.
    ignored = "does not support (propagateSizeHints|raise)"
    for item in items:
        if "qtbot" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.qt_log_ignore(ignored))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage while modules are imported, and none of them later."""
    gc.disable()
    found = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return found


@pytest.fixture(scope="session", autouse=True)
def fast_attention():
    """Let models that tests make attend as models that the engine loads."""
    attention = sys.modules.get("surgeon_engine.model.cpu_attention")
    if attention is not None:
        attention.attend_fast_on_cpus()


@pytest.fixture(scope="session", autouse=True)
def exact_products():
    """Let the engine compute alike on all processors: no products of 16 bits."""
    devices = sys.modules.get("surgeon_engine.runtime.devices")  # it imports torch
    with pytest.MonkeyPatch.context() as patch:
        if devices is not None:
            patch.setattr(devices, "multiplies_bfloat16_fast", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def builtin_text_once():
    """Look for paragraphs that the built-in text repeats in the first test alone."""
    texts = sys.modules.get("surgeon_engine.calibration.texts")
    with pytest.MonkeyPatch.context() as patch:
        if texts is not None:
            once = functools.cache(texts.builtin_documents)
            patch.setattr(texts, "builtin_documents", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_shipped_passages(tmp_path_factory):
    """Let runs read a passage of each source of the shipped text."""
    fenced = sys.modules.get("surgeon_engine.calibration.fenced")
    with pytest.MonkeyPatch.context() as patch:
        if fenced is not None:
            of_source = {}
            text = Path(fenced.SHIPPED_TEXT).read_text(encoding="utf-8")
            for line in text.strip().split("\n"):
                of_source.setdefault(json.loads(line)["source"], line)
            path = tmp_path_factory.mktemp("shipped_text") / "passages.jsonl"
            path.write_text("\n".join(of_source.values()), encoding="utf-8")
            patch.setattr(fenced, "SHIPPED_TEXT", str(path))
            patch.setattr(fenced, "_OWN", {*fenced._OWN, str(path)})
        yield


@pytest.fixture(autouse=True)
def nothing_measured_before(monkeypatch):
    """Let no test find measurements of another; `measured_before` keeps them."""
    files = sys.modules.get("surgeon_engine.runtime.kept_files")  # it imports torch
    if files is not None:
        monkeypatch.setattr(files, "KEPT_BYTES", 0)


@pytest.fixture
def measured_before(monkeypatch, tmp_path):
    """Return the folder in which this test alone keeps measurements of originals."""
    from surgeon_engine.base.files import measurements_folder
    from surgeon_engine.planning.constants import KEPT_BYTES
    from surgeon_engine.runtime import kept_files

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_files, "KEPT_BYTES", KEPT_BYTES)
    return measurements_folder()


@pytest.fixture(scope="session", autouse=True)
def no_fence():
    """Read the files of tests in this process; `fenced` tests another one."""
    fence = sys.modules.get("surgeon_engine.runtime.fence")
    with pytest.MonkeyPatch.context() as patch:
        if fence is not None:
            patch.setattr(fence, "_is_direct", True)
        yield


@pytest.fixture
def fenced(monkeypatch):
    """Read files in a process of its own, as the program does."""
    from surgeon_engine.runtime import fence

    monkeypatch.setattr(fence, "_is_direct", False)
    yield
    fence.close()


@pytest.fixture(scope="session")
def qapp(qapp):
    from surgeon_gui import app

    app.prepare(qapp)
    return qapp


@pytest.fixture(scope="session")
def started_threads():
    """Return the set of all started QThreads that still exist."""
    from PySide6.QtCore import QThread

    threads = weakref.WeakSet()
    start = QThread.start

    def remember_and_start(thread, *priority):
        threads.add(thread)
        start(thread, *priority)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QThread, "start", remember_and_start)
        yield threads


@pytest.fixture(autouse=True)
def clean_desktop(request):
    """Check that a test leaves no window, thread or process; restore the theme."""
    if "qapp" not in request.fixturenames:
        yield
        return
    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication, QMessageBox
    from shiboken6 import isValid

    folder = request.getfixturevalue("tmp_path")
    patch = request.getfixturevalue("monkeypatch")
    patch.setenv(
        "XDG_CONFIG_HOME", str(folder / "config")
    )  # the folder of custom presets
    application = request.getfixturevalue("qapp")
    threads = request.getfixturevalue("started_threads")
    sheet, palette = application.styleSheet(), application.palette()
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    scope = QSettings.Scope.UserScope
    QSettings.setPath(QSettings.Format.IniFormat, scope, str(folder / "settings"))
    gc.disable()  # see `make_application`
    before = {id(widget) for widget in QApplication.topLevelWidgets()}
    yield
    if application.styleSheet() != sheet:  # the test has set a theme
        application.setPalette(palette)
        application.setStyleSheet(sheet)
    widgets = QApplication.topLevelWidgets()
    # Not before: collected widgets would be deleted from the list as it is made.
    gc.enable()
    boxes = [w for w in widgets if isinstance(w, QMessageBox)]
    assert not [box.text() for box in boxes if box.isVisible()], "an open question"
    new = [w for w in widgets if id(w) not in before]
    assert not [w for w in new if w.isVisible()], "an open window"
    assert not [x for x in threads if isValid(x) and x.isRunning()], "a running thread"
    assert not _has_child(), "a process"


def _has_child():
    if not hasattr(os, "waitid"):
        return bool(psutil.Process().children())
    try:  # a search for it among all processes takes longer than most tests
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@pytest.fixture
def make_window(qtbot, tmp_path, monkeypatch):
    """Return a factory of windows with a fake engine that closes them at the end.

    They wait less than in the program: for events, and for the next key.
    """
    from surgeon_gui.controllers import draft_editor, engine_thread, sources
    from surgeon_gui.views.queue import sweep_dialog
    from surgeon_gui.widgets import source_edit
    from tests.helpers.windows import close_window, open_window

    monkeypatch.setattr(engine_thread, "BATCH_SECONDS", 0.03)
    monkeypatch.setattr(engine_thread, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(draft_editor, "INSPECTION_DELAY_MS", 20)
    for module in (sources, sweep_dialog):
        monkeypatch.setattr(module, "_CHECK_DELAY_MS", 50)
    monkeypatch.setattr(sources, "_SEARCH_DELAY_MS", 50)
    monkeypatch.setattr(source_edit, "_PAUSE_MS", 50)
    windows = []

    def make(*options, **extra):
        window = open_window(tmp_path / "runs", *options, **extra)
        windows.append(window)
        return window

    yield make
    for window in windows:
        close_window(window)


@pytest.fixture
def window(make_window):
    """Return a window with a fake engine that works without errors."""
    return make_window()


@pytest.fixture
def save_everywhere(monkeypatch):
    """Let a run save wherever it may, and report every step."""
    from tests.helpers.interrupted_runs import let_save_everywhere

    let_save_everywhere(monkeypatch)


@pytest.fixture
def quick_runs(request, monkeypatch):
    """Skip the verification in a fresh process, garbage collection, trials of texts.

    A fresh process takes seconds to import torch. Tests marked `fresh_process` still
    verify in one.
    """
    from surgeon_engine.model import tokenizer
    from surgeon_engine.runtime import devices
    from tests.helpers.runs import skip_verification

    monkeypatch.setattr(devices, "reset_peak_memory", lambda: None)
    monkeypatch.setattr(tokenizer, "_TRIAL", ("a text",))
    if "fresh_process" not in request.keywords:
        skip_verification(monkeypatch)
