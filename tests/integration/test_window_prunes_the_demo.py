"""The demo is pruned through the controls of the window."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QPlainTextEdit

from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import Offload
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state.run import Status
from tests.helpers.windows import click, find, run_of

LONG_MS = 280_000  # the whole engine on a slow and busy machine


@pytest.mark.slow
def test_demo_is_pruned_step_by_step(qtbot, real_window, tmp_path):
    window = real_window
    start = find(window, "start_button")

    click(window, "use_demo_button")
    qtbot.waitUntil(start.isEnabled, timeout=LONG_MS)

    click(window, "step_calibration_header")
    find(window, "calibration_windows").setValue(8)
    find(window, "calibration_validation_windows").setValue(4)
    find(window, "calibration_window_length").setValue(64)
    click(window, "preview_button")
    preview = find(window, "preview_text", QPlainTextEdit)
    qtbot.waitUntil(lambda: len(preview.toPlainText()) > 100, timeout=LONG_MS)

    click(window, "step_target_header")
    find(window, "sparsity_slider").setValue(25)
    find(window, "pruning_shots").setValue(2)
    find(window, "recovery_own_windows").setValue(2)

    click(window, "step_run_header")
    start.click()
    qtbot.waitUntil(lambda: not run_of(window).status.is_busy, timeout=LONG_MS)

    run = run_of(window)
    assert run.status is Status.FINISHED, run.error
    assert [shot.shot for shot in run.history] == [1, 2]
    assert run.history[-1].sparsity == pytest.approx(0.25, abs=0.03)
    assert run.history[-1].parameters < run.model.parameters
    assert run.recovered.nats_after < run.recovered.nats_before
    assert run.evaluation == run.recovered.evaluation
    report = RunFolder(tmp_path / "runs" / run.folder).read_report()
    settled = report.config.recovery
    assert settled.level is Recovery.DISTILLATION
    model = replace(run.config.model, offload=Offload.OFF)
    pruning = report.config.pruning
    assert pruning.width_multiple == 1  # automatic before
    pruning = replace(run.config.pruning, structure=pruning.structure)
    expected = replace(run.config, model=model, pruning=pruning, recovery=settled)
    assert report.config == expected
    assert find(window, "phase_label").text().startswith("Finished")
    window.save_charts(tmp_path)
    for name in ("perplexity", "sparsity"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
