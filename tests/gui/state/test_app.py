"""Only the answer to the latest question counts, and a crash is told in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Cancelled, EngineReady, Envelope, Failed
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import Progressed, RunFinished, Stage, StageStarted
from surgeon_engine.api.messages.sources import ModelInspected, TextPreviewed
from surgeon_engine.api.planning.estimate import estimate
from surgeon_gui.state import app as app_state
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import (
    AppState,
    Engine,
    with_config,
    with_preset,
    without_preset,
)
from surgeon_gui.state.request import Request, cancelling
from surgeon_gui.state.run import RunState
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import exported, measured

PREVIEW = TextPreviewed(("a",), ("b",), 1, 1, 2, "text")


def after(state: AppState, run: str, event) -> AppState:
    return app_state.apply(state, Envelope(run, 1.0, event))


def test_the_engine_gets_ready():
    state = after(AppState(), "", EngineReady({}, "cpu", 1))
    assert state.engine is Engine.READY


def test_an_engine_that_is_given_up_is_gone_and_says_why():
    state = after(AppState(), "", Failed("cannot start"))
    assert state.engine is Engine.UNAVAILABLE
    assert state.notice == Failed("cannot start")


def test_a_late_answer_about_a_model_is_dropped():
    asked_twice = replace(AppState(), inspection=Request("inspect-2"))
    state = after(asked_twice, "inspect-1", ModelInspected(model_summary("old")))
    assert state.model is None
    assert state.inspection.is_open
    state = after(state, "inspect-2", ModelInspected(model_summary("new")))
    assert state.model == model_summary("new")
    assert not state.inspection.is_open


def test_a_model_that_cannot_be_read_is_a_problem_of_the_question():
    asked = replace(AppState(), inspection=Request("inspect-1"))
    state = after(asked, "inspect-1", Failed("no model"))
    assert state.inspection.problem == Failed("no model")
    assert state.notice is None


def test_a_preview_is_kept_until_the_text_changes():
    asked = replace(AppState(), preview=Request("preview-1"))
    state = after(asked, "preview-1", PREVIEW)
    assert state.preview.answer == PREVIEW
    same = app_state.with_config(state, state.config)
    assert same.preview.answer == PREVIEW
    changed = RunConfig(calibration=CalibrationConfig(windows=3))
    assert app_state.with_config(state, changed).preview.answer is None


def test_another_model_forgets_what_was_found_in_the_first():
    state = replace(AppState(), inspection=Request("inspect-1", model_summary()))
    changed = RunConfig(model=ModelConfig(source="elsewhere"))
    assert app_state.with_config(state, changed).model is None
    computed = RunConfig(model=ModelConfig(dtype=Dtype.BFLOAT16))
    assert app_state.with_config(state, computed).model is not None


def test_an_edit_parts_the_draft_from_its_file():
    state = replace(AppState(), job_file="job.toml")
    changed = RunConfig(calibration=CalibrationConfig(windows=3))
    assert app_state.with_config(state, changed).job_file == ""


EXPORTED = exported("there", PruningConfig())


@pytest.mark.parametrize("event", [EXPORTED, Failed("full disk"), Cancelled()])
def test_a_save_ends_in_one_of_three_ways(event):
    state = after(replace(AppState(), save=Request("save-1")), "save-1", event)
    assert not state.save.is_open
    assert not state.is_busy
    assert state.saved == ((EXPORTED,) if event is EXPORTED else ())
    assert (state.notice == event) is isinstance(event, Failed)
    assert state.save.is_cancelled is isinstance(event, Cancelled)


def test_what_was_saved_is_listed_once():
    state = replace(AppState(), save=Request("save-1"))
    for _ in range(2):
        state = after(state, "save-1", EXPORTED)
    assert state.saved == (EXPORTED,)


@pytest.mark.parametrize("event", [measured(), Failed("no memory"), Cancelled()])
def test_a_measurement_ends_in_one_of_three_ways(event):
    asked = replace(AppState(), measurement=Request("measure-1"))
    assert asked.is_busy
    state = after(asked, "measure-1", StageStarted(Stage.MEASUREMENT, 0))
    state = after(state, "measure-1", Progressed(Stage.MEASUREMENT, 0, 3, 36))
    assert (state.measurement.stage, state.measurement.done) == (Stage.MEASUREMENT, 3)
    state = replace(state, measurement=cancelling(state.measurement))
    state = after(state, "measure-1", event)
    assert not state.is_busy
    assert (state.notice == event) is isinstance(event, Failed)


def test_what_was_saved_and_measured_is_of_one_run():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = replace(
        AppState(),
        config=RunConfig(export=ExportConfig("there", replace=True)),
        saved=(EXPORTED,),
        measurement=Request("measure-1", measured()),
    )
    state = app_state.with_run(state, run)
    assert (state.saved, state.measurement.answer) == ((), None)
    assert not state.config.export.replace  # consent is for one run


def test_another_form_is_proposed_once_a_run_has_exported():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = after(app_state.with_run(AppState(), run), "run-1", EXPORTED)
    assert state.another.format is Format.GGUF


def test_a_failed_run_is_told_and_the_next_one_clears_it():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = after(app_state.with_run(AppState(), run), "run-1", Failed("broken"))
    assert state.notice == Failed("broken")
    assert app_state.with_run(state, run).notice is None


def test_presets_leave_nothing_of_each_other_and_keep_what_was_changed_meanwhile():
    quick, other = (
        next(p for p in presets() if p.name == name)
        for name in ("quick_look", "paper_structured")
    )
    state = AppState()
    own = state.config
    state = with_preset(state, quick)
    assert state.config.calibration.windows == 16
    text = replace(state.config.calibration, text="mine.txt")
    state = with_config(state, replace(state.config, calibration=text))
    state = with_preset(state, other)
    assert state.config.pruning == other.pruning
    assert state.config.calibration == replace(own.calibration, text="mine.txt")
    state = without_preset(state)
    assert state.config.pruning == own.pruning
    assert state.config.calibration == replace(own.calibration, text="mine.txt")


def test_a_finished_run_says_how_fast_the_next_ones_are():
    model, found = model_summary(), machine()
    foreseen = estimate(RunConfig(), model, found).seconds
    run = RunState(config=RunConfig(), model=model)
    state = AppState(machine=found, run=run)
    assert app_state.with_pace(state) is state
    for took, pace in ((1.5, 1.5), (0.5, 0.5), (100, 4)):
        result = RunFinished(False, took * foreseen, 1)
        done = app_state.with_pace(replace(state, run=replace(run, result=result)))
        assert done.machine.pace == pytest.approx(pace)
        again = estimate(RunConfig(), model, done.machine).seconds
        assert again == pytest.approx(pace * foreseen)
        probed = app_state.apply(done, Envelope("probe-2", 0.0, MachineProbed(found)))
        assert probed.machine.pace == done.machine.pace
    stopped = RunFinished(True, foreseen, 1)
    cut_short = replace(state, run=replace(run, result=stopped))
    assert app_state.with_pace(cut_short) is cut_short
