"""Check every widget of a window, in every place and dialog.

Language and scale are fixed per process, so this is also a program that opens a window:

    python -m tests.helpers.window_audit --language de
    python -m tests.helpers.window_audit --theme dark --size 1920x1080
    QT_SCALE_FACTOR=2 python -m tests.helpers.window_audit

It prints one line per problem.
"""

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
    QTabBar,
    QTextEdit,
    QToolButton,
    QWidget,
)

from surgeon_gui.widgets.elided_link import ElidedLink
from surgeon_gui.widgets.tool_tips import plain_tip

INTERACTIVE = (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)
# Widgets with children that Qt creates.
COMPOSITE = (
    QLineEdit,
    QAbstractSpinBox,
    QComboBox,
    QMenuBar,
    QTabBar,
    QAbstractScrollArea,
)
WITH_TEXT = (QPushButton, QToolButton, QCheckBox, QRadioButton, QAbstractSpinBox)
_TIMEOUT_S = 120.0  # also enough on a busy machine
_EVENT_LOOPS = 5  # until layouts have settled


def settle() -> None:
    """Process events until layouts have settled."""
    for _ in range(_EVENT_LOOPS):
        QApplication.processEvents()


def problems(window: QWidget) -> list[str]:
    """Return all problems of the visible widgets."""
    settle()
    return [
        *cut_texts(window),
        *nameless(window),
        *formatted(window),
        *overlapping(window),
        *out_of_reach(window),
    ]


def cut_texts(window: QWidget) -> list[str]:
    """Return the widgets whose text is cut off."""
    settle()
    return [
        f"{_name(widget)}: {text}"
        for widget in window.findChildren(QWidget)
        if widget.isVisible() and (text := _cut_text(widget))
    ]


def nameless(window: QWidget) -> list[str]:
    """Return the controls without an accessible name or a tooltip."""
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


def formatted(window: QWidget) -> list[str]:
    """Return the widgets that would show HTML in a name of others as HTML."""
    plain, start = Qt.TextFormat.PlainText, plain_tip("x").partition("x")[0]
    found = []
    for widget in window.findChildren(QWidget):
        if not widget.isVisible() or widget.objectName().startswith("qt_"):
            continue
        is_text = isinstance(widget, QLabel) and widget.text()
        if is_text and widget.textFormat() != plain:
            found.append(f"{_name(widget)}: its text may be HTML")
        has_action = isinstance(widget, QToolButton) and widget.defaultAction()
        tip = "" if has_action else widget.toolTip()
        if tip and not tip.startswith(start):
            found.append(f"{_name(widget)}: its tooltip may be HTML")
    return found


def overlapping(window: QWidget) -> list[str]:
    """Return the siblings that overlap."""
    found = []
    for parent in (window, *window.findChildren(QWidget)):
        if not parent.isVisible() or isinstance(parent, (QMainWindow, *COMPOSITE)):
            continue
        shown = [w for w in parent.children() if _has_area(w)]
        for first, second in itertools.combinations(shown, 2):
            overlap: QRect = first.geometry() & second.geometry()
            if overlap.width() > 0 and overlap.height() > 0:
                found.append(f"{_name(first)} overlaps {_name(second)}")
    return found


def out_of_reach(window: QWidget) -> list[str]:
    """Return the scroll areas with too wide content and no horizontal scroll bar."""
    never = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    return [
        f"{_name(area)}: its content is {area.widget().width()} wide"
        for area in window.findChildren(QScrollArea)
        if area.isVisible()
        and area.widget() is not None
        and area.horizontalScrollBarPolicy() == never
        and area.widget().width() > area.viewport().width()
    ]


def controls(window: QWidget) -> Iterator[QWidget]:
    """Yield the inputs and buttons of a window that Qt has not created."""
    for kind in INTERACTIVE:
        for widget in window.findChildren(kind):
            if isinstance(widget, QScrollBar) or isinstance(widget.parent(), COMPOSITE):
                continue
            if isinstance(widget.window(), QMessageBox) and not widget.objectName():
                continue
            if widget.objectName().startswith("qt_"):
                continue
            yield widget


def out_of_order(page: QWidget) -> list[str]:
    """Return where the tab order of a page goes up, or left within a line."""
    order = [w for w in _focus_chain(page) if page.isAncestorOf(w)]
    found = []
    for first, second in itertools.pairwise(order):
        a, b = _rect_in(page, first), _rect_in(page, second)
        is_beside = min(a.bottom(), b.bottom()) > max(a.top(), b.top())
        if (b.left() < a.left()) if is_beside else (b.top() < a.top()):
            found.append(f"{_name(first)} before {_name(second)}")
    return found


