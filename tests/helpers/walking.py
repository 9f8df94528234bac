"""Looks at every widget of a window, on every step, view and dialog.

As a program it opens a window of its own, for what holds for a whole process:

    python -m tests.helpers.walking --language de
    python -m tests.helpers.walking --theme dark --size 1920x1080
    QT_SCALE_FACTOR=2 python -m tests.helpers.walking

It prints a line for everything that is wrong, and nothing if all is well.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QObject, QRect, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QDockWidget,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QMainWindow,
    QMenuBar,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QScrollBar,
    QSpinBox,
    QTabBar,
    QTextEdit,
    QToolButton,
    QWidget,
)

INTERACTIVE = (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)
# Qt's own parts inside of these are not ours.
OUTER = (
    QLineEdit,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QMenuBar,
    QTabBar,
    QAbstractScrollArea,
)
WITH_TEXT = (QPushButton, QToolButton, QCheckBox, QRadioButton, QAbstractSpinBox)
_TIMEOUT_MS = 120.0  # seconds, also on a machine that is busy
_TURNS = 5  # of the event loop, until a layout has settled


def settle() -> None:
    """Let layouts come to rest."""
    for _ in range(_TURNS):
        QApplication.processEvents()


def problems(window: QWidget) -> list[str]:
    """Everything that is wrong with what is in sight."""
    settle()
    return [
        *cut_texts(window),
        *nameless(window),
        *overlapping(window),
        *out_of_reach(window),
    ]


def cut_texts(window: QWidget) -> list[str]:
    """Texts that have less room than they need."""
    settle()
    return [
        f"{_name(widget)}: {why}"
        for widget in window.findChildren(QWidget)
        if widget.isVisible() and (why := _how_cut(widget))
    ]


def nameless(window: QWidget) -> list[str]:
    """Controls that a screen reader cannot name, or that do not explain themselves."""
    found = []
    for widget in controls(window):
        if not widget.isVisible():
            continue
        text = getattr(widget, "text", str)()
        if not (widget.accessibleName() or text):
            found.append(f"{_name(widget)}: no accessible name")
        if not widget.toolTip():
            found.append(f"{_name(widget)}: no tooltip")
    return found


def overlapping(window: QWidget) -> list[str]:
    """Siblings of which one lies on the other."""
    found = []
    for parent in (window, *window.findChildren(QWidget)):
        if not parent.isVisible() or isinstance(parent, (QMainWindow, *OUTER)):
            continue
        shown = [w for w in parent.children() if _takes_room(w)]
        for one, other in itertools.combinations(shown, 2):
            common: QRect = one.geometry() & other.geometry()
            if common.width() > 0 and common.height() > 0:
                found.append(f"{_name(one)} lies on {_name(other)}")
    return found


def out_of_reach(window: QWidget) -> list[str]:
    """Areas whose inside is wider than they are, and that cannot be scrolled there."""
    never = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    return [
        f"{_name(area)}: its inside is {area.widget().width()} wide"
        for area in window.findChildren(QScrollArea)
        if area.isVisible()
        and area.widget() is not None
        and area.horizontalScrollBarPolicy() == never
        and area.widget().width() > area.viewport().width()
    ]


def controls(window: QWidget) -> Iterator[QWidget]:
    """The inputs and buttons of a window that are its own."""
    for kind in INTERACTIVE:
        for widget in window.findChildren(kind):
            if isinstance(widget, QScrollBar) or isinstance(widget.parent(), OUTER):
                continue
            if isinstance(widget.window(), QMessageBox) and not widget.objectName():
                continue
            if widget.objectName().startswith("qt_"):
                continue
            yield widget


def out_of_order(page: QWidget) -> list[str]:
    """Where Tab goes back up, or back left within a line, on a page."""
    inside = [w for w in _by_tab(page) if page.isAncestorOf(w) and w.isVisible()]
    found = []
    for one, other in itertools.pairwise(inside):
        a, b = _place(one, page), _place(other, page)
        is_beside = min(a.bottom(), b.bottom()) > max(a.top(), b.top())
        if (b.left() < a.left()) if is_beside else (b.top() < a.top()):
            found.append(f"{_name(one)} before {_name(other)}")
    return found


def walk(window: QMainWindow) -> Iterator[str]:
    """Open everything there is, one after the other; yields where one is.

    The window must have a job loaded that can be started.
    """
    from surgeon_engine.api.messages.events import Failed
    from surgeon_gui.state.app import Step
    from surgeon_gui.state.run import Status

    yield from steps_and_views(window, "before a run")
    window.start_run()
    wait_until(lambda: _status(window) is Status.FINISHED)
    yield from steps_and_views(window, "after a run")
    window.session.save()
    wait_until(lambda: not window.session.state.is_busy)
    window.session.measure()
    wait_until(lambda: not window.session.state.is_busy)
    window.open_step(Step.EXPORT)
    yield "saved and measured"
    for dock in window.findChildren(QDockWidget):
        dock.setVisible(True)
        yield dock.objectName()
        dock.setVisible(False)
    window.show_problem(Failed("It went wrong. " * 9, "Try again. " * 9, "details"))
    window.findChild(QAction, "show_hint_action").trigger()
    window.findChild(QPushButton, "error_details_button").setChecked(True)
    yield "an error and the hint"
    window.session.dismiss_problem()


def steps_and_views(window: QMainWindow, when: str) -> Iterator[str]:
    """Open every step with all that it can unfold, then every view."""
    from surgeon_gui.state.app import Step

    for step in Step:
        window.open_step(step)
        for opener in window.findChildren(QToolButton):
            if opener.objectName().endswith("_advanced_button"):
                opener.setChecked(True)
        yield f"{step.value}, {when}"
    for name in window._centre.names:
        window._centre.open_tab(name)
        yield f"{name}, {when}"


def walk_dialogs(window: QMainWindow) -> Iterator[QDialog]:
    """Open the dialogs of the Help menu, one after the other."""
    for action, name in (
        ("commands_action", "commands_dialog"),
        ("about_action", "about_dialog"),
    ):
        window.findChild(QAction, action).trigger()
        dialog = window.findChild(QDialog, name)
        settle()
        yield dialog
        dialog.reject()
        settle()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + _TIMEOUT_MS
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.005)


def everything_wrong(window: QMainWindow) -> list[str]:
    """Walk through a window and its dialogs; what is wrong and where."""
    found = [f"{where}: {what}" for where in walk(window) for what in problems(window)]
    for dialog in walk_dialogs(window):
        found += [f"{dialog.objectName()}: {what}" for what in problems(dialog)]
    return found


def wrong_while_paused(window: QMainWindow) -> list[str]:
    """What is wrong with a window while its run, which takes its time, is paused."""
    from surgeon_gui.state.run import Status
    from tests.helpers.windows import LONG

    window.load_config(LONG)
    wait_until(lambda: not window.session.start_obstacle())
    window.start_run()
    wait_until(lambda: bool(window.session.state.run.history))
    window.session.pause_or_resume()
    wait_until(lambda: _status(window) is Status.PAUSED)
    return _wrong(window, "while paused")


def wrong_after_failure(window: QMainWindow) -> list[str]:
    """What is wrong with a window whose run fails."""
    from surgeon_gui.state.run import Status

    window.start_run()
    wait_until(lambda: _status(window) is Status.FAILED)
    return _wrong(window, "after a failure")


def main() -> int:
    """Open windows, walk through them, tell what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--language", default="en")
    parser.add_argument("--theme", default="light")
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    from surgeon_gui.base import languages

    languages.choose(options.language)
    from surgeon_gui.app import make_application
    from surgeon_gui.base.settings import ThemeChoice
    from surgeon_gui.base.theme import apply_theme

    logging.getLogger("qt").setLevel(logging.ERROR)  # what offscreen cannot do
    application = make_application(sys.argv[:1])
    apply_theme(application, ThemeChoice(options.theme))
    width, height = map(int, options.size.split("x"))
    found = []
    for look, *of_engine in (
        (everything_wrong,),
        (wrong_while_paused, "--pause", "0.01"),
        (wrong_after_failure, "--mishap", "fail", "--at", "selection"),
    ):
        found += _in_a_window((width, height), look, *of_engine)
    del application
    sys.stdout.write("\n".join(dict.fromkeys(found)))
    return 0


