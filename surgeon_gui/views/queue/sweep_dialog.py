"""The dialog of a sweep: targets and methods, and the runs that they make."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from surgeon_engine.api.config.pruning import methods_for
from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.resource_text import free_disk
from surgeon_gui.state.job.targets import UNITS, disabled_targets, target_text
from surgeon_gui.state.queue import sweep
from surgeon_gui.state.queue.state import QueuedRun
from surgeon_gui.text.choices import CHOICES, choice_label
from surgeon_gui.text.labels import source_name
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import (
    button,
    described,
    explained,
    heading,
    problem_label,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import (
    STRETCH,
    answer_row,
    in_grid,
    scrolling,
    vertical,
)

_WIDTH = 660
_LINES = 7  # of what is found, beside a few more
_CHECK_DELAY_MS = 300  # after the last key


class SweepDialog(Dialog):
    """Plans a sweep of the draft in `state`; does not block the window's events."""

    added = Signal(object)  # tuple[QueuedRun, ...]

    def __init__(self, state: AppState, parent: QWidget) -> None:
        super().__init__("sweep_dialog", tr("Sweep"), parent)
        self._state = state
        self._runs: tuple[QueuedRun, ...] = ()
        self._free = free_disk(state.config, state.run_parent)
        pruning = state.config.pruning
        disabled = disabled_targets(pruning.structure, state.config.export.format)
        self._unit = ChoiceBox("sweep_unit_combo")
        units = {
            unit: f"{label} ({target_text(unit).unit})"
            for unit, label in UNITS.items()
            if unit not in disabled
        }
        self._unit.offer(units, pruning.target)
        self._values = described(QLineEdit(), "sweep_values_edit")
        self._unit_note = text_label(quiet=True, name="sweep_unit_note")
        self._methods = {
            method: explained(QCheckBox(choice_label(method)[0]), CHOICES[method][1])
            for method in methods_for(pruning.structure)
        }
        for method, box in self._methods.items():
            box.setObjectName(f"sweep_{method.value}_check")
            box.setChecked(method is pruning.method)
            box.toggled.connect(self._check)
        self._forecast = text_label(quiet=True, name="sweep_forecast")
        self._summary = text_label(name="sweep_summary")
        self._warning = warning_label("sweep_warning")
        self._problem = problem_label("sweep_problem")
        self._add = button("sweep_add_button", self._on_add_clicked, primary=True)
        self._cancel = button("sweep_cancel_button", self.reject)
        self._timer = QTimer(self, singleShot=True, interval=_CHECK_DELAY_MS)
        self._lay_out()
        self._timer.timeout.connect(self._check)
        self._values.textEdited.connect(self._on_edited)
        self._unit.currentIndexChanged.connect(self._on_unit_chosen)
        self._on_unit_chosen()

    def _lay_out(self) -> None:
        methods = in_grid()
        for number, box in enumerate(self._methods.values()):
            methods.addWidget(box, number // 2, number % 2)
        column = vertical(self, margin=MARGIN)
        note = tr(
            "{model}: one run for each target and method, otherwise with the settings "
            "of this job."
        ).format(model=source_name(self._state.config.model.source))
        column.addWidget(text_label(note, quiet=True))
        column.addWidget(heading(tr("Targets")))
        column.addWidget(self._unit)
        column.addWidget(self._values)
        column.addWidget(self._unit_note)
        column.addWidget(heading(tr("Methods")))
        column.addLayout(methods)
        found = QWidget()
        labels = (self._forecast, self._summary, self._warning, self._problem)
        vertical(found, *labels, STRETCH)
        area = scrolling(found)  # else the dialog would grow, and its buttons move
        area.setMinimumHeight(0)
        column.addWidget(area, 1)
        column.addLayout(answer_row(self._cancel, self._add))
        room = _LINES * self.fontMetrics().lineSpacing()
        self.resize(_WIDTH, self.minimumSizeHint().height() + room)
        self._add.setDefault(True)

    @Slot()
    def _on_unit_chosen(self) -> None:
        unit = self._unit.value
        self._values.setText(sweep.proposed_values(self._state, unit))
        show_text(self._unit_note, sweep.unit_note(self._state, unit))
        self._check()

    @Slot()
    def _on_edited(self) -> None:
        self._add.setEnabled(False)
        self._timer.start()

    @Slot()
    def _check(self) -> None:
        """Plan the runs and show what they need, or the problem."""
        self._timer.stop()
        unit = self._unit.value
        methods = tuple(x for x, box in self._methods.items() if box.isChecked())
        found = sweep.plan(self._state, unit, self._values.text(), methods)
        problem = found if isinstance(found, str) else ""
        self._runs = () if isinstance(found, str) else found
        show_text(self._forecast, sweep.forecast(self._runs, self._state.model))
        show_text(self._summary, sweep.summary(self._runs, self._free))
        show_text(self._warning, sweep.disk_warning(self._runs, self._free))
        show_text(self._problem, problem)
        self._add.setEnabled(bool(self._runs))

    @Slot()
    def _on_add_clicked(self) -> None:
        self.accept()
        self.added.emit(self._runs)