def walk(window: QMainWindow) -> Iterator[str]:
    """Open everything before and after a run; yield what is open.

    The window must have a job that can be started.
    """
    from surgeon_engine.api.messages.events import Failed
    from surgeon_gui.state.run import Status

    yield from everything(window, "before a run")
    window.start_run()
    wait_until(lambda: _status(window) is Status.FINISHED)
    yield from everything(window, "after a run")
    window.session.save()
    wait_until(lambda: not window.session.state.is_busy)
    window.session.measure()
    wait_until(lambda: not window.session.state.is_busy)
    window.runs.show_run()
    yield "saved and measured"
    window.findChild(QAction, "queue_add_action").trigger()
    window.runs.show_home()
    yield "a run in the queue"
    window.show_problem(Failed("It went wrong. " * 9, "Try again. " * 9, "details"))
    window.findChild(QPushButton, "error_details_button").setChecked(True)
    yield "an error"
    window.session.dismiss_problem()


def everything(window: QMainWindow, when: str) -> Iterator[str]:
    """Open every section of Expert with its advanced settings, then every page."""
    from surgeon_gui.text.problems import Step
    from tests.helpers.windows import open_step

    for step in Step:
        open_step(window, step)
        for button in window.findChildren(QToolButton):
            if button.objectName().endswith("_advanced_button"):
                button.setChecked(True)
        yield f"{step.value}, {when}"
    for name in pages(window):
        yield f"{name}, {when}"


def pages(window: QMainWindow) -> Iterator[str]:
    """Open every page of the window, without Expert, and yield its name."""
    from surgeon_gui.window.places import Place

    window.findChild(QAction, "go_new_action").trigger()
    window.findChild(QPushButton, "expert_button").setChecked(False)
    yield "new"
    details = window.findChild(QPushButton, "model_details_button")
    if details.isVisible() and details.isEnabled():
        details.click()
        yield "details"
        window.findChild(QPushButton, "details_back_button").click()
    window.runs.show_home()
    yield "home"
    window.runs.home.compare_clicked.emit()
    yield "comparison"
    if window.session.state.shows_run:
        window.runs.show_run()
        yield "run"
    window.places.open(Place.PLAYGROUND)
    yield "playground"


def walk_dialogs(window: QMainWindow) -> Iterator[QDialog]:
    """Open the dialogs of the menus, and yield each."""
    for action, name in (
        ("sweep_action", "sweep_dialog"),
        ("commands_action", "commands_dialog"),
        ("about_action", "about_dialog"),
        ("search_hub_action", "search_dialog"),
        ("log_action", "log_window"),
    ):
        window.findChild(QAction, action).trigger()
        dialog = window.findChild(QDialog, name)
        settle()
        yield dialog
        dialog.reject()
        settle()


def wait_until(condition: Callable[[], bool]) -> None:
    """Process events until `condition` holds.

    Raises:
        TimeoutError: It does not hold within two minutes.
    """
    end = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.005)


def all_problems(window: QMainWindow) -> list[str]:
    """Return the problems of a window and its dialogs."""
    found = [f"{place}: {text}" for place in walk(window) for text in problems(window)]
    for dialog in walk_dialogs(window):
        found += [f"{dialog.objectName()}: {text}" for text in problems(dialog)]
    return found


def problems_while_paused(window: QMainWindow) -> list[str]:
    """Return the problems of a window while its run is paused."""
    from surgeon_gui.state.run import Status
    from tests.helpers.windows import LONG

    window.session.draft.load(LONG)
    wait_until(lambda: not window.session.start_obstacle())
    window.start_run()
    wait_until(lambda: bool(window.session.state.run.history))
    window.session.pause_or_resume()
    wait_until(lambda: _status(window) is Status.PAUSED)
    return _problems_of_run(window, "while paused")


def problems_after_failure(window: QMainWindow) -> list[str]:
    """Return the problems of a window after its run has failed."""
    from surgeon_gui.state.run import Status

    window.start_run()
    wait_until(lambda: _status(window) is Status.FAILED)
    return _problems_of_run(window, "after a failure")


