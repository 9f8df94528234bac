"""The two curves of a run: how good the model is, and how much of it is left."""

from __future__ import annotations

import math

from PySide6.QtCore import Slot

from surgeon_engine.events import Evaluation
from surgeon_gui.run_state import RunState
from surgeon_gui.translation import tr
from surgeon_gui.widgets.controls import button, choice_box, described
from surgeon_gui.widgets.line_chart import Line, LineChart

_PERPLEXITY, _LOSS = tr("Perplexity"), tr("Loss")


class PerplexityChart(LineChart):
    """Perplexity or loss on held-out text after each shot, with the original's."""

    def __init__(self) -> None:
        super().__init__(
            "perplexity",
            tr("Quality"),
            tr("The original is measured first; each shot then adds a point."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "perplexity_measure_combo")
        self._measure.addItems([_PERPLEXITY, _LOSS])
        self._log = button("perplexity_log_button")
        self._log.setCheckable(True)
        self.controls.addWidget(self._measure)
        self.controls.addWidget(self._log)
        self._measure.currentIndexChanged.connect(self._redraw)
        self._log.toggled.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show what a run has measured."""
        self._run = run
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        run, measure = self._run, self._measure.currentText()
        if run.baseline is None:
            self.show_line(Line(measure))
            return
        points = [(0, run.baseline), *((s.shot, s.evaluation) for s in run.history)]
        if run.corrected is not None:
            points.append((len(run.history), run.corrected.evaluation))
        values = {_PERPLEXITY: _perplexity, _LOSS: _loss}[measure]
        finite = [(x, values(e)) for x, e in points if math.isfinite(values(e))]
        self.show_line(
            Line(
                axis=tr("{measure} (nats)").format(measure=measure)
                if measure == _LOSS
                else measure,
                xs=tuple(float(x) for x, _ in finite),
                ys=tuple(y for _, y in finite),
                last_x=float(max(run.shots, len(run.history), 1)),
                baseline=values(run.baseline),
                is_log=self._log.isChecked(),
            )
        )


class ParametersChart(LineChart):
    """How many parameters the whole model has left after each shot."""

    def __init__(self) -> None:
        super().__init__(
            "parameters",
            tr("Remaining parameters"),
            tr("Each shot leaves fewer of them."),
        )

    def show_run(self, run: RunState) -> None:
        """Show what a run has left."""
        if run.model is None:
            self.show_line(Line(tr("Parameters")))
            return
        scale, unit = _scale(run.model.parameters)
        counts = [run.model.parameters, *(shot.parameters for shot in run.history)]
        self.show_line(
            Line(
                axis=tr("in {unit}").format(unit=unit) if unit else tr("Parameters"),
                xs=(0.0, *(float(shot.shot) for shot in run.history)),
                ys=tuple(count / scale for count in counts),
                last_x=float(max(run.shots, len(run.history), 1)),
                from_zero=True,
            )
        )


def _perplexity(evaluation: Evaluation) -> float:
    return evaluation.perplexity


def _loss(evaluation: Evaluation) -> float:
    return evaluation.loss


def _scale(parameters: int) -> tuple[float, str]:
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= scale:
            return scale, unit
    return 1.0, ""
