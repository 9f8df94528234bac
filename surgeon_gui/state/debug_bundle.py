"""The debug bundle: one zip file for bug reports, without secrets.

    about.txt      versions of all packages, the device, the system
    log.txt        the lines of the log
    settings.json  the settings of the window
    job.toml       the current job
    run/           run.toml, events.jsonl and report.json of the run that is shown

It contains no model and no calibration text. `redaction` removes secrets and names of
users.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.files import file_written_atomically
from surgeon_engine.base.reading import read_lines
from surgeon_gui.base import paths
from surgeon_gui.base.redaction import redacted

RUN_FILES = ("run.toml", "events.jsonl", "report.json")


def write_bundle(texts: Mapping[str, str], run_folder: str, path: Path) -> None:
    """Write texts by their file names, and a run unless it is empty, to a zip file.

    Raises:
        OSError: The file cannot be written, or a file of the run cannot be read.
    """
    home = str(paths.home())
    with (
        file_written_atomically(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in texts.items():
            archive.writestr(name, redacted(text, home))
        for name in RUN_FILES if run_folder else ():
            _add_file(archive, Path(run_folder) / name, home)


def _add_file(archive: zipfile.ZipFile, source: Path, home: str) -> None:
    """Redact a file line by line, as a long run has many events."""
    if not source.is_file():
        return
    with archive.open(f"run/{source.name}", "w") as target:
        try:
            for line in read_lines(source):
                text = redacted(line.decode(errors="replace"), home)
                target.write(text.encode())
        except UnreadableFileError as error:  # as far as it goes
            target.write(redacted(error.message, home).encode())
