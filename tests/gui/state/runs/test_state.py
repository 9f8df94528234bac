"""The filter of the list of runs, and titles that tell runs apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.config.run import ModelConfig
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
