"""Other computers in the window: the dialog, the connection's bar, their files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow, QWidget

from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.computers import ComputersController
from surgeon_gui.controllers.session import Session
from surgeon_gui.views.bars import ConnectionBar
from surgeon_gui.views.computers.dialog import ComputersDialog
from surgeon_gui.views.computers.files_dialog import FilesDialog
from surgeon_gui.widgets.dialogs import ask_elsewhere


class ComputersMenu(QObject):
    """Let the user choose the computer of the engine, and files on it."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        actions: dict[str, QAction],
        window: QMainWindow,
    ) -> None:
        super().__init__(window)
        self._session, self._window = session, window
        self.controller = ComputersController(session, settings, self)
        self.bar = ConnectionBar(session, partial(self.controller.use, ""))
        actions["computers_action"].triggered.connect(self.show_dialog)

    @Slot()
    def show_dialog(self) -> None:
        """Open the dialog Computers."""
        ComputersDialog(self.controller, self._window).open()

    @Slot()
    def redraw(self) -> None:
        """Show the state of the session."""
        state = self._session.state
        self.bar.show_state(state)
        ask_elsewhere(self._ask_for_file if state.computer else None)

    def finish(self) -> None:
        """Cancel what is being copied, before the window closes."""
        self.controller.finish()
        ask_elsewhere(None)

    def _ask_for_file(
        self,
        parent: QWidget,
        title: str,
        wants_file: bool,
        current: str,
        on_chosen: Callable[[str], object],
    ) -> None:
        title = f"{title} ({self._session.state.computer})"
        dialog = FilesDialog(self.controller, title, wants_file, current, parent)
        dialog.chosen.connect(on_chosen)
        dialog.open()
