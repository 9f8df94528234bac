"""Controller of the architecture view: its source, layers and selection."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_engine.api.config.layer_patterns import LayerMinDensity, parse_limit
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.state.architecture.reasons import ReasonContext, block_reasons, reasons
from surgeon_gui.state.architecture.state import (
    Architecture,
    Block,
    Layer,
    Source,
    original_architecture,
    planned_architecture,
    pruned_architecture,
)
from surgeon_gui.state.diagnosis.state import DiagnosisPhase
from surgeon_gui.state.job.protections import (
    block_pattern,
    protected_layers,
    with_protection,
)
from surgeon_gui.state.run_text import nothing_removed


class ArchitectureController(QObject):
    """State of the architecture view and the actions on its selected layer."""

    changed = Signal()

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self._of_run = False  # else the model of the draft is shown
        self._diagnosis = diagnosis
        self._session = diagnosis.session
        self._shown = ""  # source of the model shown
        self._preferred: Source | None = None  # None: the first of `sources`
        self.selected = ""  # name of a layer
        self._selected_block: int | None = None  # None: the block of the selected layer
        self.architecture = Architecture()
        diagnosis.changed.connect(self._on_changed)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Available sources, the preferred one first."""
        state, run = self._session.state, self._session.state.shown_run
        if self._of_run:
            return (Source.RUN,) if run.model is not None else ()
        planned = (Source.PLAN,) if self._plan_is_current else ()
        return (*planned, Source.MODEL) if state.model is not None else planned

    @property
    def source(self) -> Source | None:
        """Source of the shown layers."""
        sources = self.sources
        if self._preferred in sources:
            return self._preferred
        return sources[0] if sources else None

    @property
    def layer(self) -> Layer | None:
        """The selected layer."""
        return self.architecture.layer(self.selected)

    @property
    def block(self) -> Block | None:
        """The selected block, or the block of the selected layer."""
        number = self._selected_block
        if self.layer is not None:
            number = self.layer.block
        blocks = self.architecture.blocks
        return next((each for each in blocks if each.number == number), None)

    @property
    def reasons(self) -> list[str]:
        """Why the selected layer or block is kept or pruned."""
        if self.layer is not None:
            return reasons(self.layer, self._reason_context())
        if self.block is not None:
            return block_reasons(self.block, self.architecture)
        return []

    @property
    def note(self) -> str:
        """The note that the run in view removed nothing; empty if it removed some."""
        return nothing_removed(self._session.state.shown_run) if self._of_run else ""

    @property
    def is_block_protected(self) -> bool:
        """True if patterns protect all layers of the block."""
        patterns = self._session.state.config.pruning.protect
        layers = self.block.layers if self.block is not None else ()
        protected = protected_layers(patterns, self.architecture.layers)
        return bool(layers) and all(layer.name in protected for layer in layers)

    @property
    def is_protected(self) -> bool:
        """True if a pattern protects the selected layer."""
        patterns = self._session.state.config.pruning.protect
        return self.selected in protected_layers(patterns, self.architecture.layers)

    @property
    def limit(self) -> float:
        """Minimum share of the selected layer by a limit of its own; 0.0 if none."""
        limits = map(parse_limit, self._session.state.config.pruning.layer_min_density)
        return next((x.share for x in limits if x.pattern == self.selected), 0.0)

    # Actions of the user

    @Slot(str)
    def select(self, name: str) -> None:
        """Select a layer by its name."""
        if name != self.selected:
            self.selected, self._selected_block = name, None
            self.changed.emit()

    def select_block(self, number: int) -> None:
        """Select a block in place of a layer."""
        if self.selected or number != self._selected_block:
            self.selected, self._selected_block = "", number
            self.changed.emit()

    def show_run(self, is_shown: bool) -> None:
        """Show the model of the run in view, or else the draft's model."""
        self._of_run = is_shown
        self._on_changed()

    def show_source(self, source: Source) -> None:
        """Show the layers of one of the `sources`."""
        self._preferred = source
        self._on_changed()

    @Slot()
    def toggle_protection(self) -> None:
        """Protect the selected layer in the next run, or remove its protection."""
        if self.layer is not None:
            self._protect(self.selected, not self.is_protected)

    @Slot()
    def protect_block(self) -> None:
        """Protect the whole block."""
        if self.block is not None:
            self._protect(block_pattern(self.block.number), True)

    @Slot()
    def toggle_block_protection(self) -> None:
        """Protect the whole block in the next run, or remove its protection."""
        if self.block is not None:
            is_protected = not self.is_block_protected
            self._protect(block_pattern(self.block.number), is_protected)

    def keep(self, share: float) -> None:
        """Set the minimum share that the layer keeps in the next run; 0 for none."""
        if self.layer is None:
            return
        pruning, name = self._session.state.config.pruning, self.selected
        limits = tuple(
            x for x in pruning.layer_min_density if parse_limit(x).pattern != name
        )
        if share:
            limits = (*limits, str(LayerMinDensity(name, share)))
        self._edit(replace(pruning, layer_min_density=limits))

    @Slot()
    def free(self) -> None:
        """Remove the protection and the limit of the selected layer."""
        if self.layer is not None:
            self._protect(self.selected, False)
            self.keep(0.0)

    def _protect(self, choice: str, is_protected: bool) -> None:
        pruning, layers = self._session.state.config.pruning, self.architecture.layers
        protect = with_protection(
            pruning.protect, choice, layers, is_protected=is_protected
        )
        self._edit(replace(pruning, protect=protect))

    def _edit(self, pruning: PruningConfig) -> None:
        if pruning != self._session.state.config.pruning:
            self._session.draft.edit_part(pruning)

    # Reactions

    @Slot()
    def _on_changed(self) -> None:
        state = self._session.state
        config = state.shown_run.config if self._of_run else state.config
        shown = config.model.source if config is not None else ""
        if shown != self._shown:  # a layer of another model may have the same name
            self._shown, self.selected, self._selected_block = shown, "", None
        self.architecture = self._current()
        self.changed.emit()

    def _current(self) -> Architecture:
        state, known = self._session.state, self._diagnosis.known
        pruning, plan = state.config.pruning, self._diagnosis.plan
        match self.source:
            case Source.RUN:
                run = state.shown_run
                assert run.model is not None
                return pruned_architecture(run.model, run, pruning)
            case Source.PLAN:
                assert known is not None
                assert plan is not None
                return planned_architecture(known.model, known.costs, plan, pruning)
            case Source.MODEL:
                assert state.model is not None
                return original_architecture(state.model, pruning)
        return Architecture()

    def _reason_context(self) -> ReasonContext:
        run = self._session.state.shown_run
        known = self._diagnosis.known
        is_of_other = known is not None and known.model != run.model
        if not self._plan_is_current or (self.source is Source.RUN and is_of_other):
            return ReasonContext(self.architecture, run=run)
        return ReasonContext(
            self.architecture,
            known,
            self._diagnosis.planner,
            self._diagnosis.plan,
            run,
        )

    @property
    def _plan_is_current(self) -> bool:
        is_up_to_date = self._diagnosis.phase is DiagnosisPhase.READY
        return is_up_to_date and self._diagnosis.plan is not None
