"""Lines that ask for a data set of the Hub and its parts."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLineEdit, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import button, described
from surgeon_gui.widgets.layouts import row_of, vertical

_NAMES = (
    "more_dataset_edit",
    "more_config_edit",
    "more_split_edit",
    "more_column_edit",
)


class DatasetForm(QWidget):
    """Asks for a name, a configuration, a split and a column; hidden at first."""

    accepted = Signal(object)  # tuple[str, ...], the four texts

    def __init__(self) -> None:
        super().__init__()
        self._edits = [described(QLineEdit(), name) for name in _NAMES]
        add, cancel = (
            button("more_keep_button", self._on_accepted),
            button("more_drop_button", self.hide),
        )
        column = vertical(self, spacing=GAP // 2)
        for edit in self._edits:
            edit.setPlaceholderText(CAPTIONS[edit.objectName()].label)
            edit.returnPressed.connect(self._on_accepted)
            column.addWidget(edit)
        column.addLayout(row_of(add, cancel))
        self.hide()

    def open(self) -> None:
        """Show empty lines."""
        for edit in self._edits:
            edit.clear()
        self.show()
        self._edits[0].setFocus()

    @Slot()
    def _on_accepted(self) -> None:
        self.accepted.emit(tuple(edit.text().strip() for edit in self._edits))
