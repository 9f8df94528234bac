"""Functions that read the labels of a page and choose values on it."""

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QMessageBox

from surgeon_gui.widgets.choice_box import ChoiceBox
from tests.helpers.windows import find

SLOW = ("--pause", "0.05")
SLOW_AFTER = ("--pause-after", "0.15")  # requests after the run, not the run
TIP = Qt.ItemDataRole.ToolTipRole


def choose(window, name, member):
    """Choose an enum member in a combo box."""
    box = find(window, name, QComboBox)
    box.setCurrentIndex(list(type(member)).index(member))


def choose_unit(window, target):
    """Choose the unit of the size."""
    box = find(window, "size_unit_combo", ChoiceBox)
    box.choose(target)
    box.currentIndexChanged.emit(box.currentIndex())


def type_size(window, text):
    """Type a size and press Return."""
    line = find(window, "pruning_size", QLineEdit)
    line.setText(text)
    line.setModified(True)
    line.editingFinished.emit()


def size_shown(window):
    """Return the text of the size."""
    text = find(window, "pruning_size", QLineEdit).text()
    return text.replace("\N{NO-BREAK SPACE}", " ")


def item(window, name, member):
    """Return whether a choice is enabled, and its tooltip."""
    box = find(window, name, QComboBox)
    index = list(type(member)).index(member)
    return box.model().item(index).isEnabled(), box.itemData(index, TIP)


def shown(window, name):
    """Return the text of a label, or "" if it is not visible."""
    label = find(window, name, QLabel)
    return label.text() if label.isVisible() else ""


def facts(window, name):
    """Return the visible labels in a widget, one per line."""
    labels = find(window, name).findChildren(QLabel)
    return "\n".join(x.text() for x in labels if x.isVisible()).replace("\xa0", " ")


def mark(window):
    """Return the status of the export step."""
    return find(window, "step_export_header").view.mark


def preset_shown(window):
    """Return the text of the preset combo box."""
    return find(window, "preset_combo", QComboBox).currentText()


def is_on(window, name):
    """Return whether a widget or an action is enabled."""
    return find(window, name, QObject).isEnabled()


def question(window):
    """Return the question about replacing an existing export."""
    return find(window, "replace_question", QMessageBox)
