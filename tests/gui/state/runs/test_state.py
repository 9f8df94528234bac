"""The list of runs: what it shows of each, its filter and its choices."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.state import (
    RunFilter,
    RunsState,
    models_of,
    outcomes_of,
    tags_of,
    with_records,
)
from tests.helpers.fake_runs import job

JOB = job()
OTHER = replace(JOB, model=ModelConfig("/models/other"))
BEST = RunRecord(
    "/runs/a",
    RunOutcome.FINISHED,
    name="best",
    config=JOB,
    notes="for the talk",
    tags=("talk", "Baseline"),
)
FAILED = RunRecord("/runs/b", RunOutcome.FAILED, config=OTHER, tags=("baseline",))
DAMAGED = RunRecord("/runs/c", RunOutcome.DAMAGED)
RECORDS = (BEST, FAILED, DAMAGED)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RunFilter(), RECORDS),
        (RunFilter(outcome=RunOutcome.FAILED), (FAILED,)),
        (RunFilter(tag="talk"), (BEST,)),
        (RunFilter(model="other"), (FAILED,)),
        (RunFilter(search="for the TALK"), (BEST,)),
        (RunFilter(search="baseline"), (BEST, FAILED)),
        (RunFilter(search="DEMO neurons 30"), (BEST,)),
        (RunFilter(search="demo rows"), ()),
        (RunFilter(search="failed"), (FAILED,)),
        (RunFilter(search="baseline", outcome=RunOutcome.FINISHED), (BEST,)),
        (RunFilter(tag="talk", model="other"), ()),
    ],
)
def test_runs_match_all_parts_of_a_filter(wanted, expected):
    assert tuple(filter(wanted.matches, RECORDS)) == expected


def test_choices_are_those_of_the_runs():
    assert outcomes_of(RECORDS) == (
        RunOutcome.FINISHED,
        RunOutcome.FAILED,
        RunOutcome.DAMAGED,
    )
    assert tags_of(RECORDS) == ("Baseline", "baseline", "talk")
    assert models_of(RECORDS) == ("Bundled demo", "other")


def test_titles_are_distinct_even_for_runs_of_the_same_second():
    twins = [replace(BEST, folder=f"/runs/{name}", name="") for name in "xyz"]
    titles = with_records(RunsState(), tuple(twins)).titles
    assert len(set(titles.values())) == 3
    assert titles["/runs/x"].endswith(", x")


def test_title_of_a_file_with_zeros_is_the_target():
    job = replace(JOB, pruning=PruningConfig(Structure.N_M, sparsity=0.5))
    record = replace(BEST, name="", config=job, file_bytes=5_700_000)
    assert "50\xa0% fewer prunable weights" in run_text.title(record)


@pytest.mark.parametrize(
    ("days", "shown"),
    [(0, "today"), (1, "yesterday"), (3, "Monday"), (9, "2025-11-24")],
)
def test_recent_days_are_named(days, shown):
    began = datetime(2025, 11, 24, 23, 50)
    record = replace(
        BEST, began=began.timestamp(), seconds=250.0, file_bytes=70_000_000
    )
    now = datetime(2025, 11, 24, 9, 0) + timedelta(days)
    text = run_text.when(record, now).replace("\xa0", " ")
    assert text == f"70.0 MB, {shown}, 4 min 10 s"
    plain = replace(record, name="")  # its title has the size
    assert run_text.when(plain, now).replace("\xa0", " ") == f"{shown}, 4 min 10 s"


def test_run_in_progress_tells_how_far_it_is():
    running = RunRecord("/runs/a", RunOutcome.RUNNING, progress=0.25)
    state = RunsState(records=(running,), live=("/runs/b", 60))
    assert state.percent(running) == 25
    state = replace(state, live=("/runs/a", 46))
    assert run_text.verdict(running, state.percent(running)) == "Running, 46\xa0%"
    assert run_text.verdict(FAILED) == "Failed"
