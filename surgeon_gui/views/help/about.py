"""The About dialog, and the versions for bug reports."""

from __future__ import annotations

import platform
from importlib import metadata

from PySide6 import __version__ as pyside_version
from PySide6.QtCore import Qt, Slot, qVersion
from PySide6.QtGui import QGuiApplication, QIcon, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget
from typing_extensions import override

from surgeon_engine.api.messages.events import EngineReady
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.text import labels
from surgeon_gui.widgets.controls import button, heading, text_label
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import answer_row, in_column, in_row, vertical

_ICON = 64
_WIDTH = 460
_TITLE_SCALE = 1.4
_ABOUT = tr(
    "Surgeon prunes pretrained language models.\n\n"
    "It measures how much each part contributes, removes the least important parts, "
    "updates the remaining weights, and writes a verified checkpoint. Based on The LLM "
    "Surgeon (van der Ouderaa et al., ICLR 2024)."
)
_LICENSE = tr("Free software under the MIT license, which is included.")


def own_version() -> str:
    """Return the installed version of Surgeon."""
    try:
        return metadata.version("surgeon")
    except metadata.PackageNotFoundError:
        return tr("not installed")


def versions(ready: EngineReady | None) -> tuple[tuple[str, str], ...]:
    """Return the versions needed for a bug report, as names and values."""
    window = (
        (labels.APPLICATION, own_version()),
        ("Python", platform.python_version()),
        ("Qt, PySide", f"{qVersion()}, {pyside_version}"),
        (tr("System"), f"{platform.system()} {platform.release()}"),
        (tr("Machine"), platform.machine()),
    )
    if ready is None:
        return (*window, (tr("Engine"), tr("not ready")))
    named = {name.lower() for name, _ in window}  # the same in both processes
    libraries = ((n, v) for n, v in ready.versions.items() if n.lower() not in named)
    return (*window, *libraries, (tr("Device"), ready.device))


class AboutDialog(Dialog):
    """Shows the versions, which can be copied."""

    def __init__(self, ready: EngineReady | None, parent: QWidget) -> None:
        title = tr("About {application}").format(application=labels.APPLICATION)
        super().__init__("about_dialog", title, parent)
        self._facts = versions(ready)
        facts = Facts("about_facts")
        facts.show_facts(self._facts)
        introduction = _introduction(parent.window().windowIcon())
        license, gaps = text_label(_LICENSE, quiet=True), MARGIN
        parts = (introduction, facts, license, self._buttons())
        self._column = vertical(self, *parts, margin=gaps, spacing=gaps)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        # The height depends on the font, which is known from here on.
        self.setFixedSize(_WIDTH, self._column.totalHeightForWidth(_WIDTH))

    def _buttons(self) -> QHBoxLayout:
        copy, close = (
            button("about_copy_button", self._on_copy_clicked),
            button("about_close_button", self.accept),
        )
        close.setDefault(True)
        close.setFocus()
        return answer_row(copy, close)

    @Slot()
    def _on_copy_clicked(self) -> None:
        lines = (f"{name}: {value}" for name, value in self._facts)
        QGuiApplication.clipboard().setText("\n".join(lines))


def _introduction(icon: QIcon) -> QHBoxLayout:
    """Return the icon beside the name and the description of the program."""
    picture = QLabel(pixmap=icon.pixmap(_ICON, _ICON))
    picture.setAccessibleName(labels.APPLICATION)
    name = heading(labels.APPLICATION, _TITLE_SCALE)
    about = text_label(_ABOUT)
    policy = about.sizePolicy()
    policy.setHeightForWidth(True)
    about.setSizePolicy(policy)
    column = in_column(name, about, spacing=None)
    row = in_row(spacing=2 * GAP)
    row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
    row.addLayout(column, 1)
    return row
