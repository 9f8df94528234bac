from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from surgeon_gui.views.live.live_view import LiveView
from surgeon_gui.views.result.view import ResultView
from surgeon_gui.widgets.layouts import scrolling, vertical


class RunPage(QWidget):
    back_clicked = Signal()
    try_clicked = Signal()
    smaller_clicked = Signal()
    gentler_clicked = Signal()
    discard_clicked = Signal()
    cancel_asked = Signal()
    use_settings_clicked = Signal()

    def __init__(self, session, report_row, question):
        super().__init__()
        self.live = LiveView()
        self.result = ResultView(session, report_row, question)
        content = QWidget()
        vertical(content, self.result, self.live)
        vertical(self, scrolling(content))

    charts = property(lambda self: self.live.charts)

    def show_state(self, state, now):
        self.live.show_run(state.shown_run, now)
        self.result.show_state(state)
