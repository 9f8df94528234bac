"""The application state follows events of the latest requests and user actions."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Cancelled, EngineReady, Envelope, Failed
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import (
    Exported,
    Progressed,
    RunFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.planning.estimate import estimate
from surgeon_gui.state import app as app_state
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState, Engine, only_run_progressed, with_request
from surgeon_gui.state.job.editing import (
    preset_in,
    with_config,
    with_preset,
    without_preset,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.problems import Kind, Problem, Step
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import exported, measured, model_summary


def after(state: AppState, id_: str, event) -> AppState:
    return app_state.apply(state, Envelope(id_, 1.0, event))


def requested(kind: RequestKind, id_: str, response=None) -> AppState:
    return AppState(requests={kind: Request(id_, response)})


def test_engine_ready_event_makes_the_engine_ready():
    state = after(AppState(), "", EngineReady({}, "cpu"))
    assert state.engine is Engine.READY


def test_failed_engine_is_unavailable_with_a_notice():
    state = after(AppState(), "", Failed("cannot start"))
    assert state.engine is Engine.UNAVAILABLE
    assert state.notice == Failed("cannot start")


def test_failed_inspection_has_an_error_and_no_notice():
    state = requested(RequestKind.INSPECTION, "inspect-1")
    state = after(state, "inspect-1", Failed("no model"))
    assert state.request(RequestKind.INSPECTION).error == Failed("no model")
    assert state.notice is None


def test_another_model_makes_the_inspection_obsolete():
    inspected = ModelInspected(model_summary())
    state = requested(RequestKind.INSPECTION, "inspect-1", inspected)
    changed = RunConfig(model=ModelConfig(source="elsewhere"))
    assert with_config(state, changed).model is None
    computed = RunConfig(model=ModelConfig(dtype=Dtype.BFLOAT16))
    assert with_config(state, computed).model is not None


def test_edited_draft_has_no_job_file():
    state = replace(AppState(), job_file="job.toml")
    changed = RunConfig(calibration=CalibrationConfig(windows=3))
    assert with_config(state, changed).job_file == ""


EXPORTED = exported("there", PruningConfig())


def saving(folder: str, run: RunState) -> AppState:
    """Return a state in which the run in a folder is being saved."""
    request: Request[Exported] = Request("save-1", folder=folder)
    return with_request(AppState(run=run), RequestKind.SAVE, request)


@pytest.mark.parametrize("event", [EXPORTED, Failed("full disk"), Cancelled()])
def test_save_ends_with_each_kind_of_response(event):
    state = after(saving("here", RunState(folder="here")), "save-1", event)
    request = state.request(RequestKind.SAVE)
    assert not request.is_open
    assert not state.is_busy
    assert state.run.saved == ((EXPORTED,) if event is EXPORTED else ())
    assert (state.notice == event) is isinstance(event, Failed)
    assert request.is_cancelled is isinstance(event, Cancelled)


def test_saved_export_is_listed_once_with_its_own_run():
    opened = RunState(folder="earlier")
    state = replace(saving("here", RunState(folder="here")), opened_run=opened)
    for _ in range(2):
        state = after(state, "save-1", EXPORTED)
    assert state.run.saved == (EXPORTED,)
    assert state.shown_run == opened


@pytest.mark.parametrize("event", [measured(), Failed("no memory"), Cancelled()])
def test_measurement_ends_with_each_kind_of_response(event):
    state = requested(RequestKind.MEASUREMENT, "measure-1")
    assert state.is_busy
    state = after(state, "measure-1", StageStarted(Stage.MEASUREMENT, 0))
    state = after(state, "measure-1", Progressed(Stage.MEASUREMENT, 0, 3, 36))
    request = state.request(RequestKind.MEASUREMENT)
    assert (request.stage, request.done) == (Stage.MEASUREMENT, 3)
    state = with_request(state, RequestKind.MEASUREMENT, request.cancelling())
    state = after(state, "measure-1", event)
    assert not state.is_busy
    assert (state.notice == event) is isinstance(event, Failed)


def test_consent_and_the_draft_of_another_export_are_for_one_run():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = AppState(may_replace=True, save_draft=ExportConfig(Format.GGUF))
    state = app_state.with_run(state, run)
    assert not state.may_replace
    assert state.save_config == ExportConfig()


def test_exported_run_proposes_a_format_that_is_not_there():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = after(app_state.with_run(AppState(), run), "run-1", EXPORTED)
    assert state.save_config.format is Format.GGUF
    gguf = exported("later", PruningConfig(), ExportConfig(format=Format.GGUF))
    state = replace(state, run=replace(state.run, saved=(gguf,)))
    assert state.save_config.format is Format.MASKED
    state = replace(state, missing={"later": Problem(Kind.FILE_MISSING)})
    assert state.save_config.format is Format.GGUF


def test_notice_of_a_failed_run_is_cleared_by_the_next():
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = after(app_state.with_run(AppState(), run), "run-1", Failed("broken"))
    assert state.notice == Failed("broken")
    assert app_state.with_run(state, run).notice is None


def test_presets_are_independent_and_keep_other_edits():
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


def test_standard_preset_is_that_of_a_new_job_and_can_be_restored():
    by_name = {preset.name: preset for preset in presets()}
    new = AppState()
    assert preset_in(new) == by_name["standard"]
    quick = with_preset(new, by_name["quick_look"])
    assert quick.config.calibration.windows == 16
    assert with_preset(quick, by_name["standard"]).config == new.config
    assert without_preset(quick).config == new.config


def test_opened_run_is_in_view_until_it_is_closed_or_another_starts():
    own = AppState(run=RunState(run="run-1", status=Status.RUNNING))
    opened = app_state.with_opened_run(own, RunState(run="one", error=Failed("full")))
    assert (opened.run.run, opened.shown_run.run) == ("run-1", "one")
    assert opened.active_run.run == "run-1"
    assert opened.notice == Failed("full")
    other = app_state.with_opened_run(opened, RunState(run="two"))
    assert app_state.without_opened_run(other).shown_run == own.run
    queued = app_state.with_run(other, RunState(run="run-2"), of_queue=True)
    assert (queued.run.run, queued.shown_run.run) == ("run-2", "two")
    assert queued.active_run.run == "two"
    assert app_state.with_run(other, RunState(run="run-2")).shown_run.run == "run-2"


def test_opened_run_leaves_the_draft_as_it_is():
    own, other = RunConfig(), RunConfig(calibration=CalibrationConfig(windows=3))
    draft = AppState(
        config=own, model_is_chosen=True, problems={Step.RUN: (Problem(Kind.ERROR),)}
    )
    run = RunState(run="one", config=other, model=model_summary())
    opened = app_state.with_opened_run(draft, run)
    assert opened.shown_run.config == other
    assert (opened.config, opened.problems) == (own, draft.problems)


def test_deleted_run_is_shown_nowhere():
    state = AppState(run=RunState(run="run-1", folder="/own"))
    assert app_state.without_run(state, "/own").run == RunState()
    assert app_state.without_run(state, "/other") == state
    opened = app_state.with_opened_run(state, RunState(run="one", folder="/one"))
    assert app_state.without_run(opened, "/one").shown_run.folder == "/own"
    alone = app_state.without_run(opened, "/own")
    assert (alone.run, alone.shown_run.folder) == (RunState(), "/one")


def test_pace_is_measured_from_a_finished_run():
    model, found = model_summary(), machine()
    estimated = estimate(RunConfig(), model, found).seconds
    run = RunState(config=RunConfig(), model=model)
    state = AppState(machine=found, run=run)
    assert app_state.with_pace(state) is state
    for factor, pace in ((1.44, 1.2), (0.5, 0.5), (100, 2)):
        result = RunFinished(False, factor * estimated, 1)
        done = app_state.with_pace(replace(state, run=replace(run, result=result)))
        assert done.machine.pace == pytest.approx(pace)
        again = estimate(RunConfig(), model, done.machine).seconds
        assert again == pytest.approx(pace * estimated)
        assert done.pace == done.machine.pace
        probed = app_state.apply(done, Envelope("probe-2", 0.0, MachineProbed(found)))
        assert probed.machine.pace == done.machine.pace
    slow, usual = (
        replace(run, result=RunFinished(False, factor * estimated, 1))
        for factor in (4.0, 1.0)
    )
    delayed = app_state.with_pace(replace(state, run=slow))
    assert app_state.with_pace(replace(delayed, run=slow)).pace > delayed.pace
    assert app_state.with_pace(replace(delayed, run=usual)).pace == pytest.approx(1.0)
    stopped = RunFinished(True, estimated, 1)
    cut_short = replace(state, run=replace(run, result=stopped))
    assert app_state.with_pace(cut_short) is cut_short


def test_only_run_progressed_while_its_events_arrive():
    before = AppState(run=RunState(Status.RUNNING, run="run-1", config=RunConfig()))
    later = after(before, "run-1", StageStarted(Stage.CURVATURE, 1))
    assert later.run is not before.run
    assert only_run_progressed(before, later)
    ended = replace(later, run=replace(later.run, status=Status.FINISHED))
    assert not only_run_progressed(later, ended)
    assert not only_run_progressed(before, replace(later, config=RunConfig()))
    assert not only_run_progressed(later, later)  # an edit that changes nothing
