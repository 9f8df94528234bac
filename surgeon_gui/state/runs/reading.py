"""Runs as their folders tell of them.

    run.toml        what was wanted
    events.jsonl    what happened; folded by `run_state.apply`, as while it happened
    name.txt        what the user calls the run
    process.json    whether somebody is still at work on it

A run that has begun and not ended is under way if its process is alive, and was
interrupted otherwise. The last line of a log may be half a line: the process was
killed while it wrote. Knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import msgspec

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import (RunState, Status,)
from surgeon_gui.base.translation import tr

LONGEST_NAME = 120  # characters
_PROGRESS = b'"type":"Progressed"'  # most lines of a log; they leave no figures


class RunOutcome(Enum):
    """What has become of a run."""

    UNDER_WAY = "under_way"
    FINISHED = "finished"
    STOPPED = "stopped"  # early, and kept
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"  # its folder cannot be read


_STANDINGS = {
    Status.FINISHED: RunOutcome.FINISHED,
    Status.FAILED: RunOutcome.FAILED,
    Status.CANCELLED: RunOutcome.CANCELLED,
    Status.INTERRUPTED: RunOutcome.INTERRUPTED,
}

_Stamp = tuple[tuple[int, int], ...]  # time of change and size of each file


class UnreadableRunError(Exception):
    """A folder is not that of a run, or no longer; the message says why."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run in a list: what its folder says in brief."""

    folder: str
    standing: RunOutcome
    name: str = ""  # the user's own; empty: none was given
    problem: str = ""  # why it is damaged or has failed
    config: RunConfig | None = None
    parameters_before: int = 0
    parameters_left: int = 0
    sparsity: float | None = None
    perplexity_before: float | None = None
    perplexity_after: float | None = None
    shots_done: int = 0
    began: float = 0.0  # seconds since the epoch
    seconds: float = 0.0
    format: Format | None = None  # that was exported
    stamp: _Stamp = ()  # of the files that this was read from


def read_runs(parent: Path, known: Mapping[str, RunRecord]) -> tuple[RunRecord, ...]:
    """The runs whose folders lie in `parent`, the latest first.

    Those `known`, by folder, are not read anew unless their files have changed.

    Raises:
        OSError: `parent` cannot be looked into.
    """
    if not parent.is_dir():
        return ()
    records = []
    for folder in parent.iterdir():
        if folder.name.startswith(".") or not is_run(folder):
            continue
        before = known.get(str(folder))
        if before is not None and _still_holds(before, folder):
            records.append(before)
        else:
            records.append(read_record(folder))
    return tuple(sorted(records, key=lambda each: -each.began))


def is_run(folder: Path) -> bool:
    """Whether there are files of a run in a folder, as far as can be seen."""
    run = RunFolder(folder)
    try:
        return any(
            path.is_file()
            for path in (run.config_path, run.events_path, run.report_path)
        )
    except OSError:
        return False


def read_record(folder: Path) -> RunRecord:
    """What the folder of a run says in brief; never raises."""
    stamp, name = _stamp(folder), read_name(folder)
    try:
        state = read_state(folder, with_progress=False)
    except UnreadableRunError as error:
        began = stamp[0][0] / 1e9
        return RunRecord(
            str(folder),
            RunOutcome.DAMAGED,
            name,
            problem=str(error),
            began=began,
            stamp=stamp,
        )
    return replace(_in_brief(state), name=name, stamp=stamp)


