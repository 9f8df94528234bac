"""The large parts of a run, which can be deleted without the rest."""

from __future__ import annotations

import os
import shutil
from enum import Enum
from pathlib import Path

from surgeon_engine.api.export_marker import check_own
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError
from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.text import numbers


class RunPart(Enum):
    """A part of a run that takes space."""

    SAVED_STATE = "saved_state"  # from which it can go on
    CHECKPOINT = "checkpoint"  # from which other formats are made
    EXPORT = "export"  # all exports in its folder


def part_bytes(record: RunRecord, part: RunPart) -> int:
    """Return the size of a part; 0 if the run has none."""
    return {
        RunPart.SAVED_STATE: record.saved_bytes,
        RunPart.CHECKPOINT: record.checkpoint_bytes,
        RunPart.EXPORT: record.export_bytes,
    }[part]


def part_question(record: RunRecord, part: RunPart) -> tuple[str, str]:
    """Return the question before a part of "{run}" is deleted, and its details."""
    if part is RunPart.SAVED_STATE:
        question = tr("Discard the saved progress of {run}?")
        details = tr("The run can then no longer be resumed. This frees {size}.")
    elif part is RunPart.CHECKPOINT:
        question = tr("Delete the checkpoint of {run}?")
        details = tr(
            "The run can then no longer be saved in other formats. This frees {size} "
            "and cannot be undone."
        )
    else:
        question = tr("Delete the exports of {run}?")
        details = tr(
            "This deletes the pruned model in {folders}. The charts and the report are "
            "kept. This frees {size} and cannot be undone."
        )
    folders = ", ".join(map(str, RunFolder(Path(record.folder)).exports))
    size = numbers.size(part_bytes(record, part))
    return question, details.format(folders=folders, size=size)


def delete_part(folder: Path, part: RunPart) -> str:
    """Delete a part of a run; return the error, empty if there is none.

    Nothing is deleted if a folder holds what Surgeon has not written.
    """
    run = RunFolder(folder)
    try:
        with run.locked():
            _delete(run, part)
    except EngineError as error:
        return error.message.rstrip(".")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _delete(run: RunFolder, part: RunPart) -> None:
    if part is RunPart.SAVED_STATE:
        run.saved_state.discard()
        return
    paths = run.exports if part is RunPart.EXPORT else (run.checkpoint_path,)
    there = [path for path in paths if os.path.lexists(path)]
    for path in there:
        check_own(path)
    for path in there:
        shutil.rmtree(path)
