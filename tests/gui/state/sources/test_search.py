"""Rows and texts of a search of the Hub, and the sketch of a found model."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.sources import HubModel, HubSearched
from surgeon_engine.api.model_info.header import ModelFacts
from surgeon_engine.planning.needs import ResourceStatus
from surgeon_gui.base import paths
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.search import (
    COLUMNS,
    HubSearch,
    check_found,
    estimated_row,
    found_models,
    found_row,
    local_rows,
    search_line,
)
from surgeon_gui.text.problems import Step
from tests.helpers.fake_machine import machine
from tests.helpers.fake_sources import EXPERTS, LARGE, SMALL


def after(*events, query="tiny", **changed):
    search = HubSearch("search-1", query=query)
    for event in events:
        search = search.with_event(event)
    return AppState(
        requests={RequestKind.SEARCH: search}, **{"machine": machine(), **changed}
    )


def row_of(model, **changed):
    """Return the row of the only model that was found."""
    state = after(HubSearched((model,)), **changed)
    (found,) = found_models(state)
    return estimated_row(state, found)


def plain(row):
    return tuple(cell.replace("\xa0", " ") for cell in row.cells)


def test_found_model_shows_its_facts_and_whether_it_fits():
    row = row_of(SMALL)
    assert row.source == "hf://someone/small"
    cells = ("135 M", "269.0 MB", "apache-2.0", "1.23 M", "", "Fits")
    assert plain(row) == ("someone/small", *cells)
    assert len(row.cells) == len(COLUMNS)
    assert "LlamaForCausalLM" in row.note
    needs = row.note.replace("\xa0", " ").partition("Estimate with ")[2]
    assert needs.startswith("the current settings: Memory ")
    assert "free; Disk " in needs
    assert not row.obstacle


def test_large_gated_model_is_marked_and_does_not_fit():
    row = row_of(LARGE)
    assert plain(row)[5:] == ("Gated", "Too much")
    assert "It is gated: agree to the terms" in row.note
    assert not row.obstacle  # settings or another machine may make it fit


def test_unsupported_model_cannot_be_chosen_and_says_why():
    row = row_of(EXPERTS)
    assert plain(row)[6] == "Not supported"
    assert row.obstacle == "It is a mixture. Choose another."
    assert row.obstacle in row.note


def test_unknown_values_are_left_empty():
    bare = HubModel(ModelFacts("someone/bare"))
    row = row_of(bare)
    assert plain(row) == ("someone/bare", "", "", "", "", "", "Unknown")


def test_row_before_the_estimate_has_the_facts():
    row = found_row(SMALL)
    assert row.cells[:6] == row_of(SMALL).cells[:6]
    assert row.cells[6] == "…"


def test_fit_is_unknown_without_a_machine_or_a_valid_target():
    assert plain(row_of(SMALL, machine=None))[6] == "Unknown"
    assert check_found(after(rejected={Step.TARGET: "No."}), SMALL) is None


def test_fit_follows_the_free_memory():
    little = replace(after(), machine=machine(free=200_000_000))
    assert check_found(after(), SMALL).room is ResourceStatus.GREEN
    assert check_found(little, SMALL).room is ResourceStatus.RED


def test_disk_of_this_computer_does_not_count_for_another(monkeypatch):
    monkeypatch.setattr(paths, "free_bytes", lambda _: 1)
    here, there = after(run_parent="/"), after(run_parent="/", computer="me@box")
    assert check_found(here, SMALL).room is ResourceStatus.RED
    assert check_found(there, SMALL).room is not ResourceStatus.RED


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (AppState(), "Type a name or words to search the Hugging Face Hub."),
        (after(), "Searching the Hugging Face Hub for “tiny”…"),
        (after(Cancelled()), "Type a name or words to search the Hugging Face Hub."),
        (after(Failed("The Hub is away.", "Wait.")), "The Hub is away. Wait."),
        (after(Failed("The Hub is away.")), "The Hub is away."),
        (
            after(HubSearched(())),
            "The Hugging Face Hub has no text model for “tiny”.",
        ),
        (
            after(HubSearched((SMALL,))),
            "1 model of the Hugging Face Hub for “tiny”.",
        ),
        (
            after(HubSearched((SMALL, LARGE))),
            "2 models of the Hugging Face Hub for “tiny”, the most downloaded first.",
        ),
    ],
)
def test_search_line_states_how_the_search_stands(state, line):
    assert search_line(state) == line


def test_local_models_are_offered_recent_ones_first():
    rows = local_rows(["demo", "/models/a"], ["hf://someone/Tiny", "demo"], typed="")
    assert [(row.cells[0], row.cells[-1]) for row in rows] == [
        ("Bundled demo", "Recent"),
        ("a", "Recent"),
        ("someone/Tiny", "Downloaded"),
    ]
    assert all(len(row.cells) == len(COLUMNS) for row in rows)


def test_local_models_match_all_typed_words():
    models = ["hf://someone/Tiny-Llama", "hf://someone/Tiny-Opt"]
    rows = local_rows([], models, typed=" LLAMA  tiny")
    assert [row.source for row in rows] == models[:1]


def test_names_of_others_stay_plain_text():
    odd = msgspec.structs.replace(SMALL, license="<b>mine</b>")
    row = row_of(odd)
    assert row.cells[3] == "<b>mine</b>"
