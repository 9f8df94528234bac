"""Write the page objects.md of the site: the object names of all controls.

    python docs/generate_objects.py        prints the page

The page is made from a window that is not shown, and from the captions of controls that
exist only in dialogs. `hooks.py` adds it to the site, so it cannot be out of date.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PySide6.QtCore import QObject

    from surgeon_gui.window.main_window import MainWindow

ROOT = Path(__file__).parents[1]
WINDOW = ROOT / "surgeon_gui"
_ROOMS = ("surgeon_gui.views.", "surgeon_gui.window.")
_QT_NAMES = ("qt_", "_q_", "Scroll")
# An action for each recent file.
_GENERATED = re.compile(r"recent_\w+_action_\d+")
_COMPOSED = "Names that the code composes"
_INTRODUCTION = """\
# Names of controls

Each control of the window has a stable object name. Tests and accessibility tools find
a control by it: `window.findChild(QPushButton, "start_button")`. A setting is named
after the section and the field of the config, such as `pruning_shots`. This page is
generated from the window.

*Open recent* has an action for each entry, such as `recent_run_action_1`.
"""


class Control(NamedTuple):
    """A control: its object name, kind and caption, and the file that creates it."""

    name: str
    kind: str
    label: str
    file: str


def controls_of(window: MainWindow) -> list[Control]:
    """Return the named inputs, buttons and actions of a window, sorted by name."""
    found = [_describe(item) for item in _named_items(window)]
    return sorted(set(found))


def dialog_controls(shown: Iterable[Control]) -> list[Control]:
    """Return the controls with a caption that are not in the window itself."""
    from surgeon_gui.text.captions import CAPTIONS

    names = sorted(set(CAPTIONS) - {control.name for control in shown})
    return [
        Control(name, _kind_by_name(name), CAPTIONS[name].spoken, _file_with(name))
        for name in names
    ]


def page(window: MainWindow) -> str:
    """Return the page about a window."""
    shown = controls_of(window)
    by_file = defaultdict(list)
    for control in (*shown, *dialog_controls(shown)):
        by_file[control.file].append(control)
    sections = []
    for file, controls in sorted(by_file.items()):
        rows = [f"| `{c.name}` | {c.kind} | {_cell(c.label)} |" for c in controls]
        heading = (
            f"## {file or _COMPOSED}\n\n| name | kind | caption |\n|---|---|---|\n"
        )
        sections.append(heading + "\n".join(rows) + "\n")
    return "\n".join((_INTRODUCTION, *sections))


def main() -> int:
    """Print the page and return 0."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path.insert(0, str(ROOT))
    from surgeon_gui.base import languages

    languages.choose("en")
    from surgeon_gui.app import make_application
    from surgeon_gui.base.settings import Settings
    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.window.main_window import MainWindow

    make_application(sys.argv[:1])
    with tempfile.TemporaryDirectory(prefix="surgeon-objects-") as folder:
        engine = EngineThread()  # not started: the window waits for it
        window = MainWindow(engine, Settings(), Path(folder))
        sys.stdout.write(page(window))
        sys.stdout.flush()
    os._exit(0)  # nothing to save; closing would ask and write settings


def _named_items(window: MainWindow) -> Iterator[QObject]:
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import (
        QAbstractButton,
        QAbstractSlider,
        QAbstractSpinBox,
        QComboBox,
        QLineEdit,
        QPlainTextEdit,
        QScrollBar,
        QTextEdit,
    )

    kinds = (
        QAbstractButton,
        QAbstractSlider,
        QAbstractSpinBox,
        QComboBox,
        QLineEdit,
        QPlainTextEdit,
        QTextEdit,
        QAction,
    )
    for kind in kinds:
        for item in window.findChildren(kind):
            name = item.objectName()
            is_scroll_bar = isinstance(item, QScrollBar)
            if name and not is_scroll_bar and not _is_left_out(name):
                yield item


def _is_left_out(name: str) -> bool:
    return name.startswith(_QT_NAMES) or _GENERATED.fullmatch(name) is not None


def _describe(item: QObject) -> Control:
    from surgeon_gui.text.captions import CAPTIONS

    name = item.objectName()
    caption = CAPTIONS.get(name)
    text = caption.spoken if caption else _spoken_name(item)
    return Control(name, _kind(item), text, _file_of(item))


def _spoken_name(item: QObject) -> str:
    from surgeon_gui.text.captions.caption import spoken

    named = getattr(item, "accessibleName", str)()
    return spoken(named or getattr(item, "text", str)())


def _kind(item: QObject) -> str:
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import (
        QAbstractSlider,
        QAbstractSpinBox,
        QCheckBox,
        QComboBox,
        QLineEdit,
        QPushButton,
        QRadioButton,
        QToolButton,
    )

    kinds = {
        QAction: "action",
        QCheckBox: "check box",
        QRadioButton: "choice",
        QComboBox: "choice",
        QPushButton: "button",
        QToolButton: "button",
        QAbstractSlider: "slider",
        QAbstractSpinBox: "number",
        QLineEdit: "line",
    }
    return next(
        (kind for each, kind in kinds.items() if isinstance(item, each)), "text"
    )


def _kind_by_name(name: str) -> str:
    kinds = {
        "button": "button",
        "action": "action",
        "edit": "line",
        "filter": "line",
        "combo": "choice",
        "check": "check box",
        "box": "number",
        "spin": "number",
        "list": "list",
        "table": "table",
        "tree": "tree",
    }
    return kinds.get(name.rpartition("_")[2], "display")


def _file_of(item: QObject) -> str:
    """Return the file of the nearest widget around an item that is a view."""
    around: QObject | None = item
    while around is not None:
        module = type(around).__module__
        if module.startswith(_ROOMS):
            return module.replace(".", "/") + ".py"
        around = around.parent()
    return ""


@cache
def _sources() -> dict[str, str]:
    """Return the text of each file of the window that may create controls."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for room in ("views", "window", "widgets")
        for path in sorted((WINDOW / room).rglob("*.py"))
    }


def _file_with(name: str) -> str:
    found = (file for file, text in _sources().items() if f'"{name}"' in text)
    return next(found, "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
