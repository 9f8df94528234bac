"""The question before an earlier export is replaced."""

from __future__ import annotations

from datetime import datetime

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.export_marker import MARKER, check_own
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.files import expand_path
from surgeon_gui.base import paths
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.text import numbers


def replace_question(folder: str) -> str | Failed:
    """Return the question about the export in a folder, or why it must stay.

    Names and sizes of its files are compared with its listing; the engine reads them.
    """
    path = expand_path(folder)
    try:
        marker = check_own(path, by_content=False)
        written = (path / MARKER).lstat().st_mtime
    except ExportError as error:
        return Failed(error.message, error.hint)
    except OSError as error:
        message = tr("{folder} cannot be used: {strerror}.")
        return Failed(message.format(folder=path, strerror=error.strerror))
    files = len(marker.files)
    return tr(
        "{folder} holds an earlier export: {files}, {size}, written on {date}. "
        "Replace it?"
    ).format(
        folder=path,
        files=ntr("{n} file", "{n} files", files).format(n=numbers.whole(files)),
        size=numbers.size(marker.bytes),
        date=f"{datetime.fromtimestamp(written):%Y-%m-%d %H:%M}",
    )


def export_in_the_way(config: RunConfig | None) -> str:
    """Return the destination of a run to resume if something is there; else ""."""
    folder = config.export.folder if config is not None else ""
    return folder if paths.is_occupied(folder) else ""
