"""What a person means by the model or text they type, and what is wrong with it.

Looks at names, at the disk and at the Hub's cache; nothing large is read.
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
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr

_TABLES = (".jsonl", ".csv", ".parquet")
TEXT_ENDINGS = (".txt", *_TABLES, ".npy")


def resolve_model(typed: str) -> str:
    """The model that was typed: what is on the disk comes before what is on the Hub."""
    if typed == DEMO or paths.exists(typed):
        return typed
    return parse_hub_source(typed) or typed


def resolve_text(typed: str) -> str:
    """The text that was typed, as with a model; on the Hub it is a data set."""
    if typed in ("", BUILTIN_TEXT) or paths.exists(typed):
        return typed
    name = hub_name(parse_hub_source(typed, is_dataset=True))
    if name is None:
        return typed.removeprefix(SCHEME)
    return str(replace(name, is_dataset=True))


def has_columns(text: str) -> bool:
    """Whether a column can be chosen in a text."""
    return is_hub_source(text) or Path(text).suffix.lower() in _TABLES


def is_missing(source: str) -> bool:
    """Whether a model that was on the disk once is gone; the Hub has its own always."""
    is_path = source != DEMO and not is_hub_source(source)
    return is_path and not paths.exists(source)


def is_to_be_downloaded(source: str) -> bool:
    """Whether a model is on the Hub and not on this computer."""
    name = hub_name(source)
    return name is not None and not name.is_dataset and name.snapshot is None


def model_problem(source: str) -> str:
    """Why there is no model; empty: there may be one."""
    name = hub_name(source)
    if is_hub_source(source) and (name is None or name.is_dataset):
        return tr(
            "{source} is no name of a model on the Hugging Face Hub. Write "
            "organisation/name."
        ).format(source=source)
    if name is not None and name.snapshot is None:
        return tr("{name} has not been downloaded yet.").format(name=name.display_name)
    if name is None and source != DEMO and not paths.exists(source):
        return tr("There is nothing at {source}.").format(source=source)
    return ""


def text_problem(text: str) -> str:
    """Why there is no text; empty: there may be one."""
    if text in ("", BUILTIN_TEXT) or hub_name(text) is not None:
        return ""
    if not paths.is_file(text):
        if paths.exists(text):
            return tr("{text} is a folder: choose a file in it.").format(text=text)
        return tr("There is no file {text}.").format(text=text)
    path = Path(text)
    if path.suffix.lower() not in TEXT_ENDINGS:
        return tr("{name} is none of {endings}.").format(
            name=path.name, endings=", ".join(TEXT_ENDINGS)
        )
    if paths.is_empty_file(text):
        return tr("{name} is empty.").format(name=path.name)
    return ""
