"""How tests read what a page of the window says, and choose on it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QLabel, QMessageBox

from tests.helpers.windows import find

SLOW = ("--pause", "0.03")
SLOW_AFTER = ("--pause-after", "0.03")  # what follows the run, not the run
TIP = Qt.ItemDataRole.ToolTipRole


def choose(window, name, member):
    box = find(window, name, QComboBox)
    box.setCurrentIndex(list(type(member)).index(member))


def item(window, name, member):
    """Whether a choice is enabled, and its tooltip."""
    box = find(window, name, QComboBox)
    index = list(type(member)).index(member)
    return box.model().item(index).isEnabled(), box.itemData(index, TIP)


def shown(window, name):
    """The text of a label, empty if it is not in sight."""
    label = find(window, name, QLabel)
    return label.text() if label.isVisible() else ""


def facts(window, name):
    labels = find(window, name).findChildren(QLabel)
    return "\n".join(x.text() for x in labels if x.isVisible()).replace("\xa0", " ")


def mark(window):
    return find(window, "step_export_header").view.mark


def is_on(window, name):
    return find(window, name).isEnabled()


def question(window):
    return find(window, "replace_question", QMessageBox)
