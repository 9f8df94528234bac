"""The section Model: its source, and how it is loaded."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Signal, Slot
from typing_extensions import override

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.reading import model_problem
from surgeon_gui.state.sources.resolver import resolve_model
from surgeon_gui.state.sources.text import download_error
from surgeon_gui.text.labels import BUNDLED_DEMO
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.page import Page
from surgeon_gui.widgets.controls import mark_invalid
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.layouts import add_parts
from surgeon_gui.widgets.source_edit import SourceEdit


class ModelPage(Page):
    """The source of the model, its device and its number format."""

    step = Step.MODEL
    source_entered = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._source = SourceEdit("model.source", DEMO, BUNDLED_DEMO)
        self._source.setPlaceholderText(tr("A path, or organization/name on the Hub"))
        self._source.show_clear_button()
        self._source.edited.connect(self.source_entered)
        self._source.returnPressed.connect(self._on_return_pressed)
        self._form = ConfigForm("model", ModelConfig)
        self._form.edited.connect(self._on_form_edited)
        self._form.refused.connect(self.reject_edit)
        add_parts(self.column, self._source, self._form)

    @override
    def show_state(self, state: AppState) -> None:
        if not state.model_is_chosen:
            self._source.show_value("")
        elif self._source.value() != state.config.model.source:
            self._source.show_value(state.config.model.source)
        self._form.show_config(state.config.model, self.problems(state))
        several = state.machine is not None and state.machine.gpu_count > 1
        self._form.leave_out("gpus", not several and state.config.model.gpus == 1)
        is_invalid = bool(model_problem(state) or download_error(state))
        mark_invalid(self._source, is_invalid)

    @Slot()
    def _on_return_pressed(self) -> None:
        """Retry an unchanged path that could not be read."""
        if not self._source.isModified() and self.session.state.model is None:
            self.session.draft.choose_model(resolve_model(self._source.value()))

    @Slot(object)
    def _on_form_edited(self, model: ModelConfig) -> None:
        config = self.session.state.config
        model = replace(model, source=config.model.source)
        self.session.draft.edit(replace(config, model=model))
