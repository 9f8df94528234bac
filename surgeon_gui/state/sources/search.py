"""A search of the Hub and the models that it offers, as rows of a list. No Qt.

The models of the engine's computer are offered without a search; of this one, recent
ones first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from surgeon_engine.api.messages.files import ModelsListed
from surgeon_engine.api.messages.sources import HubModel, HubSearched
from surgeon_engine.api.model_info.source_names import SCHEME
from surgeon_engine.planning.needs import Resource
from surgeon_engine.planning.resource_check import ResourceCheck, check_resources
from surgeon_engine.planning.sketch import sketch_model
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.computers import connection_wait
from surgeon_gui.state.job.resource_text import (
    LIGHTS,
    NAMES,
    format_amount,
    free_disk_of,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Step

COLUMNS = (
    tr("Model"),
    tr("Parameters"),
    tr("To download"),
    tr("License"),
    tr("Downloads"),
    tr("Access"),
    tr("Resources"),
)
NUMBERS = (1, 2, 4)  # the columns with numbers


@dataclass(frozen=True, slots=True)
class HubSearch(Request[HubSearched]):
    """The request for a search, with its words."""

    query: str = ""


class SearchRow(NamedTuple):
    """A model in the list."""

    source: str
    cells: tuple[str, ...]  # one for each column
    note: str = ""  # shown when it is selected
    obstacle: str = ""  # why it cannot be chosen


def search_of(state: AppState) -> HubSearch:
    """Return the latest search."""
    request = state.request(RequestKind.SEARCH)
    return request if isinstance(request, HubSearch) else HubSearch()


def local_rows(
    recent: Iterable[str], cached: Iterable[str], typed: str
) -> tuple[SearchRow, ...]:
    """Return the recent and the cached models whose names contain all typed words."""
    words = typed.casefold().split()
    rows = {source: tr("Recent") for source in recent}
    rows |= {source: tr("Downloaded") for source in cached if source not in rows}
    unknown = ("",) * (len(COLUMNS) - 2)
    return tuple(
        SearchRow(source, (source_name(source), *unknown, kind), source)
        for source, kind in rows.items()
        if all(word in source.casefold() for word in words)
    )


def models_there(state: AppState) -> tuple[str, ...]:
    """Return the downloaded models of another computer, once they are known."""
    listed: ModelsListed | None = state.request(RequestKind.MODELS).response
    return () if listed is None else listed.sources


def local_title(state: AppState) -> str:
    """Return the title of the list of local models."""
    if not state.computer:
        return tr("On this computer")
    return tr("On {computer}").format(computer=state.computer)


def found_models(state: AppState) -> tuple[HubModel, ...]:
    """Return the models that the latest search has found."""
    searched = search_of(state).response
    return () if searched is None else searched.models


def found_row(model: HubModel) -> SearchRow:
    """Return the row of a found model before it is estimated, which takes a moment."""
    return _row(model, "…")


def estimated_row(state: AppState, model: HubModel) -> SearchRow:
    """Return the row of a found model with the estimate of a run."""
    check = check_found(state, model)
    if check is None:
        return _row(model, tr("Unknown"))
    needs = tr("Estimate with the current settings: {needs}.")
    return _row(model, LIGHTS[check.room], needs.format(needs=_format_needs(check)))


def search_line(state: AppState) -> str:
    """Return how the latest search stands, or what to type."""
    search = search_of(state)
    if not state.is_connected:
        return connection_wait(state)
    if search.error is not None:
        return f"{search.error.message} {search.error.hint}".strip()
    if search.response is not None:
        n = len(search.response.models)
        if not n:
            return tr("The Hugging Face Hub has no text model for “{query}”.").format(
                query=search.query
            )
        return ntr(
            "{n} model of the Hugging Face Hub for “{query}”.",
            "{n} models of the Hugging Face Hub for “{query}”, the most downloaded "
            "first.",
            n,
        ).format(n=n, query=search.query)
    if search.is_open and not search.is_cancelling:
        return tr("Searching the Hugging Face Hub for “{query}”…").format(
            query=search.query
        )
    return tr("Type a name or words to search the Hugging Face Hub.")


def check_found(state: AppState, model: HubModel) -> ResourceCheck | None:
    """Check the draft with a found model; None if something is unknown."""
    if model.facts.problem or Step.TARGET in state.rejected:
        return None
    if model.sizes is None or state.machine is None:
        return None
    config = state.config
    source = replace(config.model, source=f"{SCHEME}{model.facts.name}")
    return check_resources(
        replace(config, model=source),
        sketch_model(model.facts, model.sizes),
        state.machine,
        free_disk_of(state.config, state),
    )


def _row(model: HubModel, light: str, needs: str = "") -> SearchRow:
    facts = model.facts
    obstacle = f"{facts.problem} {facts.hint}".strip()
    cells = (
        facts.name,
        numbers.count(facts.parameters) if facts.parameters else "",
        numbers.size(facts.file_bytes) if facts.file_bytes else "",
        model.license,
        numbers.count(model.downloads) if model.downloads else "",
        tr("Gated") if model.is_gated else "",
        tr("Not supported") if obstacle else light,
    )
    notes = [facts.architecture]
    if model.is_gated:
        notes.append(
            tr(
                "It is gated: agree to the terms on its page and log in with "
                "`hf auth login` before the download."
            )
        )
    note = "\n".join(filter(None, (*notes, needs, obstacle)))
    return SearchRow(f"{SCHEME}{facts.name}", cells, note, obstacle)


def _format_needs(check: ResourceCheck) -> str:
    return "; ".join(
        f"{NAMES[need.what]} {format_amount(need)}"
        for need in check.needs
        if need.what is not Resource.TIME
    )