def read_state(folder: Path, *, with_progress: bool = True) -> RunState:
    """The run in a folder as it ended, or as it stands.

    Raises:
        UnreadableRunError: it cannot be read.
    """
    run = RunFolder(folder)
    is_alive = run.is_being_worked_on  # before the log is read, which may end meanwhile
    try:
        config = config_from_toml(run.config_path.read_text(encoding="utf-8"))
        began = run.config_path.stat().st_mtime
        state, last = run_state.requested("", config, str(folder), began), began
        for envelope in _log(run.events_path, with_progress):
            if not state.run:
                state = run_state.requested(
                    envelope.run, config, str(folder), envelope.at
                )
            state, last = run_state.apply(state, envelope), envelope.at
    except OSError as error:
        where = Path(error.filename or folder).name
        words = tr("{file} cannot be read: {reason}.")
        raise UnreadableRunError(
            words.format(file=where, reason=error.strerror)
        ) from error
    except (ConfigError, UnicodeDecodeError) as error:
        words = tr("run.toml cannot be read: {reason}")
        raise UnreadableRunError(words.format(reason=error)) from error
    if not is_alive:
        state = run_state.interrupted(state, last)
    return _at_home(state, folder)


def read_name(folder: Path) -> str:
    """What the user calls a run; empty: nothing of their own."""
    try:
        text = RunFolder(folder).name_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return tidy_name(text)


def write_name(folder: Path, name: str) -> None:
    """Keep what the user calls a run; an empty name gives back the first one.

    Raises:
        OSError: it cannot be written.
    """
    path = RunFolder(folder).name_path
    if tidy := tidy_name(name):
        write_atomically(path, f"{tidy}\n".encode())
    else:
        path.unlink(missing_ok=True)


def tidy_name(name: str) -> str:
    """A name in one line, and not too long."""
    return " ".join(name.split())[:LONGEST_NAME].strip()


def outcome_of(run: RunState) -> RunOutcome:
    """What has become of a run."""
    if run.result is not None and run.result.stopped_early:
        return RunOutcome.STOPPED
    return _STANDINGS.get(run.status, RunOutcome.UNDER_WAY)


def _log(path: Path, with_progress: bool) -> Iterator[Envelope]:
    decoder = msgspec.json.Decoder(Envelope)
    try:
        log = path.open("rb")
    except FileNotFoundError:
        return  # it was ended before its first event
    with log:
        for number, line in enumerate(log, 1):
            if not with_progress and _PROGRESS in line:
                continue
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                if not line.endswith(b"\n"):
                    return  # the process was killed while it wrote
                words = tr("Line {number} of events.jsonl cannot be read: {reason}.")
                raise UnreadableRunError(
                    words.format(number=number, reason=error)
                ) from error


def _at_home(state: RunState, folder: Path) -> RunState:
    """The run where it lies today, with what it exported into its own folder."""
    exported, old = state.exported, Path(state.folder)
    if exported is not None and Path(exported.folder).is_relative_to(old):
        within = Path(exported.folder).relative_to(old)
        exported = msgspec.structs.replace(exported, folder=str(folder / within))
    return replace(state, folder=str(folder), exported=exported)


def _in_brief(state: RunState) -> RunRecord:
    last = state.history[-1] if state.history else None
    return RunRecord(
        folder=state.folder,
        standing=outcome_of(state),
        problem=state.error.message if state.error is not None else "",
        config=state.config,
        parameters_before=state.model.parameters if state.model is not None else 0,
        parameters_left=last.parameters if last is not None else 0,
        sparsity=last.sparsity if last is not None else None,
        perplexity_before=state.baseline.perplexity if state.baseline else None,
        perplexity_after=state.evaluation.perplexity if state.evaluation else None,
        shots_done=len(state.history),
        began=state.began,
        seconds=(state.ended - state.began) if state.ended is not None else 0.0,
        format=state.exported.format if state.exported is not None else None,
    )


def _still_holds(record: RunRecord, folder: Path) -> bool:
    # A process can die without a trace in the folder.
    is_settled = record.standing is not RunOutcome.UNDER_WAY
    return is_settled and record.stamp == _stamp(folder)


def _stamp(folder: Path) -> _Stamp:
    run = RunFolder(folder)
    files = (run.config_path, run.events_path, run.report_path, run.name_path)
    return tuple(_file_stamp(path) for path in (folder, *files))


def _file_stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
