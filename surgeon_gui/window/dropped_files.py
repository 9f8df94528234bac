"""Find the model or the texts among files that are dropped on the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QUrl

from surgeon_engine.api.messages.events import Failed
from surgeon_engine.planning.windows import TEXT_ENDINGS
from surgeon_gui.base.paths import is_folder
from surgeon_gui.base.translation import tr


def model_in(urls: list[QUrl]) -> str:
    """Return the first path that can be a model: a folder or a GGUF file; or ""."""
    for path in _local_paths(urls):
        if is_folder(path) or path.lower().endswith(".gguf"):
            return str(Path(path))
    return ""


def texts_in(urls: list[QUrl]) -> tuple[str, ...]:
    """Return all paths that can be calibration texts."""
    return tuple(
        str(Path(path))
        for path in _local_paths(urls)
        if path.lower().endswith(TEXT_ENDINGS)
    )


def elsewhere(computer: str) -> Failed:
    """Return the error about files that are not on the engine's computer."""
    return Failed(
        tr("The file is on this computer, and the engine on {computer}.").format(
            computer=computer
        ),
        tr("Copy it there and choose it by its path, or choose This computer."),
    )


def unusable(urls: list[QUrl]) -> Failed:
    """Return the error about files that are neither model nor text."""
    name = next((url.fileName() or url.toString() for url in urls), "")
    return Failed(
        tr("{name} is neither a model nor a text.").format(name=name),
        tr(
            "A model is a folder with config.json and safetensors files, or a .gguf "
            "file. A text is one of {endings}."
        ).format(endings=", ".join(TEXT_ENDINGS)),
    )


def _local_paths(urls: list[QUrl]) -> Iterator[str]:
    return (url.toLocalFile() for url in urls if url.isLocalFile())
