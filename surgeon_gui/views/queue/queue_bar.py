"""Bar that offers to go on with the queue of an earlier start."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFrame

from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.queue.text import offer
from surgeon_gui.views.runs.earlier_bar import lay_out_bar
from surgeon_gui.widgets.controls import button, text_label


class QueueBar(QFrame):
    """Bar that says how many runs wait; hidden unless the queue is offered."""

    def __init__(self, queue: QueueController) -> None:
        super().__init__()
        self._queue = queue
        self._text = text_label()
        self._text.setObjectName("queue_offer_label")
        start = button("queue_resume_button", primary=True)
        start.clicked.connect(queue.start)
        later = button("queue_later_button")
        later.clicked.connect(queue.dismiss_offer)
        lay_out_bar(self, self._text, start, later)
        queue.changed.connect(self._redraw)
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        state = self._queue.state
        is_offered = state.is_offered and state.next is not None
        self.setVisible(is_offered)
        if is_offered:
            self._text.setText(offer(state))