def _in_a_window(
    size: tuple[int, int], look: Callable[[QMainWindow], list[str]], *of_engine: str
) -> list[str]:
    """What is wrong with a new window, at first and when it is looked through."""
    from tests.helpers.windows import QUICK, closed, open_window

    with tempfile.TemporaryDirectory() as folder:
        window = open_window(Path(folder), *of_engine)
        try:
            window.resize(*size)
            found = [f"at first: {what}" for what in problems(window)]
            window.load_config(QUICK)
            wait_until(lambda: not window.session.start_obstacle())
            return found + look(window)
        finally:
            closed(window)


def _wrong(window: QMainWindow, when: str) -> list[str]:
    return [
        f"{where}: {what}"
        for where in steps_and_views(window, when)
        for what in problems(window)
    ]


def _status(window: QMainWindow) -> object:
    return window.session.state.run.status


def _how_cut(widget: QWidget) -> str:
    if isinstance(widget, QTabBar):
        if widget.parent() is not None and widget.sizeHint().width() > widget.width():
            return f"tabs need {widget.sizeHint().width()}"
        return ""
    if isinstance(widget, QLineEdit) and not isinstance(widget.parent(), OUTER):
        shown = widget.placeholderText()
        room = widget.width() - 2 * 8
        if not widget.text() and widget.fontMetrics().horizontalAdvance(shown) > room:
            return f"{shown} (placeholder)"
        return ""
    if not isinstance(widget, (QLabel, *WITH_TEXT)) or not widget.text():
        return ""
    hint, needed = widget.sizeHint(), widget.sizeHint().height()
    if isinstance(widget, QAbstractSpinBox):
        return _how_cut_inside(widget)
    if isinstance(widget, QLabel) and widget.wordWrap():
        needed = widget.heightForWidth(widget.width())
        words = widget.text().replace("\n", " ").split(" ")
        widest = max(widget.fontMetrics().horizontalAdvance(word) for word in words)
        if widest > widget.width() and "/" not in widget.text():
            return f"{widget.text()} (a word)"
    elif widget.width() < hint.width():
        return widget.text()
    return f"{widget.text()} (height)" if widget.height() < needed else ""


