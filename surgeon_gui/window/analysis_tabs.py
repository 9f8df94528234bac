"""What a person can know before anything is cut, put together: views and a button."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.controllers.session import Session
from surgeon_gui.views.architecture.view import ArchitectureView
from surgeon_gui.views.diagnosis.view import DiagnosisView
from surgeon_gui.views.steps.target_page import TargetPage
from surgeon_gui.widgets.controls import button
from surgeon_gui.window.central_tabs import Centre


class AnalysisTabs(QObject):
    """The tabs of the diagnosis and of the architecture, and the way to them."""

    save_failed = Signal(str)

    def __init__(
        self, session: Session, centre: Centre, target_page: TargetPage
    ) -> None:
        super().__init__(session)
        self._centre = centre
        self.diagnosis = Diagnosis(session)
        self.view = DiagnosisView(self.diagnosis)
        centre.add_tab("diagnosis_tab", self.view)
        self.view.save_failed.connect(self.save_failed)
        self.view.part_chosen.connect(self._on_part_chosen)
        self.architect = ArchitectureController(self.diagnosis)
        architecture = ArchitectureView(self.architect)
        architecture.save_failed.connect(self.save_failed)
        centre.add_tab("architecture_tab", architecture)
        self._button = button("target_diagnose_button")
        self._button.clicked.connect(self._on_clicked)
        target_page.put_below_plan(self._button)
        centre.currentChanged.connect(self._on_side_changed)
        self._on_side_changed()

    def save_charts(self, folder: Path) -> None:
        """Write a picture of each chart into `folder`."""
        self.view.save_pictures(folder)

    @Slot(str)
    def _on_part_chosen(self, name: str) -> None:
        """Say more about a part of a map that was clicked."""
        self.architect.select(name)
        self._centre.open_tab("architecture_tab")

    @Slot()
    def _on_clicked(self) -> None:
        """Show what is known; begin to find out if nothing is."""
        self._centre.open_tab("diagnosis_tab")
        if self.diagnosis.known is None:
            self.diagnosis.diagnose()

    @Slot()
    def _on_side_changed(self) -> None:
        """Offer the way to the diagnosis only where it leads there."""
        why_not = "" if self._centre.shows_tabs else tr("Choose a model first.")
        self._button.setEnabled(not why_not)
        self._button.setToolTip(why_not or self._button.accessibleDescription())
