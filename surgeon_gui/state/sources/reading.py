"""What the engine has yet to read of the draft: its model, and texts that are small.

The engine reads nothing during a run or another task.
"""

from __future__ import annotations

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine, Step
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.resolver import is_small_file, is_to_be_downloaded
from surgeon_gui.state.sources.text import facts_problem
from surgeon_gui.text.labels import source_name


def is_model_due(state: AppState) -> bool:
    """Return True if a model is chosen, has no problem and has not been read."""
    has_failed = state.request(RequestKind.INSPECTION).error is not None
    has_problem = Step.MODEL in state.problems or bool(facts_problem(state))
    is_missing = state.model_is_chosen and state.model is None
    return is_missing and not has_failed and not has_problem


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


def wait_note(state: AppState) -> str:
    """Return when the engine reads what is due; empty if it reads it now."""
    if state.run.status.is_busy:
        return tr("It is read when the run has ended.")
    if state.is_busy:
        return tr("It is read when the engine is free.")
    return ""


def doing(state: AppState) -> str:
    """Return in few words whether what is due is read, or for what it waits."""
    if state.run.status.is_busy:
        return tr("waiting for the run…")
    if state.is_busy or state.engine is Engine.STARTING:
        return tr("waiting for the engine…")
    return tr("reading…")


def reading_obstacle(state: AppState) -> str:
    """Return what has not been read yet, and when it is; empty if nothing is due."""
    if is_model_due(state):
        source, text = state.config.model.source, tr("The model is still being read.")
    elif state.model is not None and is_text_due(state):
        source = state.config.calibration.text
        text = tr("The text is still being read.")
    else:
        return ""
    if note := wait_note(state):
        text = tr("{name} has not been read yet.").format(name=source_name(source))
    return f"{text} {note}".strip()


def _is_read_before(calibration: CalibrationConfig) -> bool:
    """Return True if there are chosen texts, all of which are read in a moment."""
    texts = (*calibration.all_texts, calibration.validation_text)
    files = [text for text in texts if text not in ("", BUILTIN_TEXT)]
    return bool(files) and all(map(is_small_file, files))
