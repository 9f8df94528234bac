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
from surgeon_gui.base import offline, paths
from surgeon_gui.base.translation import tr

_SMALL_BYTES = 20_000_000
_PLAIN_SUFFIX = ".txt"
_TABLE_SUFFIXES = (".jsonl", ".csv", ".parquet")
TEXT_ENDINGS = (_PLAIN_SUFFIX, *_TABLE_SUFFIXES, ".npy")


def resolve_model(typed: str) -> str:
    """Resolve a model; a path on disk takes precedence over a name on the Hub."""
    if typed == DEMO or paths.exists(typed):
        return typed
    return parse_hub_source(typed) or typed


def resolve_text(typed: str) -> str:
    """Resolve a text like a model; on the Hub it is a data set."""
    if typed in ("", BUILTIN_TEXT) or paths.exists(typed):
        return typed
    name = hub_name(parse_hub_source(typed, is_dataset=True))
    if name is None:
        return typed.removeprefix(SCHEME)
    return str(replace(name, is_dataset=True))


def has_columns(text: str) -> bool:
    """Return True if the text has columns to choose from."""
    return is_hub_source(text) or Path(text).suffix.lower() in _TABLE_SUFFIXES


def is_small_file(text: str) -> bool:
    """Return True if a text is a file that is read in a moment."""
    size = paths.file_bytes(text)
    return size is not None and size <= _SMALL_BYTES


def plain_text_bytes(text: str) -> int | None:
    """Return the bytes of a text that is a file of plain text; otherwise None."""
    is_plain = Path(text).suffix.lower() == _PLAIN_SUFFIX and not is_hub_source(text)
    return paths.file_bytes(text) if is_plain else None


def is_missing(source: str) -> bool:
    """Return True if the model is a path that no longer exists."""
    is_path = source != DEMO and not is_hub_source(source)
    return is_path and not paths.exists(source)


def is_to_be_downloaded(source: str) -> bool:
    """Return True if the model is on the Hub and not in its local cache."""
    name = hub_name(source)
    return name is not None and not name.is_dataset and name.snapshot is None


def model_problem(source: str) -> str:
    """Return why the model cannot be used; "" if it may exist."""
    name = hub_name(source)
    if is_hub_source(source) and (name is None or name.is_dataset):
        return tr(
            "{source} is not the name of a model on the Hugging Face Hub. Use the form "
            "organisation/name."
        ).format(source=source)
    if name is not None and name.snapshot is None:
        if offline.is_on():
            return tr(
                "{name} is not on this computer, and offline mode is on (File > "
                "Preferences)."
            ).format(name=name.display_name)
        return tr("{name} has not been downloaded yet.").format(name=name.display_name)
    if name is None and source != DEMO and not paths.exists(source):
        return tr("No model found at {source}.").format(source=source)
    return ""


def text_problem(text: str) -> str:
    """Return why the text cannot be used; "" if it may exist."""
    if text in ("", BUILTIN_TEXT):
        return ""
    if (name := hub_name(text)) is not None:
        if not offline.is_on():
            return ""
        return tr(
            "The data set {name} is on the Hub, and offline mode is on (File > "
            "Preferences)."
        ).format(name=name.display_name)
    if not paths.is_file(text):
        if paths.is_folder(text):
            return tr("{text} is a folder. Choose a file in it.").format(text=text)
        if paths.exists(text):
            return tr("{text} is a pipe or a device. Choose a file.").format(text=text)
        return tr("No file found at {text}.").format(text=text)
    path = Path(text)
    if path.suffix.lower() not in TEXT_ENDINGS:
        return tr("{name} has an unsupported file type. Supported: {endings}.").format(
            name=path.name, endings=", ".join(TEXT_ENDINGS)
        )
    if paths.file_bytes(text) == 0:
        return tr("{name} is empty.").format(name=path.name)
    return ""
