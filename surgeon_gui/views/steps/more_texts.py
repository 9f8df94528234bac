"""Table of further calibration texts and their shares, and the buttons that edit it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from PySide6.QtCore import (
    QAbstractItemModel,
    QModelIndex,
    QPersistentModelIndex,
    QSignalBlocker,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDoubleSpinBox,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)
from typing_extensions import override

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    MoreText,
)
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.resolver import resolve_text
from surgeon_gui.state.sources.shares import max_share, new_share, share_rows
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import (
    button,
    described,
    explained,
    heading,
    problem_label,
    show_text,
)
from surgeon_gui.widgets.dialogs import FURTHER_TEXT_FILES, ask_file
from surgeon_gui.widgets.layouts import row_of, vertical
from surgeon_gui.widgets.tool_tips import plain_tip

_SHARE = 1  # column
_PERCENT = 100
_EDGES = 4
_Index = QModelIndex | QPersistentModelIndex
_NAMES = (
    "more_dataset_edit",
    "more_config_edit",
    "more_split_edit",
    "more_column_edit",
)


class MoreTexts(QWidget):
    """Shows the main text and the further ones with their shares and windows."""

    edited = Signal(object)  # CalibrationConfig

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("more_texts")
        self._config = CalibrationConfig()
        self._table = _ShareTable()
        self._table.share_edited.connect(self._on_share_edited)
        self._table.itemSelectionChanged.connect(self._show_remove_button)
        file, dataset = (
            button("more_file_button", self._on_file_clicked),
            button("more_dataset_button"),
        )
        use_builtin = partial(self._add, BUILTIN_TEXT)
        self._builtin = button("more_builtin_button", use_builtin)
        self._remove = button("more_remove_button", self._on_remove_clicked)
        self._dataset_form = DatasetForm()
        self._dataset_form.accepted.connect(self._on_dataset_accepted)
        self._problem = problem_label("more_texts_problem")
        self._refused = ""  # why a text was not added
        dataset.clicked.connect(self._dataset_form.open)
        title = FIELDS["calibration.more_texts"]
        vertical(
            self,
            explained(heading(title.label), title.tip),
            self._table,
            row_of(file, dataset),
            row_of(self._builtin, self._remove),
            self._dataset_form,
            self._problem,
        )

    def show_state(self, state: AppState, problem: str) -> None:
        """Show the texts of the draft and their problem."""
        show_text(self._problem, self._refused or problem)
        self._config = state.config.calibration
        further = self._config.more_texts
        self._table.show_texts(self._config)
        used = (self._config.text, *(more.text for more in further))
        self._builtin.setVisible(BUILTIN_TEXT not in used)
        self._remove.setVisible(bool(further))
        self._show_remove_button()

    @Slot()
    def _show_remove_button(self) -> None:
        self._remove.setEnabled(self._table.selected_text >= 0)

    @Slot()
    def _on_file_clicked(self) -> None:
        title, kinds = tr("Choose a text"), FURTHER_TEXT_FILES
        chosen, current = self._add, self._config.text
        ask_file(self, title, "", kinds, chosen, engine_path=current)

    @Slot(object)
    def _on_dataset_accepted(self, parts: tuple[str, ...]) -> None:
        name, config, split, column = parts
        if self._add(resolve_text(name), column, config, split):
            self._dataset_form.hide()

    @Slot()
    def _on_remove_clicked(self) -> None:
        number, further = self._table.selected_text, self._config.more_texts
        self._edit((*further[:number], *further[number + 1 :]))

    @Slot(int, float)
    def _on_share_edited(self, number: int, share: float) -> None:
        further = list(self._config.more_texts)
        further[number] = replace(further[number], share=share)
        self._edit(tuple(further))

    def _add(
        self, text: str, column: str = "", config: str = "", split: str = ""
    ) -> bool:
        """Add a text; show the problem and return False if it cannot be one."""
        try:
            share = new_share(self._config)
            more = MoreText(text, share, column, dataset_config=config, split=split)
        except ConfigError as error:
            self._refused = str(error)
            show_text(self._problem, self._refused)
            return False
        self._edit((*self._config.more_texts, more))
        return True

    def _edit(self, further: tuple[MoreText, ...]) -> None:
        self._refused = ""
        self.edited.emit(replace(self._config, more_texts=further))


class _ShareTable(QTableWidget):
    """A row for the main text, then one for each further text; as high as its rows."""

    share_edited = Signal(int, float)  # number of the further text, its share

    def __init__(self) -> None:
        super().__init__(0, 3)
        described(self, "more_texts_table")
        self._config: CalibrationConfig | None = None
        self.setHorizontalHeaderLabels([tr("Text"), tr("Share"), tr("Windows")])
        self.setItemDelegateForColumn(_SHARE, _ShareDelegate(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    @property
    def further(self) -> tuple[MoreText, ...]:
        """The further texts that are shown."""
        return self._config.more_texts if self._config is not None else ()

    @property
    def selected_text(self) -> int:
        """The number of the selected further text; -1 if there is none."""
        rows = self.selectionModel().selectedRows()
        return rows[0].row() - 1 if rows else -1

    def show_texts(self, config: CalibrationConfig) -> None:
        """Show the texts of a config; hidden if there is only the main text."""
        self.setVisible(bool(config.more_texts))
        if config == self._config:
            return
        self._config = config
        rows = share_rows(config)
        with QSignalBlocker(self):
            self.setRowCount(len(rows))
            for row, each in enumerate(rows):
                for column, text in enumerate((each.name, each.share, each.windows)):
                    item = QTableWidgetItem(text)
                    item.setToolTip(plain_tip(each.tip))
                    if row == 0 or column != _SHARE:
                        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                    self.setItem(row, column, item)
        height = self.horizontalHeader().sizeHint().height() + _EDGES
        self.setFixedHeight(height + sum(map(self.rowHeight, range(len(rows)))))


class _ShareDelegate(QStyledItemDelegate):
    """Edits a share in percent, below what the other texts leave."""

    def __init__(self, table: _ShareTable) -> None:
        super().__init__(table)
        self._table = table

    @override
    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: _Index
    ) -> QWidget:
        number = index.row() - 1
        box = described(QDoubleSpinBox(parent), "more_share_box")
        box.setDecimals(1)
        box.setRange(0.1, _PERCENT * max_share(self._table.further, number))
        return box

    @override
    def setEditorData(self, editor: QWidget, index: _Index) -> None:
        assert isinstance(editor, QDoubleSpinBox)
        editor.setValue(_PERCENT * self._table.further[index.row() - 1].share)

    @override
    def setModelData(
        self, editor: QWidget, model: QAbstractItemModel, index: _Index
    ) -> None:
        assert isinstance(editor, QDoubleSpinBox)
        editor.interpretText()
        number, share = index.row() - 1, round(editor.value() / _PERCENT, 3)
        if share != self._table.further[number].share:
            self._table.share_edited.emit(number, share)


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