def _how_cut_inside(box: QAbstractSpinBox) -> str:
    """How its number is cut; with a style sheet its size hint asks for too much."""
    edit = box.lineEdit()
    texts = [box.text()]
    if isinstance(box, (QSpinBox, QDoubleSpinBox)):
        texts.append(f"{box.textFromValue(box.maximum())}{box.suffix()}")
    room = edit.width() - 2 * 2  # of which a line keeps 2 pixels free at either side
    cut = [text for text in texts if box.fontMetrics().horizontalAdvance(text) > room]
    return f"{cut[0]} (number)" if cut else ""


def _takes_room(child: QObject) -> bool:
    if not isinstance(child, QWidget) or child.isWindow():
        return False
    return child.isVisible() and child.width() > 0 and child.height() > 0


def _by_tab(page: QWidget) -> Iterator[QWidget]:
    widget = page.nextInFocusChain()
    while widget is not page:
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isEnabled():
            yield widget
        widget = widget.nextInFocusChain()


def _place(widget: QWidget, page: QWidget) -> QRect:
    return QRect(widget.mapTo(page, widget.rect().topLeft()), widget.size())


def _name(widget: QWidget) -> str:
    if widget.objectName():
        return widget.objectName()
    parent = widget.parentWidget()
    inside = f" in {_name(parent)}" if parent is not None else ""
    return f"{type(widget).__name__}{inside}"


if __name__ == "__main__":
    sys.exit(main())
