"""The mind of the architecture's view: which layers, before and after what, and why."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_engine.api.config.layer_patterns import parse_limit
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.state.architecture.reasons import ReasonContext, reasons
from surgeon_gui.state.architecture.state import (
    Architecture,
    Layer,
    Source,
    of_model,
    of_plan,
    of_run,
)
from surgeon_gui.state.diagnosis.state import Phase
from surgeon_gui.state.job.protections import block_pattern, protected


class ArchitectureController(QObject):
    """What the view shows, and what a person does with a layer there."""

    changed = Signal()

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self._diagnosis = diagnosis
        self._session = diagnosis.session
        self._preferred: Source | None = None  # None: the latest there is
        self.selected = ""  # the name of a layer
        self.architecture = Architecture()
        diagnosis.changed.connect(self._on_changed)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What there is to show, the best first."""
        state = self._session.state
        found = []
        same = state.shown_run.model is not None and state.shown_run.config is not None
        if state.shown_run.history and same and self._is_of_draft:
            found.append(Source.RUN)
        if self._plan_holds:
            found.append(Source.PLAN)
        if state.model is not None:
            found.append(Source.MODEL)
        return tuple(found)

    @property
    def source(self) -> Source | None:
        """What is shown."""
        sources = self.sources
        if self._preferred in sources:
            return self._preferred
        return sources[0] if sources else None

    @property
    def layer(self) -> Layer | None:
        """The layer that is looked at."""
        return self.architecture.layer(self.selected)

    @property
    def reasons(self) -> list[str]:
        """Why that layer is as it is."""
        return reasons(self.layer, self._grounds()) if self.layer is not None else []

    @property
    def is_protected(self) -> bool:
        """Whether the layer is protected, by itself or with others."""
        patterns = self._session.state.config.pruning.protect
        return self.selected in protected(patterns, self.architecture.layers)

    @property
    def limit(self) -> float:
        """The share that the layer is to keep by a limit of its own."""
        limits = map(parse_limit, self._session.state.config.pruning.layer_min_density)
        return next((x.share for x in limits if x.pattern == self.selected), 0.0)

    # what the user does

    @Slot(str)
    def select(self, name: str) -> None:
        """Look at the layer of that name."""
        if name != self.selected:
            self.selected = name
            self.changed.emit()

    def show_source(self, source: Source) -> None:
        """Show one of the `sources`."""
        self._preferred = source
        self._on_changed()

    @Slot()
    def toggle_protection(self) -> None:
        """Protect the layer from the next run on, or let it be pruned again."""
        if self.layer is not None:
            self._protect(self.selected, not self.is_protected)

    @Slot()
    def protect_block(self) -> None:
        """Protect the whole block of the layer."""
        if self.layer is not None:
            self._protect(block_pattern(self.layer.block), True)

    def keep(self, share: float) -> None:
        """Let the layer keep at least a share from the next run on; 0: any."""
        if self.layer is not None:
            self._diagnosis.limit(self.selected, share or None)

    @Slot()
    def free(self) -> None:
        """Take away what protects the layer, and what limits it by its own name."""
        if self.layer is not None:
            self._protect(self.selected, False)
            self._diagnosis.limit(self.selected, None)

    def _protect(self, choice: str, is_protected: bool) -> None:
        layers = self.architecture.layers
        self._diagnosis.protect(choice, layers, is_protected=is_protected)

    # what happens

    @Slot()
    def _on_changed(self) -> None:
        self.architecture = self._current()
        self.changed.emit()

    def _current(self) -> Architecture:
        state, known = self._session.state, self._diagnosis.known
        pruning, plan = state.config.pruning, self._diagnosis.plan
        match self.source:
            case Source.RUN:
                assert state.shown_run.model is not None
                return of_run(state.shown_run.model, state.shown_run, pruning)
            case Source.PLAN:
                assert known is not None
                assert plan is not None
                return of_plan(known.model, known.costs, plan, pruning)
            case Source.MODEL:
                assert state.model is not None
                return of_model(state.model, pruning)
        return Architecture()

    def _grounds(self) -> ReasonContext:
        run = self._session.state.shown_run
        if not self._plan_holds:
            return ReasonContext(self.architecture, run=run)
        return ReasonContext(
            self.architecture,
            self._diagnosis.known,
            self._diagnosis.planner,
            self._diagnosis.plan,
            run,
        )

    @property
    def _plan_holds(self) -> bool:
        is_there = self._diagnosis.phase is Phase.THERE
        return is_there and self._diagnosis.plan is not None

    @property
    def _is_of_draft(self) -> bool:
        """Whether the run is of the model that is chosen."""
        state = self._session.state
        config = state.shown_run.config
        return config is not None and config.model.source == state.config.model.source
