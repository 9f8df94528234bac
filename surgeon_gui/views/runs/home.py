from PySide6.QtCore import Signal

from surgeon_gui.views.runs.runs_panel import RunsPanel


class RunsHome(RunsPanel):
    new_clicked = Signal()

    def __init__(self, runs, queue_panel):
        super().__init__(runs)
        self.layout().insertWidget(0, queue_panel)
