"""The drawer Expert: all settings of a job, in sections, with a search."""

from __future__ import annotations

from PySide6.QtCore import QStringListModel, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QCompleter, QFrame, QLineEdit, QWidget

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.widgets.controls import described, heading, link
from surgeon_gui.widgets.layouts import STRETCH, Collapsible, in_row, vertical


class Expert(QFrame):
    """A search line above the sections."""

    closed = Signal()

    def __init__(self, pages: dict[Step, Page]) -> None:
        super().__init__()
        self.setObjectName("expert_drawer")
        self.steps = StepPanel(pages)
        self._pages = pages
        self._found: dict[str, tuple[Step, QWidget]] = {}
        self._search = described(QLineEdit(), "expert_search_edit")
        self._search.setPlaceholderText(tr("Find a setting"))
        self._search.setClearButtonEnabled(True)
        self._labels = QStringListModel(self)
        completer = QCompleter(self._labels, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated.connect(self._on_chosen)
        self._search.setCompleter(completer)
        close = link("expert_close_button", self.closed)
        title = in_row(heading(tr("Expert")), STRETCH, close)
        vertical(
            self, title, self._search, (self.steps, 1), margin=(MARGIN, MARGIN, 0, 0)
        )

    def fill_search(self) -> None:
        """Offer the settings that the sections have."""
        self._found = dict(self._settings())
        self._labels.setStringList(sorted(self._found))

    def _settings(self) -> list[tuple[str, tuple[Step, QWidget]]]:
        found = []
        for step, page in self._pages.items():
            for each in page.findChildren(QWidget):
                is_input = each.focusPolicy() & Qt.FocusPolicy.TabFocus
                if is_input and each.objectName() and each.accessibleName():
                    found.append((each.accessibleName(), (step, each)))
        return found

    @Slot(str)
    def _on_chosen(self, label: str) -> None:
        step, control = self._found[label]
        self.steps.open(step)
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
