"""Resources a run needs, and whether they are available, before it starts."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame

from surgeon_engine.planning.needs import Need, Resource, ResourceStatus
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import alternatives, resource_text
from surgeon_gui.state.job.plan_text import brief_sizes
from surgeon_gui.state.sources.reading import is_model_due, wait_note
from surgeon_gui.widgets.controls import (
    button,
    heading,
    line_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dot import Dot, Shape
from surgeon_gui.widgets.layouts import in_grid, row_of, vertical

_LIGHT = 16  # pixels
_LIGHTS = {
    ResourceStatus.GREEN: (Shape.TICK, "good"),
    ResourceStatus.YELLOW: (Shape.WARNING, "warning"),
    ResourceStatus.RED: (Shape.CROSS, "bad"),
}


class PlanCard(QFrame):
    """A row with a light for each resource, and a button that makes the run fit."""

    fit_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("plan_card")
        self.setProperty("card", "true")
        title = heading(tr("Plan"))
        self._sizes = text_label(name="plan_sizes")
        self._rows = {resource: _NeedRow(resource) for resource in Resource}
        self._advice = text_label(quiet=True, name="plan_advice")
        self._waiting = text_label(quiet=True, name="plan_waiting")
        self._recovery = text_label(quiet=True, name="plan_recovery")
        self.fit_button = button("fit_button", self.fit_clicked)
        self._changed = text_label(quiet=True, name="fit_note")
        needs = in_grid(wide=1, below=GAP // 2)
        for number, row in enumerate(self._rows.values()):
            widgets = (row.name, row.amount, row.light, row.word)
            for column, widget in enumerate(widgets):
                needs.addWidget(widget, number, column)
        margin = (MARGIN, GAP, MARGIN, MARGIN)
        above = (title, self._sizes, self._waiting)
        below = (self._recovery, self._advice, self._changed, row_of(self.fit_button))
        vertical(self, *above, needs, *below, margin=margin)

    def show_state(self, state: AppState, changed: str) -> None:
        """Show the plan of the draft, and the settings `changed` to make it fit.

        A target that is impossible has no plan: the form above shows its problem.
        """
        self.setVisible(state.has_plan)
        model = state.model if state.has_plan else None
        show_text(
            self._sizes,
            brief_sizes(state.config, model, on_cuda=state.on_cuda) if model else "",
        )
        fit = state.resource_check
        advice = alternatives.advice(state.config, model) if model else ""
        show_text(self._advice, advice)
        show_text(
            self._waiting,
            _waiting_text(state) if fit is None and state.has_plan else "",
        )
        needs = {need.what: need for need in fit.needs} if fit is not None else {}
        for resource, row in self._rows.items():
            row.show_need(needs.get(resource))
        show_text(self._recovery, resource_text.describe_settled(fit))
        show_text(self._changed, changed)
        is_short = fit is not None and fit.room is not ResourceStatus.GREEN
        self.fit_button.setVisible(is_short)


def _waiting_text(state: AppState) -> str:
    source = state.config.model.source
    if is_model_due(state) and (note := wait_note(state, source)):
        return note
    if state.machine is not None:
        return ""
    if state.computer:
        return tr("The engine is checking the resources of {computer}.").format(
            computer=state.computer
        )
    return tr("The engine is checking the resources of this machine.")


class _NeedRow:
    """Name, amount and light of one resource."""

    def __init__(self, resource: Resource) -> None:
        name = resource.name.lower()
        self.name = line_label(resource_text.NAMES[resource])
        self.amount = text_label(name=f"plan_{name}")
        self.light = Dot(_LIGHT)
        self.light.setObjectName(f"plan_{name}_light")
        self.word = line_label()

    def show_need(self, need: Need | None) -> None:
        """Show the amount; hidden if it is unknown (None)."""
        is_lit = need is not None and resource_text.has_light(need)
        self.name.setVisible(need is not None)
        self.amount.setVisible(need is not None)
        self.light.setVisible(is_lit)
        self.word.setVisible(is_lit)
        if need is not None:
            self.amount.setText(resource_text.format_amount(need))
            self.light.show_shape(*_LIGHTS[need.light])
            self.word.setText(resource_text.light_label(need))
