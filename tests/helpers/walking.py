"""Looks at every widget of a window, on every step, view and dialog.

As a program it opens a window of its own, for what holds for a whole process:

    python -m tests.helpers.walking --language de
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
    QTabBar,
    QTextEdit,
    QToolButton,
    QWidget,
)

SIZE = (1280, 720)
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
_PATIENCE = 120.0  # seconds, also on a machine that is busy
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
    from surgeon_engine.events import Failed
    from surgeon_gui.app_state import Step
    from surgeon_gui.run_state import Status

    for part in ("before", "after"):
        for step in Step:
            window.open_step(step)
            for opener in window.findChildren(QToolButton):
                if opener.objectName().endswith("_advanced_button"):
                    opener.setChecked(True)
            yield f"{step.value}, {part} a run"
        for name in window._centre.names:
            window._centre.open_tab(name)
            yield f"{name}, {part} a run"
        if part == "before":
            window.start_run()
            wait_until(lambda: window.session.state.run.status is Status.FINISHED)
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
    end = time.monotonic() + _PATIENCE
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


def main() -> int:
    """Open a window, walk through it, tell what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--language", default="en")
    options = parser.parse_args()
    from surgeon_gui import languages

    languages.choose(options.language)
    from surgeon_gui.app import make_application
    from tests.helpers.windows import QUICK, closed, open_window

    logging.getLogger("qt").setLevel(logging.ERROR)  # what offscreen cannot do
    application = make_application(sys.argv[:1])
    with tempfile.TemporaryDirectory() as folder:
        window = open_window(Path(folder))
        window.resize(*SIZE)
        found = [f"at first: {what}" for what in problems(window)]
        try:
            window.load_config(QUICK)
            wait_until(lambda: not window.session.start_obstacle())
            found += everything_wrong(window)
        finally:
            closed(window)
    del application
    sys.stdout.write("\n".join(dict.fromkeys(found)))
    return 0


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
    if isinstance(widget, QLabel) and widget.wordWrap():
        needed = widget.heightForWidth(widget.width())
        words = widget.text().replace("\n", " ").split(" ")
        widest = max(widget.fontMetrics().horizontalAdvance(word) for word in words)
        if widest > widget.width() and "/" not in widget.text():
            return f"{widget.text()} (a word)"
    elif widget.width() < hint.width():
        return widget.text()
    return f"{widget.text()} (height)" if widget.height() < needed else ""


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
