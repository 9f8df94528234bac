"""The page of a run."""

import pytest
from PySide6.QtWidgets import QVBoxLayout, QWidget

from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.report.reports import ReportRow
from surgeon_gui.views.run.page import RunPage


@pytest.fixture
def page(qtbot, session):
    host = QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    made = RunPage(session, ReportRow(), ReplaceQuestion(session.store, host))
    made.session = session
    column.addWidget(made)
    host.resize(1100, 900)
    host.show()
    qtbot.waitExposed(host)
    yield made
    del host
