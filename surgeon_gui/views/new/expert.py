"""The drawer Expert: all settings of a job, in sections, with a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from PySide6.QtCore import (
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import QAction, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QCompleter,
    QFrame,
    QLineEdit,
    QListView,
    QPushButton,
    QToolButton,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.checks import STEPS
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Step
from surgeon_gui.text.search_words import WORDS
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.step_panel import MAX_WIDTH, StepPanel
from surgeon_gui.widgets.controls import described, heading, link
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.layouts import (
    STRETCH,
    Collapsible,
    horizontal,
    vertical,
)

_ACTIONS = (  # found by the search, too
    *("open_folder_action", "open_gguf_action", "search_hub_action"),
    *("load_job_action", "save_job_action"),
)
_WORDS = Qt.ItemDataRole.UserRole  # role of the text that is searched


class Expert(QFrame):
    """A search line above the sections."""

    closed = Signal()

    def __init__(
        self,
        pages: dict[Step, Page],
        actions: Mapping[str, QAction],
        reset: Callable[[], None],
    ) -> None:
        super().__init__()
        self.setObjectName("expert_drawer")
        self.steps = StepPanel(pages)
        self._pages, self._actions = pages, actions
        self._found: dict[str, _Found] = {}
        self._search = described(QLineEdit(), "expert_search_edit")
        self._search.setPlaceholderText(tr("Search"))
        self._search.setClearButtonEnabled(True)
        self._labels = QStandardItemModel(self)
        completer = _ByWords(self._labels, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated.connect(self._on_chosen)
        self._completer, self._popup = completer, QListView()
        self._popup.setObjectName("completions")
        completer.setPopup(self._popup)
        self._search.setCompleter(completer)
        self._search.textEdited.connect(self._fill)
        self._search.returnPressed.connect(self._on_return)
        self._search.installEventFilter(self)
        self.reset = link("expert_reset_button", reset)
        close = link("expert_close_button", self.closed)
        parts = (heading(tr("Expert")), (self._search, 1), self.reset, close)
        top, column = QWidget(), QWidget()
        horizontal(top, *parts, margin=(MARGIN, 0, ROOM, 0))
        vertical(column, top, (self.steps, 1), margin=(0, MARGIN, 0, 0))
        column.setMaximumWidth(MAX_WIDTH)  # like the sections
        horizontal(self, STRETCH, (column, 1), STRETCH)  # in the middle of its room

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:  # which inputs are shown may change
            self._offer()
        return super().eventFilter(watched, event)

    def _offer(self) -> None:
        settings = (*self._hidden(), *self._settings())
        others = self._others({name for each in settings for name in each.words})
        found = (*others, *self._commands(), *settings)
        self._found = {each.label: each for each in found}
        self._fill(self._search.text())

    @Slot(str)
    def _fill(self, typed: str) -> None:
        """Offer what is found, by its label first, or else a row to that effect."""

        def rank(label: str) -> tuple[bool, int, str]:
            place = label.casefold().find(typed.casefold())
            return place < 0, place, label

        self._labels.clear()
        for label in sorted(self._found, key=rank):
            item = QStandardItem(label)
            item.setData(" ".join((label, *self._found[label].words)), _WORDS)
            self._labels.appendRow(item)
        self._completer.setCompletionPrefix(typed)
        if not self._completer.completionCount():
            row = QStandardItem(tr("Nothing found"))
            row.setData(typed, _WORDS)
            row.setEnabled(False)
            self._labels.appendRow(row)

    def _others(self, known: set[str]) -> Iterator[_Found]:
        """Yield each setting without an input on a page, with its section."""
        for page in self._pages.values():
            for form in page.findChildren(ConfigForm):
                known |= form.left_out
        for name in FIELDS.keys() - known:
            step = STEPS[name.split(".")[0]]
            label = f"{FIELDS[name].label} ({_section(step)})"
            yield _Found(label, (name, FIELDS[name].tip), self._pages[step], step)

    def _commands(self) -> Iterator[_Found]:
        for name in _ACTIONS:
            if self._actions[name].isEnabled():
                label, words = CAPTIONS[name].spoken, (WORDS.get(name, ""),)
                yield _Found(label, words, self._actions[name])

    def _settings(self) -> Iterator[_Found]:
        """Yield each input by its label, and by its section where that is another's."""
        inputs = list(self._inputs())
        counts = Counter(each.accessibleName() for _, each, _ in inputs)
        for step, each, names in inputs:
            label = each.accessibleName()
            if counts[label] > 1:
                label = f"{label} ({_section(step)})"
            yield _Found(label, (*names, *_words_of(each)), each, step)
        for step, page in self._pages.items():
            if (section := _section(step)) not in counts:
                yield _Found(section, (), page, step)

    def _inputs(self) -> Iterator[tuple[Step, QWidget, set[str]]]:
        """Yield the section of each input in use, the input, and its names in a job."""
        for step, page in self._pages.items():
            names = {
                each: {each.objectName().replace("_", ".", 1)}
                for each in page.findChildren(QWidget)
                if _is_input(each) and _is_in_use(each, page)
            }
            for form in page.findChildren(ConfigForm):
                for name, each in form.inputs():
                    if each in names or not page.isAncestorOf(each):
                        names.setdefault(each, set()).add(name)
            yield from ((step, each, found) for each, found in names.items())

    def _hidden(self) -> Iterator[_Found]:
        """Yield each setting without effect, with the input on which that depends."""
        text = tr("{setting} (depends on {other})")
        for step, page in self._pages.items():
            for form in page.findChildren(ConfigForm):
                for name, (other, entry) in form.hidden().items():
                    label = text.format(setting=FIELDS[name].label, other=other)
                    yield _Found(label, (name, FIELDS[name].tip), entry, step)

    @Slot()
    def _on_return(self) -> None:
        """Choose the first setting that is found, unless another one is chosen."""
        is_chosen = self._popup.currentIndex().isValid()
        first = self._completer.currentCompletion()
        if self._search.text() and first in self._found and not is_chosen:
            self._on_chosen(first)

    @Slot(str)
    def _on_chosen(self, label: str) -> None:
        found = self._found.get(label)
        if found is None:  # the row that says that nothing is found
            return
        control = found.target
        if isinstance(control, QAction):
            QTimer.singleShot(0, self, self._search.clear)
            control.trigger()
            return
        assert found.step is not None
        self.steps.open(found.step)
        parent = control.parentWidget()
        while parent is not None:
            if isinstance(parent, Collapsible):
                parent.button.setChecked(True)
            parent = parent.parentWidget()
        # The completer still writes its choice into the line.
        QTimer.singleShot(0, self, lambda: self._show(control))

    def _show(self, control: QWidget) -> None:
        self._search.clear()
        self.steps.ensureWidgetVisible(control)
        control.setFocus(Qt.FocusReason.ShortcutFocusReason)


