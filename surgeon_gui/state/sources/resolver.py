"""Resolve the model or text that the user typed, and report what is wrong with it.

Looks at names, the disk and the cache of the Hub. No large file is read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.model_info.source_names import (
    DEMO,
    SCHEME,
    hub_name,
    is_hub_source,
    parse_hub_source,
)
from surgeon_engine.planning.windows import TABLES
from surgeon_gui.base import offline, paths
from surgeon_gui.text.problems import Kind, Problem, Step

_SMALL_BYTES = 20_000_000


def resolve_model(typed: str) -> str:
    """Resolve a model; a path on disk takes precedence over a name on the Hub."""
    if typed == DEMO or paths.exists(typed):
        return typed
    return parse_hub_source(typed) or typed


def resolve_text(typed: str) -> str:
    """Resolve a text like a model; on the Hub it is a dataset."""
    if typed in ("", BUILTIN_TEXT) or paths.exists(typed):
        return typed
    name = hub_name(parse_hub_source(typed, is_dataset=True))
    if name is None:
        return typed.removeprefix(SCHEME)
    return str(replace(name, is_dataset=True))


def has_columns(text: str) -> bool:
    """Return True if the text has columns to choose from."""
    return is_hub_source(text) or Path(text).suffix.lower() in TABLES


def is_small_file(text: str) -> bool:
    """Return True if a text is a file that is read in a moment."""
    size = paths.file_bytes(text)
    return size is not None and size <= _SMALL_BYTES


def is_missing(source: str) -> bool:
    """Return True if the model is a path that no longer exists."""
    is_path = source != DEMO and not is_hub_source(source)
    return is_path and not paths.exists(source)


def is_to_be_downloaded(source: str) -> bool:
    """Return True if the model is on the Hub and not in its local cache."""
    name = hub_name(source)
    return name is not None and not name.is_dataset and name.snapshot is None


def model_problem(source: str) -> Problem | None:
    """Return why the model cannot be used; None if it may exist."""
    name = hub_name(source)
    if is_hub_source(source) and (name is None or name.is_dataset):
        return Problem(Kind.NO_HUB_NAME, {"source": source}, Step.MODEL, "source")
    if name is not None and name.snapshot is None:
        kind = Kind.MODEL_OFFLINE if offline.is_on() else Kind.NOT_DOWNLOADED
        return Problem(kind, {"name": name.display_name}, Step.MODEL, "source")
    if name is None and source != DEMO and not paths.exists(source):
        return Problem(Kind.MODEL_MISSING, {"source": source}, Step.MODEL, "source")
    return None
