"""The page New: the model, the curve, the purposes, and Start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QGridLayout, QSplitter, QWidget
from typing_extensions import override

from surgeon_engine.api.config.purposes import Purpose
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.api.verdict import LIMITS, Verdict
from surgeon_engine.planning.forecast import (
    CURVE_POINTS,
    Forecast,
    RunPoint,
    cost_of_rounding,
    expected_divergence,
)
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.theme import GAP, LARGE, MARGIN, PAGE, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.diagnosis.state import DiagnosisPhase, DiagnosisResult
from surgeon_gui.state.job import changes
from surgeon_gui.state.job import headline as plan
from surgeon_gui.state.job.purposes import purpose_of, with_chosen_purpose
from surgeon_gui.state.job.targets import goal_or_none, share_with_tokens
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.reading import (
    is_model_being_read,
    model_problem,
    reading_note,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Problem, Step, blocking, sentence
from surgeon_gui.text.verdicts import PHRASES
from surgeon_gui.views.new.chips import DomainChip, LanguagesChip
from surgeon_gui.views.new.curve import Band, Curve, SizeCurve
from surgeon_gui.views.new.expert import Expert
from surgeon_gui.views.new.model_card import ModelCard
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.size_input import SizeInput
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    bold,
    button,
    chip,
    eliding_label,
    enable_unless,
    heading,
    show_button,
    show_elided,
    show_text,
    text_label,
)
from surgeon_gui.widgets.elided_link import ElidedLink
from surgeon_gui.widgets.layouts import (
    STRETCH,
    LowColumn,
    PageArea,
    card,
    horizontal,
    in_column,
    in_row,
    row_of,
    stack,
    vertical,
)

_DRAWER = 440  # pixels
_SMALL = 960  # pixels of the column, below which the buttons are below the texts
_MIN_COLUMN = 440  # pixels, with stacked controls
_AS_NEEDED = 1000  # the stretch of what takes all it needs
_EDGE = 4  # pixels beside a text
_SHADES = {Verdict.DIFFERENT: "warning", Verdict.BROKEN: "bad"}


class NewPage(QWidget):
    """Draws the draft; user actions go to the session."""

    folder_asked = Signal()  # for the result

    def __init__(
        self,
        session: Session,
        settings: Settings,
        diagnosis: Diagnosis,
        actions: Mapping[str, QAction],
    ) -> None:
        super().__init__()
        self.setObjectName("new_page")
        self._session, self._diagnosis = session, diagnosis
        self._actions = actions
        self._points: tuple[RunPoint, ...] = ()
        self._found: Forecast | None = None  # forecast of the draft
        self._obstacle: Problem | None = None  # to its start
        # The result of a diagnosis that the curve shows, and whether it applies.
        self._diagnosed: tuple[DiagnosisResult | None, DiagnosisPhase] | None = None
        self.model_card = ModelCard(session, settings, actions)
        self.size_input = SizeInput(settings)
        self._curve = SizeCurve()
        self._curve.moved.connect(self._on_curve_moved)
        self._basis = eliding_label("forecast_basis", quiet=True)
        self._basis.setWordWrap(True)
        self._measure = button("diagnose_button", diagnosis.diagnose)
        cancel = partial(session.store.cancel_request, RequestKind.DIAGNOSIS)
        self._progress = TaskProgress("diagnose", cancel, self._measure)
        self._chips = {
            purpose: chip(
                f"purpose_{purpose.value}_button", partial(self._on_purpose, purpose)
            )
            for purpose in Purpose
        }
        self.domain = DomainChip(session)
        self._languages = LanguagesChip(session)
        self._title = text_label(name="plan_label")
        self._title.setFont(bold(self._title.font(), LARGE))
        self._warning = eliding_label("plan_warning")
        self._warning.setProperty("warning", True)
        self._details = text_label(quiet=True, name="plan_details")
        self._folder = ElidedLink("plan_folder_button", self.folder_asked)
        self._quantize = button("quantize_only_button", self._on_quantize)
        self._use = button("use_possible_button", self._on_use_possible)
        add = actions["queue_add_action"].trigger
        self._add = button("queue_add_button", add)
        self._expert_button = button("expert_button")
        self._expert_button.setCheckable(True)
        start = actions["start_action"].trigger
        self._start = button("start_button", start, primary=True)
        self._start.setMinimumWidth(112)
        diagnosis.changed.connect(self._on_diagnosis_changed)
        self._lay_out()

    def _lay_out(self) -> None:
        row = in_row(heading(tr("How small?")), (self._basis, 1), self._measure)
        frame = self._frame = card(
            row, self._progress, (self._curve, 1), margin=(ROOM, MARGIN, ROOM, GAP)
        )
        of_text = (self.domain.chip, self._languages.chip)
        self._all_chips = (*self._chips.values(), *of_text)
        texts = in_row(*of_text)
        self._purposes = in_row(in_row(*self._chips.values()), texts, STRETCH)
        self._choices = in_row((self._purposes, 1), self.size_input)
        self._line = in_row((self._warning, _AS_NEEDED), (self._details, 1))
        self._below = QWidget()
        self._buttons = QWidget(self._below)  # for Tab, before the drawer
        horizontal(
            self._buttons,
            self._quantize,
            self._use,
            self._add,  # the next ones keep their places
            self._expert_button,
            self._start,
        )
        self._place: tuple[int, ...] = ()  # row, column and spans of the buttons
        grid = self._grid = QGridLayout(self._below)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(GAP // 2)
        grid.setColumnStretch(0, 1)
        grid.setRowStretch(3, 1)  # nothing is there
        grid.addWidget(self._title, 0, 0)
        grid.addLayout(self._line, 1, 0, 1, 2)
        grid.addLayout(row_of(self._folder), 2, 0)
        column = self._column = LowColumn()
        choices = in_column(self._choices, self.domain, self._languages)
        parts = (self.model_card, (frame, 1), choices, self._below)
        margin = (PAGE, ROOM, PAGE, ROOM)
        self._parts = vertical(column, *parts, margin=margin, spacing=ROOM - 4)
        area = PageArea(column, self._parts)
        area.setMinimumWidth(_MIN_COLUMN)
        self._viewport = area.viewport()
        for each in (column, self._viewport):
            each.installEventFilter(self)
        self._splitter = QSplitter()
        self._splitter.setObjectName("new_splitter")
        self._splitter.setChildrenCollapsible(False)
        self._splitter.addWidget(area)
        self._splitter.setStretchFactor(0, 1)
        vertical(self, self._splitter)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in {QEvent.Type.Resize, QEvent.Type.LayoutRequest}:
            width = self._viewport.width()
            needed = sum(each.sizeHint().width() + GAP for each in self._all_chips)
            needed += 2 * PAGE
            stack(self._purposes, is_stacked=width < needed)
            needed += self.size_input.minimumSizeHint().width()
            stack(self._choices, is_stacked=width < needed)
            self._place_buttons(is_small=width < _SMALL)
        return super().eventFilter(watched, event)

    def _place_buttons(self, *, is_small: bool) -> None:
        """Put the buttons beside the title, or below the texts.

        A problem, which takes the place of the texts, moves nothing above it.
        """
        place = (4, 0, 1, 2) if is_small else (0, 1, 1, 1)
        if place != self._place:
            self._place = place
            self._grid.addWidget(self._buttons, *place, Qt.AlignmentFlag.AlignRight)
            stack(self._line, is_stacked=is_small)
            self._show_plan(self._session.state)
            line = self._warning.fontMetrics().lineSpacing()
            title = self._title.fontMetrics().lineSpacing()
            rows = [title, 2 * line + GAP] if is_small else [line + GAP]
            rows += [x.sizeHint().height() for x in (self._folder, self._buttons)]
            self._below.setMinimumHeight(sum(rows) + GAP // 2 * (len(rows) - 1))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    @Slot()
    def _make_room(self) -> None:
        """Show the drawer in place of all above the size while it is narrow."""
        is_narrow = self.width() < _MIN_COLUMN + _DRAWER
        for each in (self.model_card, self._frame, *self._all_chips):
            each.setHidden(is_narrow and self._expert_button.isChecked())
        self.expert.setMinimumWidth(0 if is_narrow else _DRAWER)
        if is_narrow and self.expert.parentWidget() is not self._column:
            self._parts.insertWidget(0, self.expert, 1)
        elif not is_narrow and self.expert.parentWidget() is self._column:
            self._splitter.addWidget(self.expert)
            self._splitter.setSizes([self.width() - _DRAWER, _DRAWER])

    def add_expert(self, pages: dict[Step, Page]) -> Expert:
        """Add the drawer with these sections, closed at first."""
        self.expert = Expert(pages, self._actions, self._on_reset)
        self.expert.hide()
        self.expert.closed.connect(partial(self._expert_button.setChecked, False))
        self.expert.closed.connect(self._expert_button.setFocus)
        self._expert_button.toggled.connect(self.expert.setVisible)
        self._expert_button.toggled.connect(self._make_room)
        self._splitter.addWidget(self.expert)
        return self.expert

    def open_expert(self, step: Step) -> None:
        """Open the drawer at a section."""
        self._expert_button.setChecked(True)
        self.expert.steps.open(step)

    @property
    def expected(self) -> Estimate | None:
        """The expected KL of the draft's file; None: it is not known."""
        state = self._session.state
        if state.model is None:
            return None
        goal = goal_or_none(state.config, state.model)
        return expected_divergence(state.config, state.model, goal, self._found)

    def show_points(self, points: tuple[RunPoint, ...]) -> None:
        """Show the finished runs of the model on the curve."""
        if points != self._points:
            self._points = points
            self._show_curve(self._session.state)

    def show_state(
        self, state: AppState, obstacle: Problem | None, add_obstacle: str
    ) -> None:
        """Show the draft, and why it cannot be started or added to the queue."""
        self._obstacle = obstacle
        self.model_card.show_state(state)
        self._show_curve(state)
        purpose = purpose_of(state.config, state.model)
        for each, made in self._chips.items():
            made.setChecked(each is purpose)
            made.setEnabled(state.model is not None)
        self.domain.show_state(state)
        self._languages.show_state(state)
        self._show_changes(changes.changes(state))
        self._show_plan(state)
        enable_unless(self._start, blocking(obstacle))
        settings = {each.setting for each in state.problems.get(Step.TARGET, ())}
        self._use.setVisible(settings == {"target"} and self._found is not None)
        if self._found is not None and state.model is not None:
            nearest = plan.nearest_share(state, state.model, self._found)
            unit = self.size_input.unit
            size = plan.target_text(state.config, state.model, nearest, unit)
            self._use.setText(tr("Use {size}").format(size=size))
        self._add.setVisible(state.is_busy)
        enable_unless(self._add, add_obstacle)

    def _show_changes(self, changed: tuple[str, ...]) -> None:
        """Show how many settings differ from the defaults of the model and purpose."""
        label, tip = CAPTIONS["expert_button"].label, CAPTIONS["expert_button"].tip
        if changed:
            label = tr("Expert \N{MIDDLE DOT} {n} changed").format(n=len(changed))
            named = tr("Changed: {changes}.").format(changes=", ".join(changed))
            tip = f"{tip} {named}"
        show_button(self._expert_button, label, tip, is_enabled=True)
        self.expert.reset.setVisible(bool(changed))

    def _show_plan(self, state: AppState) -> None:
        line = plan.headline(state, self._found) if state.has_plan else None
        is_told = state.model is not None or state.is_busy or not state.is_connected
        is_above = self._obstacle == model_problem(state)  # on the card of the model
        problem = sentence(self._obstacle) if is_told and not is_above else ""
        title = line.title if line is not None else ""
        show_text(self._title, title)
        # What keeps the run from starting is not cut; elsewhere if there is room.
        is_stacked = self._line.direction() is QBoxLayout.Direction.TopToBottom
        self._warning.setWordWrap(bool(problem) or not title or is_stacked)
        self._show_warning(problem or (line.warning if line is not None else ""))
        details = line.details if line is not None and not problem else ""
        self._details.setText(details)
        self._folder.show_line(*plan.destination_text(state))
        is_right = not problem or state.is_busy
        self._folder.setVisible(state.model is not None and is_right)
        self._quantize.setVisible(line is not None and line.alternative is not None)

    def _show_warning(self, text: str) -> None:
        """Show a text in amber, which takes as much of its line as it needs."""
        show_elided(self._warning, text)
        needed = self._warning.fontMetrics().horizontalAdvance(text)
        self._warning.setMaximumWidth(needed + _EDGE)
        self._warning.setVisible(bool(text))

    # The curve

    def _show_curve(self, state: AppState) -> None:
        self._found = found = plan.draft_forecast(state, self._points, self._rises())
        model, config = state.model, state.config
        goal = goal_or_none(config, model) if model is not None else None
        curve = None
        if found is not None and model is not None:
            size = partial(plan.size_text, config, model)
            bands = _bands(cost_of_rounding(config, model, found))
            places = [plan.place_of_run(config, model, x.share) for x in found.points]
            curve = Curve(found, bands, size, size(found.last, is_limit=True), places)
            end = plan.end_text(config, model, found)
            show_elided(self._basis, plan.basis_text(found), tip=end)
        else:
            show_elided(self._basis, "")
        hint = sentence(state.problem(Step.TARGET)) or self._waiting(state)
        is_busy = is_model_being_read(state)
        self._curve.show_curve(curve, goal.sparsity if goal else None, hint, is_busy)
        self._show_measuring(state)

    def _waiting(self, state: AppState) -> str:
        if state.model is None and state.model_is_chosen:
            later = tr("The curve appears when the model has been read.")
            return reading_note(state) or ("" if model_problem(state) else later)
        return ""

    def _rises(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return the curve of a diagnosis that still applies."""
        planner, known = self._diagnosis.planner, self._diagnosis.known
        is_current = self._diagnosis.phase is DiagnosisPhase.READY
        if (
            planner is None
            or known is None
            or not is_current
            or not known.predicts_loss
        ):
            return None
        weights, rises = planner.curve(CURVE_POINTS)
        shares = weights / max(1, known.costs.diagnosed.prunable)
        return shares.tolist(), rises.tolist()

    def _show_measuring(self, state: AppState) -> None:
        request = state.request(RequestKind.DIAGNOSIS)
        self._progress.show_request(request)
        self._progress.show_share(self._diagnosis.progress)
        is_ready = self._diagnosis.phase is DiagnosisPhase.READY
        self._measure.setHidden(request.is_open or is_ready)
        enable_unless(self._measure, sentence(self._diagnosis.obstacle))

    # Actions of the user

    @Slot()
    def _on_diagnosis_changed(self) -> None:
        """Draw the curve again only for another result; this comes with each event."""
        diagnosed = (self._diagnosis.known, self._diagnosis.phase)
        if diagnosed == self._diagnosed:
            self._show_measuring(self._session.state)
            return
        self._diagnosed = diagnosed
        self._show_curve(self._session.state)
        self._show_plan(self._session.state)

    @Slot(float)
    def _on_curve_moved(self, share: float) -> None:
        config, model = self._session.state.config, self._session.state.model
        if model is not None:
            self.size_input.set_share(share_with_tokens(config, model, share))

    def _on_purpose(self, purpose: Purpose, _: bool = False) -> None:
        state = self._session.state
        if state.model is not None:
            chosen = with_chosen_purpose(state.config, purpose, state.model)
            self._session.draft.edit(chosen)
        self._chips[purpose].setChecked(True)

    @Slot()
    def _on_quantize(self) -> None:
        state = self._session.state
        line = plan.headline(state, self._found)
        if line is not None and line.alternative is not None:
            job = plan.quantized_only(state.config, line.alternative)
            self._session.draft.edit(job)

    @Slot()
    def _on_reset(self) -> None:
        state, draft = self._session.state, self._session.draft
        draft.drop_rejected()
        draft.edit(changes.without_changes(state))

    @Slot()
    def _on_use_possible(self) -> None:
        state, found = self._session.state, self._found
        if found is None or state.model is None:
            return
        nearest = plan.nearest_share(state, state.model, found)
        if state.config.pruning.is_sized:
            sized = plan.sized_at(state.config, state.model, nearest)
            self._session.draft.edit_part(sized)
        else:
            self._on_curve_moved(nearest)


def _bands(rounding: float) -> tuple[Band, ...]:
    """Return the ranges of the quality by their verdicts.

    The curve leaves out the cost of rounding, so the limits are lower by it.
    """
    bands, best = [], 0.0
    for verdict in Verdict:
        limits = LIMITS.get(verdict)
        limit = limits.divergence if limits is not None else math.inf
        worst = max(0.0, limit - rounding)
        label = PHRASES[verdict]
        bands.append(Band(label, best, worst, _SHADES.get(verdict, "")))
        best = worst
    return tuple(bands)
