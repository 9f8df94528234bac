"""The Diagnosis and Architecture tabs, and the button that opens the diagnosis."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.controllers.session import Session
from surgeon_gui.views.architecture.view import ArchitectureView
from surgeon_gui.views.diagnosis.view import DiagnosisView
from surgeon_gui.views.steps.target_page import TargetPage
from surgeon_gui.widgets.controls import button, enable_unless
from surgeon_gui.window.central_tabs import CentralTabs


class AnalysisTabs(QObject):
    """Create the Diagnosis and Architecture tabs and connect them."""

    def __init__(
        self, session: Session, tabs: CentralTabs, target_page: TargetPage
    ) -> None:
        super().__init__(session)
        self._tabs = tabs
        self.diagnosis = Diagnosis(session)
        diagnosis_view = DiagnosisView(self.diagnosis)
        tabs.add_tab("diagnosis_tab", diagnosis_view)
        diagnosis_view.part_chosen.connect(self._on_part_chosen)
        self.architecture = ArchitectureController(self.diagnosis)
        tabs.add_tab("architecture_tab", ArchitectureView(self.architecture))
        self._button = button("target_diagnose_button", self._on_button_clicked)
        target_page.put_below_plan(self._button)
        tabs.currentChanged.connect(self._update_button)
        self._update_button()

    @Slot(str)
    def _on_part_chosen(self, name: str) -> None:
        """Show a layer that was clicked in the diagnosis in the architecture tab."""
        self.architecture.select(name)
        self._tabs.open_tab("architecture_tab")

    @Slot()
    def _on_button_clicked(self) -> None:
        """Open the diagnosis, and start one if there is no result yet."""
        self._tabs.open_tab("diagnosis_tab")
        if self.diagnosis.known is None:
            self.diagnosis.diagnose()

    @Slot()
    def _update_button(self) -> None:
        """Enable the button only while the tabs are shown."""
        why_disabled = "" if self._tabs.shows_tabs else tr("Choose a model first.")
        enable_unless(self._button, why_disabled)
