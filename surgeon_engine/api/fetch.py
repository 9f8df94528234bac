"""Copy a run from another computer with sftp, complete or not at all.

The other computer may send what it likes. So nothing but files and folders is kept, and
not more of them than it has said before.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from surgeon_engine.api.messages.files import RunEntry
from surgeon_engine.base.files import free_bytes, write_folder_atomically
from surgeon_engine.base.json_process import ProcessExit, kill_process_tree
from surgeon_engine.base.ssh import (
    SSH_OPTIONS,
    Computer,
    ConnectionFailed,
    last_line,
    printable,
    problem_of,
)

# Without the model: what the list of runs, the charts and the report need.
_NEEDED = ("run.toml", "events.jsonl")
_OPTIONAL = (
    "report.json",
    "judgment.json",
    "report.html",
    "name.txt",
    "notes.txt",
    "tags.txt",
)
_NOT_FOUND = re.compile(rf'/({"|".join(map(re.escape, _NEEDED))})" not found')
_ARRIVED = ".arrived"
_MAX_FILES = 10_000  # and folders
_MAX_OTHER_BYTES = 10_000_000  # beyond those that were announced
_MAX_STDERR_BYTES = 1_000_000
_POLL_SECONDS = 0.2
_SSH_FAILED = 255


class FetchCancelled(Exception):
    """The user has cancelled."""


def fetch_run(
    computer: Computer,
    run: RunEntry,
    target: Path,
    *,
    with_model: bool,
    progress: Callable[[int], None],
    sftp: Sequence[str] = ("sftp", *SSH_OPTIONS),
) -> None:
    """Copy a run to `target`, which must not exist.

    With `with_model`, its exports are copied, too. `progress` is called with the bytes
    that are here; it may raise `FetchCancelled`, and nothing is kept then.

    Raises:
        ConnectionFailed: The run cannot be copied.
        FetchCancelled: It was cancelled.
        OSError: The target cannot be written.
    """
    computer.check()
    limit = _checked_limit(run, target, with_model=with_model)
    with write_folder_atomically(target) as partial:
        arrived = partial / _ARRIVED  # where sftp makes a folder of the same name
        arrived.mkdir()
        batch = _batch(run.folder, arrived, with_model=with_model)
        command = (*sftp, "-b", "-", "--", computer.sftp_name)

        def on_wait() -> None:
            progress(_checked_size(arrived, limit))

        try:
            _copy(command, batch, computer, on_wait)
        except FileNotFoundError as error:
            raise _no_run(run.folder, computer, str(error)) from error
        on_wait()
        copied = arrived / PurePosixPath(run.folder).name if with_model else arrived
        for each in tuple(copied.iterdir()) if copied.is_dir() else ():
            each.rename(partial / each.name)
        shutil.rmtree(arrived)
        missing = [name for name in _NEEDED if not (partial / name).is_file()]
        if missing:
            raise _no_run(run.folder, computer, missing[0])
        (partial / "process.json").unlink(missing_ok=True)  # it names a process there


def _checked_limit(run: RunEntry, target: Path, *, with_model: bool) -> int:
    """Return the most bytes that a copy may have."""
    folder = run.folder
    if not _is_safe(folder):
        raise ConnectionFailed(
            "The path {folder} cannot be copied.",
            "Rename the folder.",
            folder=printable(folder),
        )
    if target.exists():
        raise ConnectionFailed(
            "{target} exists already.",
            "The run was copied before. To copy it again, move that folder away.",
            target=target,
        )
    announced = run.bytes if with_model else max(0, run.bytes - run.export_bytes)
    limit = announced + announced // 10 + _MAX_OTHER_BYTES
    if limit > (free := free_bytes(target)):
        raise ConnectionFailed(
            "The copy takes {announced:size}, and the disk of {target} has "
            "{free:room} free.",
            "Free some space.",
            announced=announced,
            target=target,
            free=free,
        )
    return limit


def _is_safe(folder: str) -> bool:
    """Return whether a path there is absolute and ends with an ordinary name."""
    path = PurePosixPath(folder)
    is_plain = folder.isprintable() and ".." not in path.parts
    return is_plain and path.is_absolute() and path.name[:1] not in ("", ".")


def _checked_size(folder: Path, limit: int) -> int:
    """Return the bytes that have arrived."""
    total = count = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            facts = (Path(parent) / name).lstat()
            count += 1
            total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
            is_usual = stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)
            if not is_usual or not name.isprintable():
                raise ConnectionFailed(
                    "The run holds {name}, which is no usual file.",
                    "Nothing of it was kept. Ask the owner of the other computer.",
                    name=printable(name),
                )
            if total > limit or count > _MAX_FILES:
                raise ConnectionFailed(
                    "The other computer sends more than the {limit:size} in {most:,} "
                    "files that this run may have.",
                    "Nothing of it was kept. Read the list of runs again.",
                    limit=limit,
                    most=_MAX_FILES,
                )
    return total


def _batch(folder: str, target: Path, *, with_model: bool) -> str:
    """Return the commands of sftp."""
    if with_model:
        return f"get -rp {_quoted(folder)} {_quoted(str(target))}\n"
    # With a dash, a file may be missing, and a full disk is no error either. The log,
    # which is the largest file, is therefore copied without one.
    gets = [*(("-get", name) for name in _OPTIONAL), *(("get", x) for x in _NEEDED)]
    where = _quoted(str(target))
    return "".join(
        f"{get} -p {_quoted(str(PurePosixPath(folder) / name))} {where}\n"
        for get, name in gets
    )


def _quoted(path: str) -> str:
    """Return a path that sftp takes literally: quotes protect patterns, too."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _copy(
    command: Sequence[str],
    batch: str,
    computer: Computer,
    on_wait: Callable[[], None],
) -> None:
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(batch.encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise ConnectionFailed(
                "sftp cannot be started: {reason:clause}.",
                "It is a part of OpenSSH: install it.",
                reason=error.strerror,
            ) from error
        try:
            while process.poll() is None:
                on_wait()
                if os.fstat(stderr.fileno()).st_size > _MAX_STDERR_BYTES:
                    break  # it is killed
                time.sleep(_POLL_SECONDS)
        finally:
            kill_process_tree(process.pid)  # with the ssh that it has started
            process.wait()
        if process.returncode == 0:
            return
        stderr.seek(0)
        output = stderr.read(_MAX_STDERR_BYTES).decode(errors="replace")
    if process.returncode == _SSH_FAILED:
        raise problem_of(ProcessExit(_SSH_FAILED, output), computer)
    if match := _NOT_FOUND.search(output):
        raise FileNotFoundError(match[1])
    raise ConnectionFailed(
        "The run cannot be copied from {host}: {last:clause}.",
        "Check the free disk space and the connection, and try again. Nothing "
        "incomplete was kept.",
        host=computer.host,
        last=_reason(output),
    )


def _no_run(folder: str, computer: Computer, missing: str) -> ConnectionFailed:
    """Return the error for a folder that lacks a file of a run."""
    return ConnectionFailed(
        "{folder} on {host} has no {missing}: it is no run, or was deleted.",
        "Read the list of runs again.",
        folder=folder,
        host=computer.host,
        missing=missing,
    )


def _reason(output: str) -> str:
    """Return why sftp has failed: what follows the path in its last line."""
    lines = [x for x in output.splitlines() if not x.startswith("Download of file ")]
    return last_line("\n".join(x.rpartition('": ')[2] for x in lines))
