"""Card for a model on the Hub: download, progress and Cancel."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.sources import DownloadController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.reading import needs_download
from surgeon_gui.state.sources.text import (
    download_line,
    download_obstacle,
    download_title,
)
from surgeon_gui.widgets.controls import bold, button, enable_unless, text_label
from surgeon_gui.widgets.layouts import add_parts, inside_card
from surgeon_gui.widgets.progress import ProgressBar


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
