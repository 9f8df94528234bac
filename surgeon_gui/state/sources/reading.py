"""Parts of the draft that the engine has yet to read: its model, and small texts.

The engine reads nothing during a run or another task.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.computers import connection_wait
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.resolver import is_small_file, is_to_be_downloaded
from surgeon_gui.state.sources.text import facts_problem
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Kind, Problem, Step, of_error


def is_model_due(state: AppState) -> bool:
    """Return True if a model is chosen, has no problem and has not been read."""
    has_failed = state.request(RequestKind.INSPECTION).error is not None
    problem = source_problem(state) or facts_problem(state)
    is_missing = state.model_is_chosen and state.model is None
    return is_missing and not has_failed and problem is None


def is_text_due(state: AppState) -> bool:
    """Return True if the texts are read before a run, and have not been read."""
    request = state.request(RequestKind.PREVIEW)
    is_due = request.is_open or not request.id
    return is_due and _is_read_before(state.config.calibration)


def needs_download(state: AppState) -> bool:
    """Return True if the model is on the Hub and has to be downloaded first.

    Only its engine can look into the cache of another computer.
    """
    source = state.config.model.source
    if not state.model_is_chosen:
        return False
    if not state.computer:
        return is_to_be_downloaded(source)
    name, error = hub_name(source), state.request(RequestKind.INSPECTION).error
    return (
        name is not None and error is not None and error.message == name.not_downloaded
    )


def model_problem(state: AppState) -> Problem | None:
    """Return the problem with the model; None for one that is to be downloaded."""
    if not state.model_is_chosen or needs_download(state):
        return None
    error = state.request(RequestKind.INSPECTION).error
    if error is not None:
        return of_error(error)
    return source_problem(state) or facts_problem(state)


def source_problem(state: AppState) -> Problem | None:
    """Return why the source of the model cannot be read; None if it may be."""
    found = state.problems.get(Step.MODEL, ())
    return next((each for each in found if each.setting == "source"), None)


def text_problem(error: Failed, config: CalibrationConfig) -> Problem:
    """Return the problem of the text that an error names, by default the main one."""
    named = set(_names_in(error.message))
    settings = {
        "text": (config.text,),
        "validation_text": (config.validation_text,),
        "more_texts": tuple(more.text for more in config.more_texts),
    }
    for setting, texts in settings.items():
        if named.intersection(PurePath(text).name for text in texts if text):
            return of_error(error, Step.CALIBRATION, setting)
    return of_error(error, Step.CALIBRATION, "text")


def _names_in(text: object) -> Iterator[str]:
    """Yield what may be names of files in a sentence, and in those among its values."""
    for value in getattr(text, "values", {}).values():
        name = PurePath(str(value)).name
        yield from (name, name.partition(" (")[0], *_names_in(value))


def wait_note(state: AppState, source: str) -> str:
    """Return when the engine reads a model or a text; empty if it reads it now."""
    if not state.is_connected:
        return connection_wait(state)
    if not state.is_busy:
        return ""
    name = source_name(source)
    if state.run.status.is_busy:
        text = tr("{name} is read when the run has ended.")
    else:
        text = tr("{name} is read when the engine is free.")
    return text.format(name=name)


def reading_note(state: AppState) -> str:
    """Return what is being read of the model, or when; empty if nothing is due."""
    if not is_model_due(state):
        return ""
    source = state.config.model.source
    if note := wait_note(state, source):
        return note
    name = source_name(source)
    if state.engine is Engine.STARTING:
        return tr("The engine is starting; then it reads {name}…").format(name=name)
    return tr("Reading {name}: layers, tokenizer, what can be removed…").format(
        name=name
    )


def is_model_being_read(state: AppState) -> bool:
    """Return True if the model is read now, or as soon as the engine has started."""
    return is_model_due(state) and not wait_note(state, state.config.model.source)


def doing(state: AppState) -> str:
    """Return in few words whether what is due is read, or for what it waits."""
    if state.run.status.is_busy:
        return tr("waiting for the run…")
    if state.is_busy or state.engine is Engine.STARTING:
        return tr("waiting for the engine…")
    return tr("reading…")


def reading_obstacle(state: AppState) -> Problem | None:
    """Return what has to be read first; None if nothing has.

    While the engine is busy, a job can be queued, whose run reads its model and texts,
    unless its settings may have to follow a newly chosen model.
    """
    if state.is_busy:
        has_experts = state.facts is not None and state.facts.experts
        if not state.is_fitting or not (state.config.pruning.is_sized or has_experts):
            return None
        note = wait_note(state, state.config.model.source)
        return Problem(Kind.MODEL_AWAITED, {"note": note})
    if is_model_due(state):
        return Problem(Kind.MODEL_UNREAD)
    if state.model is not None and is_text_due(state):
        return Problem(Kind.TEXT_UNREAD)
    return None


def _is_read_before(calibration: CalibrationConfig) -> bool:
    """Return True if there are chosen texts and each is read in a moment."""
    texts = (*calibration.all_texts, calibration.validation_text)
    files = [text for text in texts if text not in ("", BUILTIN_TEXT)]
    return bool(files) and all(map(is_small_file, files))
