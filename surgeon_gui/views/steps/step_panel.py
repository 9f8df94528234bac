"""Panel on the left with all steps, one of them open."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.state.app import AppState
from surgeon_gui.state.step_text import step_view
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.step_card import StepCard, StepHeader
from surgeon_gui.widgets.layouts import vertical

STEPS_WIDTH = 384  # pixels, of a first start
_MAX_WIDTH = 640


class StepPanel(QScrollArea):
    """Opening a step closes the others, so that all headers stay visible."""

    opened_while_hidden = Signal()

    def __init__(self, pages: Mapping[Step, Page]) -> None:
        super().__init__()
        self.setObjectName("step_panel")
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(STEPS_WIDTH)
        self.setMaximumWidth(_MAX_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        content = QWidget()
        self._column = column = vertical(content, margin=(MARGIN, MARGIN, GAP, MARGIN))
        self._cards: dict[Step, StepCard] = {}
        self._pages = pages
        for number, (step, page) in enumerate(pages.items(), start=1):
            made = StepCard(number, f"step_{step.value}_header", page)
            made.opened.connect(self._on_opened)
            column.addWidget(made)
            self._cards[step] = made
        column.addStretch()
        self._content = content
        self.setWidget(content)
        self._control: QWidget | None = None  # has the focus
        self._control_y = 0  # in the content, pixels
        self._position: int | None = None  # of the bar, before the content changes
        content.installEventFilter(self)
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._on_focus_changed)

    def open(self, step: Step) -> None:
        """Open the page of a step."""
        self._cards[step].open()
        if self.isHidden():
            self.opened_while_hidden.emit()

    def focus(self, step: Step) -> None:
        """Give the keyboard focus to the header of a step."""
        header = self._cards[step].header
        header.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def is_open(self, step: Step) -> bool:
        """Return True if the page of a step is open."""
        return self._cards[step].header.isChecked()

    def show_state(self, state: AppState) -> None:
        """Show the state of each step in its header, and whether it can be edited."""
        for step, each in self._cards.items():
            each.header.show_view(step_view(state, step))
            self._pages[step].set_read_only(not state.shows_draft)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in {QEvent.Type.LayoutRequest, QEvent.Type.Resize}:
            if self._position is None:
                self._position = self.verticalScrollBar().value()
            QTimer.singleShot(0, self, self._follow_control)
        return super().eventFilter(watched, event)

    @Slot()
    def _on_focus_changed(self) -> None:
        control = QApplication.focusWidget()
        self._control = None
        if control is not None and self._content.isAncestorOf(control):
            self._control, self._control_y = control, self._y_of(control)

    @Slot()
    def _follow_control(self) -> None:
        """Keep the control in use where it is on the screen.

        Otherwise a message that appears above a spin box would move its buttons away
        from the pointer, and the next click would change another setting.
        """
        position, self._position = self._position, None
        control = QApplication.focusWidget()
        if control is None or control is not self._control or not control.isVisible():
            return
        before, self._control_y = self._control_y, self._y_of(control)
        if position is None or isinstance(control, StepHeader):
            return
        if -control.height() < before - position < self.viewport().height():
            # The bar may have moved by itself, as the content got shorter.
            self.verticalScrollBar().setValue(position + self._control_y - before)

    def _y_of(self, control: QWidget) -> int:
        return control.mapTo(self._content, QPoint()).y()

    @Slot(object)
    def _on_opened(self, opened: StepCard) -> None:
        for each in self._cards.values():
            if each is not opened:
                each.close_page()
        QTimer.singleShot(0, self, self._bring_open_page_into_view)

    @Slot()
    def _bring_open_page_into_view(self) -> None:
        """Scroll to the open page, after the size of the closed page was applied."""
        for each in self._cards.values():
            each.update_layout()
        self._column.activate()
        for each in self._cards.values():
            if each.header.isChecked():
                each.bring_into_view()
