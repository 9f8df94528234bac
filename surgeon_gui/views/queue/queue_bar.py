"""Bar that offers to go on with the queue of an earlier start."""

from __future__ import annotations

from PySide6.QtCore import Slot

from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.queue.text import offer, queue_elsewhere
from surgeon_gui.views.runs.earlier_bar import Bar
from surgeon_gui.widgets.controls import button, text_label


class QueueBar(Bar):
    """Bar that says how many runs wait, or on which computer the queue is.

    It is hidden unless the queue is offered, or another computer has it.
    """

    def __init__(self, queue: QueueController) -> None:
        super().__init__()
        self._queue = queue
        self._text = text_label(name="queue_offer_label")
        self._start = button("queue_resume_button", queue.start, primary=True)
        self._take_over = button("queue_take_over_button", queue.take_over)
        later = button("queue_later_button", queue.dismiss_offer)
        self.lay_out(self._text, self._start, self._take_over, later)
        queue.changed.connect(self._redraw)
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        state = self._queue.state
        is_offered = state.is_offered and state.next is not None
        elsewhere = self._queue.elsewhere
        self._start.setVisible(is_offered)
        self._take_over.setVisible(elsewhere is not None)
        self.setVisible(is_offered or elsewhere is not None)
        if elsewhere is not None:
            self._text.setText(queue_elsewhere(elsewhere))
        elif is_offered:
            self._text.setText(offer(state))
