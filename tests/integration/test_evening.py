"""An evening: a sweep in the queue, the window closed meanwhile, the best exported."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QDialog, QLineEdit, QMessageBox, QTreeWidget

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.state.run import Status
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.windows import click, close_window, find, run_of

LONG_MS = 280_000  # the whole engine on a slow and busy machine
JOB = surgeon_job(
    calibration=CalibrationConfig(windows=4, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.1, shots=1, method=Method.FIRST_ORDER),
    recovery=RecoveryConfig(Recovery.REFIT, own_windows=0),
)


@pytest.fixture
def open_window(qtbot, tmp_path):
    windows = []

    def open_it():
        engine = EngineThread()
        engine.start()
        window = MainWindow(engine, Settings(), tmp_path / "runs")
        window.test_engine = engine
        window.resize(1440, 900)
        window.show()
        windows.append(window)
        return window

    yield open_it
    close_window(windows[-1])


def statuses(window):
    table = find(window, "queue_table", QTreeWidget)
    rows = range(table.topLevelItemCount())
    return [table.topLevelItem(row).text(2) for row in rows]


def dialogs():
    kinds = QDialog | QMessageBox
    return [x for x in QApplication.topLevelWidgets() if isinstance(x, kinds)]


def show(qtbot, window, folder):
    """Open a run in the window."""
    window.open_run(folder)
    qtbot.waitUntil(lambda: run_of(window).folder == str(folder), timeout=LONG_MS)


def divergence_of(folder):
    report = RunFolder(folder).read_report()
    return (
        (report.recovered or report.shots[-1]).evaluation.fidelity[0].divergence.value
    )


@pytest.mark.runtimes
@pytest.mark.timeout(900)
def test_sweep_survives_a_closed_window_and_the_best_run_is_exported(
    qtbot, open_window, tmp_path
):
    window = open_window()
    click(window, "use_demo_button")
    window.load_config(JOB)
    sweep = find(window, "sweep_action", QAction)
    qtbot.waitUntil(sweep.isEnabled, timeout=LONG_MS)
    sweep.trigger()
    find(window, "sweep_values_edit", QLineEdit).setText("10, 20, 30")
    find(window, "sweep_values_edit", QLineEdit).textEdited.emit("10, 20, 30")
    add = find(window, "sweep_add_button")
    qtbot.waitUntil(add.isEnabled, timeout=LONG_MS)
    add.click()
    qtbot.waitUntil(lambda: not [x for x in dialogs() if x.isVisible()])
    assert len(statuses(window)) == 3

    # The first run is made; then the window is closed.
    click(window, "queue_start_button")
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=LONG_MS)
    click(window, "queue_start_button")  # stop after this run
    qtbot.waitUntil(lambda: run_of(window).status is Status.FINISHED, timeout=LONG_MS)
    assert window.close()  # lets another window have the queue
    close_window(window)

    # The next window offers the rest.
    window = open_window()
    offer = find(window, "queue_resume_button")
    qtbot.waitUntil(offer.isVisible, timeout=LONG_MS)
    click(window, "queue_resume_button")
    view = window.findChild(CompareView)
    qtbot.waitUntil(view.isVisible, timeout=3 * LONG_MS)
    runs = sorted((tmp_path / "runs").glob("*/report.json"))
    assert len(runs) == 3
    assert not [x for x in dialogs() if x.isVisible()]

    # The one that is closest to the original becomes a GGUF file, and is opened again.
    best = min((report.parent for report in runs), key=divergence_of)
    other = next(report.parent for report in runs if report.parent != best)
    show(qtbot, window, best)
    click(window, "save_button")
    qtbot.waitUntil(lambda: bool(window.session.state.shown_run.saved), timeout=LONG_MS)
    show(qtbot, window, other)
    assert not window.session.state.shown_run.saved
    show(qtbot, window, best)
    (saved,) = window.session.state.shown_run.saved
    assert saved.format is Format.GGUF
    assert list((best / "gguf").glob("*.gguf"))
    assert not [x for x in dialogs() if x.isVisible()]
