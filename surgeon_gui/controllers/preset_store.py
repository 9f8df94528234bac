"""The store of the user's own presets: saves, shares and deletes them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot

from surgeon_engine.api.config.presets import Preset
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job import own_presets


class PresetStore(QObject):
    """Store presets in a folder and keep the session up to date with it."""

    def __init__(
        self, session: Session, folder: Path, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._folder = folder
        self.deleted: Preset | None = None  # the latest, until a preset is saved
        found, problems = own_presets.read_presets(folder)
        session.draft.set_own_presets(tuple(found))
        if problems:
            hint = tr("The files are in {folder}.").format(folder=folder)
            session.store.report(" ".join(problems), hint)

    @property
    def _own(self) -> list[Preset]:
        return list(self._session.state.own_presets)

    def save(self, title: str) -> bool:
        """Save the settings of the draft under a title; return whether it worked.

        Raises:
            ConfigError: Not with that title.
        """
        config = self._session.state.config
        preset = own_presets.new_preset(title, config, self._own, self._folder)
        return self._write(preset)

    @Slot(str)
    def add_from_file(self, path: str) -> None:
        """Import the preset in a file and choose it."""
        with self._session.store.showing_errors():
            found = own_presets.read_preset(Path(path))
            preset = own_presets.imported_preset(found, self._own, self._folder)
            if self._write(preset):
                self._session.draft.choose_preset(preset)

    def share(self, preset: Preset, path: str) -> None:
        """Export a preset to a file."""
        try:
            own_presets.write_preset(preset, Path(path))
        except OSError as error:
            self._report(path, error)

    def delete(self, preset: Preset) -> None:
        """Delete one of the user's presets; the settings of the draft are kept."""
        try:
            own_presets.preset_path(preset, self._folder).unlink(missing_ok=True)
        except OSError as error:
            self._report(str(self._folder), error)
            return
        self.deleted = preset
        remaining = tuple(each for each in self._own if each != preset)
        self._session.draft.set_own_presets(remaining)

    @Slot()
    def restore(self) -> None:
        """Save the preset again that was deleted last."""
        if self.deleted is not None:
            self._write(self.deleted)

    def _write(self, preset: Preset) -> bool:
        try:
            own_presets.write_preset(
                preset, own_presets.preset_path(preset, self._folder)
            )
        except OSError as error:
            self._report(str(self._folder), error)
            return False
        self.deleted = None
        found, _ = own_presets.read_presets(self._folder)
        self._session.draft.set_own_presets(tuple(found))
        return True

    def _report(self, place: str, error: OSError) -> None:
        message = tr("{place} cannot be written: {reason}.").format(
            place=place, reason=error.strerror
        )
        self._session.store.report(
            message, tr("Choose a folder that you may write to.")
        )
