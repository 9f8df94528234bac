"""What can be made of files that are dropped on the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QUrl

from surgeon_gui.base.paths import is_folder
from surgeon_gui.state.sources.resolver import TEXT_ENDINGS


def model_in(urls: list[QUrl]) -> str:
    """The first of what was dropped that can be a model; empty: none."""
    for path in _local(urls):
        if is_folder(path) or path.lower().endswith(".gguf"):
            return str(Path(path))
    return ""


def text_in(urls: list[QUrl]) -> str:
    """The first of what was dropped that can be a calibration text; empty: none."""
    for path in _local(urls):
        if path.lower().endswith(TEXT_ENDINGS):
            return str(Path(path))
    return ""


def _local(urls: list[QUrl]) -> Iterator[str]:
    return (url.toLocalFile() for url in urls if url.isLocalFile())
