"""The Resources tab: memory and time of a run."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.views.live.run_charts import MemoryChart, TimeChart
from surgeon_gui.widgets.controls import text_label
from surgeon_gui.widgets.layouts import vertical

_MIN_CHART = 210  # pixels; in a lower window the view scrolls


class ResourcesView(QWidget):
    """Draws the memory and the times of a `RunState`."""

    save_failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("resources_view")
        self._device = text_label(quiet=True, name="resources_device_label")
        self._memory = MemoryChart()
        self._times = TimeChart()
        column = vertical(self, self._device)
        for name, chart in (("memory", self._memory), ("times", self._times)):
            chart.explain(MEANINGS[name])
            chart.save_failed.connect(self.save_failed)
            chart.setMinimumHeight(max(_MIN_CHART, chart.minimumHeight()))
            column.addWidget(chart, 1)

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run."""
        self._device.setText(
            tr("Computed on {device}.").format(device=run.device) if run.device else ""
        )
        self._device.setVisible(bool(run.device))
        self._memory.show_run(run)
        self._times.show_run(run, now)

    def save_pictures(self, folder: Path) -> None:
        """Save each chart to `folder` as a PNG named after it."""
        self._memory.save_picture(folder / "memory.png")
        self._times.save_picture(folder / "times.png")