def main() -> int:
    """Open windows in different states and print their problems."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--language", default="en")
    parser.add_argument("--theme", default="light")
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    from surgeon_gui.base import languages

    languages.choose(options.language)
    from surgeon_gui.app import make_application
    from surgeon_gui.text import labels

    labels.name_settings()
    logging.getLogger("qt").setLevel(logging.ERROR)  # the offscreen platform warns
    application = make_application(sys.argv[:1])
    width, height = map(int, options.size.split("x"))
    found = []
    for check, *engine_options in (
        (all_problems,),
        (problems_while_paused, "--pause", "0.01"),
        (problems_after_failure, "--mishap", "fail", "--at", "selection"),
    ):
        # As in the program: with a style sheet, a window takes much longer to make.
        application.setStyleSheet("")
        found += _check_window((width, height), options.theme, check, *engine_options)
    del application
    sys.stdout.write("\n".join(dict.fromkeys(found)))
    return 0


def _check_window(
    size: tuple[int, int],
    theme: str,
    check: Callable[[QMainWindow], list[str]],
    *engine_options: str,
) -> list[str]:
    """Return the problems of a new window, and those that `check` finds later."""
    from surgeon_gui.base.settings import ThemeChoice
    from surgeon_gui.base.theme import apply_theme
    from tests.helpers.windows import QUICK, close_window, open_window

    with tempfile.TemporaryDirectory() as folder:
        window = open_window(Path(folder), *engine_options)
        apply_theme(QApplication.instance(), ThemeChoice(theme))
        try:
            window.resize(*size)
            found = [f"initially: {text}" for text in problems(window)]
            window.session.draft.load(QUICK)
            wait_until(lambda: not window.session.start_obstacle())
            return found + check(window)
        finally:
            close_window(window)


def _problems_of_run(window: QMainWindow, when: str) -> list[str]:
    """Return the problems of the pages while a run stands in some way."""
    return [f"{page}, {when}: {x}" for page in pages(window) for x in problems(window)]


def _status(window: QMainWindow) -> object:
    return window.session.state.run.status


def _cut_text(widget: QWidget) -> str:
    """Return the text of a widget if it is cut off; otherwise ""."""
    if isinstance(widget, QTabBar):
        if widget.parent() is not None and widget.sizeHint().width() > widget.width():
            return f"tabs need {widget.sizeHint().width()}"
        return ""
    if isinstance(widget, QLineEdit) and not isinstance(widget.parent(), COMPOSITE):
        text = widget.placeholderText()
        width = widget.width() - 2 * 8
        if not widget.text() and widget.fontMetrics().horizontalAdvance(text) > width:
            return f"{text} (placeholder)"
        return ""
    if not isinstance(widget, (QLabel, *WITH_TEXT)) or not widget.text():
        return ""
    hint, needed = widget.sizeHint(), widget.sizeHint().height()
    if isinstance(widget, QAbstractSpinBox):
        return _cut_number(widget)
    if isinstance(widget, QLabel) and widget.wordWrap():
        needed = widget.heightForWidth(widget.width())
        words = QLabel.text(widget).replace("\n", " ").split(" ")
        widest = max(widget.fontMetrics().horizontalAdvance(word) for word in words)
        if widest > widget.width() and "/" not in widget.text():
            return f"{widget.text()} (a word)"
    elif widget.width() < hint.width() and not isinstance(widget, ElidedLink):
        return widget.text()
    return f"{widget.text()} (height)" if widget.height() < needed else ""


def _cut_number(box: QAbstractSpinBox) -> str:
    """Return the number of a spin box if it is cut off; otherwise "".

    The size hint is too large with a style sheet, so this measures the text.
    """
    edit = box.lineEdit()
    texts = [box.text()]
    if isinstance(box, QDoubleSpinBox):
        texts.append(f"{box.textFromValue(box.maximum())}{box.suffix()}")
    width = edit.width() - 2 * 2  # a line edit keeps 2 pixels free on either side
    cut = [text for text in texts if box.fontMetrics().horizontalAdvance(text) > width]
    return f"{cut[0]} (number)" if cut else ""


def _has_area(child: QObject) -> bool:
    if not isinstance(child, QWidget) or child.isWindow():
        return False
    return child.isVisible() and child.width() > 0 and child.height() > 0


def _focus_chain(page: QWidget) -> Iterator[QWidget]:
    widget = page.nextInFocusChain()
    while widget is not page:
        if _takes_tab(widget):
            yield widget
        widget = widget.nextInFocusChain()


def _takes_tab(widget: QWidget) -> bool:
    policy, proxy = widget.focusPolicy(), widget.focusProxy()
    is_usable = widget.isEnabled() and widget.isVisible()
    return bool(policy & Qt.FocusPolicy.TabFocus) and proxy is None and is_usable


def _rect_in(page: QWidget, widget: QWidget) -> QRect:
    return QRect(widget.mapTo(page, widget.rect().topLeft()), widget.size())


def _name(widget: QWidget) -> str:
    if widget.objectName():
        return widget.objectName()
    parent = widget.parentWidget()
    suffix = f" in {_name(parent)}" if parent is not None else ""
    return f"{type(widget).__name__}{suffix}"


if __name__ == "__main__":
    sys.exit(main())