class _Found(NamedTuple):
    """A setting, section or command, and the words besides its label that find it."""

    label: str
    words: tuple[str, ...]
    target: QWidget | QAction
    step: Step | None = None  # the section of a setting


class _ByWords(QCompleter):
    """Finds labels by their words, and writes the label of what is chosen."""

    def __init__(self, model: QStandardItemModel, parent: QObject) -> None:
        super().__init__(model, parent)
        self.setCompletionRole(_WORDS)

    @override
    def pathFromIndex(self, index: QModelIndex | QPersistentModelIndex) -> str:
        return str(index.data(Qt.ItemDataRole.DisplayRole))


def _section(step: Step) -> str:
    return CAPTIONS[f"step_{step.value}_header"].label


def _words_of(found: QWidget) -> Iterator[str]:
    """Yield other words that find a setting: its help, its choices, and programs."""
    yield WORDS.get(found.objectName(), "")
    yield found.accessibleDescription()
    if isinstance(found, QComboBox):
        for index in range(found.count()):
            yield found.itemText(index)


def _is_in_use(widget: QWidget, page: QWidget) -> bool:
    """Return whether nothing but a closed section below a page hides an input."""
    inner: QWidget | None = widget
    while inner is not None and inner is not page:
        parent = inner.parentWidget()
        if inner.isHidden() and not isinstance(parent, Collapsible):
            return False
        inner = parent
    return True


def _is_input(widget: QWidget) -> bool:
    """Return whether a widget is the named input of a setting."""
    takes_focus = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    is_command = isinstance(widget, QPushButton | QToolButton)
    has_name = bool(widget.objectName() and widget.accessibleName())
    return bool(takes_focus) and has_name and not is_command
