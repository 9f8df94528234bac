"""Read runs from their folders: the log of events is replayed by `run_state.apply`.

A run that has started and not ended is running if its process is alive, and was
interrupted otherwise. The last line of a log may be incomplete if the process was
killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import msgspec

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import OF_MEMORY, OF_PROGRESS, Envelope
from surgeon_engine.api.messages.run import Exported, Fidelity, TokensRemoved
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import LOG_HEADER, RunFolder
from surgeon_engine.api.saved_state import ResumePoint
from surgeon_engine.api.verdict import Verdict
from surgeon_engine.base.errors import ConfigError, EngineError, UnreadableFileError
from surgeon_engine.base.files import size_of_folder, write_atomically
from surgeon_engine.base.reading import open_to_read
from surgeon_engine.base.sealed_json import decode_sealed_line, read_sealed_json
from surgeon_engine.base.versions import REPORT
from surgeon_gui.base.translation import tr
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.removed import Shares, removed_by_block
from surgeon_gui.state.verdict import fidelity_of, perplexities, verdict_of_run

MAX_NAME_LENGTH = 120  # characters
MAX_TAG_LENGTH = 40
_MAX_NOTES_BYTES = 100_000  # more is not a note of the user
_CHECKPOINTS = ("export", "checkpoint")


class RunOutcome(Enum):
    """Outcome of a run, or that it is running."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # early, and kept
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"  # its folder cannot be read


_RESUMABLE = (
    RunOutcome.STOPPED,
    RunOutcome.FAILED,
    RunOutcome.CANCELLED,
    RunOutcome.INTERRUPTED,
)

_Stamp = tuple[tuple[int, int], ...]  # modification time and size of each file


class UnreadableRunError(Exception):
    """The run in a folder cannot be read; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Summary of a run for the list of runs."""

    folder: str
    outcome: RunOutcome
    name: str = ""  # chosen by the user; empty if none
    problem: str = ""  # why it or its report is damaged, why it failed, or who has it
    config: RunConfig | None = None
    parameters_before: int = 0
    parameters_left: int = 0
    sparsity: float | None = None
    perplexity_before: float | None = None
    perplexity_after: float | None = None  # perplexity of the file
    fidelity: tuple[Fidelity, ...] = ()  # fidelity of the file on each text
    resumes_at: ResumePoint | None = None  # by its saved state
    began: float = 0.0  # seconds since the epoch
    seconds: float = 0.0
    format: Format | None = None  # format of the export
    file_bytes: int = 0  # size of the exported weights; 0: there is no export
    tokens: TokensRemoved | None = None  # None: all of them stay
    removed: Shares = ()  # removed share of the weights of each block
    verdict: Verdict | None = None  # None: there is no result, or it was not measured
    progress: float = 0.0  # from 0 to 1, when it was read
    has_checkpoint: bool = False  # for a damaged run
    notes: str = ""  # written by the user
    tags: tuple[str, ...] = ()  # chosen by the user
    saved_bytes: int = 0  # size of the state to resume from; 0: there is none
    checkpoint_bytes: int = 0  # size of the source of other formats; 0: there is none
    export_bytes: int = 0  # size of the exports in its folder
    is_export_gone: bool = False  # its folder had the file, and holds no export now
    bytes: int = 0  # size of its whole folder
    is_detached: bool = False  # the last process was one of its own
    stamp: _Stamp = ()  # stamp of the files read

    @property
    def can_resume(self) -> bool:
        """Whether the run can go on from the state in its folder."""
        return self.saved_bytes > 0 and self.outcome in _RESUMABLE


def read_runs(parent: Path, known: Mapping[str, RunRecord]) -> tuple[RunRecord, ...]:
    """Read the runs in the folders in `parent`, the latest first.

    The runs in `known`, by folder, are read again only if their files have changed.

    Raises:
        OSError: `parent` cannot be listed.
    """
    if not parent.is_dir():
        return ()
    records = []
    for folder in parent.iterdir():
        if folder.name.startswith(".") or not is_run(folder):
            continue
        before = known.get(str(folder))
        if before is not None and _is_up_to_date(before, folder):
            records.append(before)
        else:
            records.append(read_record(folder))
    return tuple(sorted(records, key=lambda record: -record.began))


def is_run(folder: Path) -> bool:
    """Return True if a folder holds files of a run."""
    run = RunFolder(folder)
    try:
        others = (run.events_path, run.report_path)
        return run.has_config or any(path.is_file() for path in others)
    except OSError:
        return False


def read_record(folder: Path) -> RunRecord:
    """Read the summary of a run; never raises."""
    run, stamp = RunFolder(folder), _stamp(folder)
    try:
        state = read_state(folder)
    except UnreadableRunError as error:
        began = stamp[0][0] / 1e9
        record = RunRecord(
            str(folder),
            RunOutcome.DAMAGED,
            problem=str(error),
            config=readable_config(folder),
            has_checkpoint=any(
                (folder / name / "config.json").is_file() for name in _CHECKPOINTS
            ),
            began=began,
        )
    else:
        record = _record_of(state)
        problem = record.problem or _report_problem(run)
        if record.outcome is RunOutcome.RUNNING:
            problem = _elsewhere(run)
        record = replace(record, problem=problem)
    is_inside = record.config is not None and not record.config.export.folder
    exports = run.exports
    return replace(
        record,
        name=read_name(folder),
        notes=read_notes(folder),
        tags=read_tags(folder),
        saved_bytes=run.saved_state.size if run.saved_state.exists else 0,
        checkpoint_bytes=size_of_folder(run.checkpoint_path),
        export_bytes=sum(map(size_of_folder, exports)),
        is_export_gone=is_inside and record.file_bytes > 0 and not exports,
        bytes=size_of_folder(folder),
        is_detached=run.output_path.is_file(),
        stamp=stamp,
    )


def _report_problem(run: RunFolder) -> str:
    try:
        if run.report_path.exists():
            read_sealed_json(run.report_path, Report, REPORT)
    except UnreadableFileError as error:
        return error.message
    return ""


def _elsewhere(run: RunFolder) -> str:
    """Return which other computer works on a run, and since when; empty if none."""
    use = run.use
    if use is None or use.holder is None or not use.is_elsewhere:
        return ""
    return tr(
        "The computer {computer} has been working on it since {start}. If it has "
        "stopped, open the run."
    ).format(computer=use.holder.computer, start=use.holder.start)


def readable_config(folder: Path) -> RunConfig | None:
    """Return the config of a run; None if it cannot be read."""
    try:
        return RunFolder(folder).read_config()
    except EngineError:
        return None


def read_state(folder: Path) -> RunState:
    """Read the state of the run in a folder.

    Raises:
        UnreadableRunError: the run cannot be read.
    """
    run = RunFolder(folder)
    is_alive = run.is_being_worked_on  # checked first: the run may end during the read
    try:
        config = run.read_config()
        began = run.config_path.stat().st_mtime
        state, last = run_state.requested("", config, str(folder), began), 0.0
        offset = 0
        for envelope in _log(run):
            if not state.run:
                state = run_state.requested(
                    envelope.run, config, str(folder), envelope.at
                )
            if envelope.run != state.run:  # a later process has resumed the run
                envelope = msgspec.structs.replace(envelope, run=state.run)
            state, last = run_state.apply(state, envelope), max(last, envelope.at)
            offset = envelope.offset
    except OSError as error:
        name = Path(error.filename or folder).name
        message = tr("{file} cannot be read: {reason}.")
        raise UnreadableRunError(
            message.format(file=name, reason=error.strerror)
        ) from error
    except UnreadableFileError as error:
        raise UnreadableRunError(error.message) from error
    except ConfigError as error:
        message = tr("run.toml cannot be read: {reason}")
        first = str(error).partition("\n")[0]  # of all that is wrong with it
        raise UnreadableRunError(message.format(reason=first)) from error
    if not is_alive:
        state = run_state.interrupted(state, last or began)
        state = replace(state, resumes_at=saved_place(str(folder)))
        state = replace(state, judgment=run.read_judgment())
    return _with_current_folder(replace(state, log_bytes=offset), folder)


def saved_place(folder: str) -> ResumePoint | None:
    """Return where a run goes on from its folder; None: it cannot."""
    saved = RunFolder(Path(folder)).saved_state
    try:
        return saved.read().place if saved.exists else None
    except EngineError:  # the engine says why when the run is resumed
        return ResumePoint()


def has_saved_state(folder: str) -> bool:
    """Return True if a run can go on from its folder."""
    return RunFolder(Path(folder)).saved_state.exists


def read_name(folder: Path) -> str:
    """Read the user's name for a run; empty if there is none."""
    return tidy_name(_read_text(RunFolder(folder).name_path))


def read_notes(folder: Path) -> str:
    """Read the user's notes about a run; empty if there are none."""
    return _read_text(RunFolder(folder).notes_path).strip()


def read_tags(folder: Path) -> tuple[str, ...]:
    """Read the tags of a run."""
    return tidy_tags(_read_text(RunFolder(folder).tags_path).splitlines())


def tidy_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags without doubles, line breaks and commas, which separate them."""
    tidy = (" ".join(tag.replace(",", " ").split())[:MAX_TAG_LENGTH] for tag in tags)
    return tuple(dict.fromkeys(tag.strip() for tag in tidy if tag))


def _read_text(path: Path) -> str:
    """Return the text of a small file; empty if it cannot be read."""
    try:
        with open_to_read(path) as file:
            return file.read(_MAX_NOTES_BYTES).decode(errors="replace")
    except (OSError, UnreadableFileError):
        return ""


def write_text(path: Path, text: str) -> None:
    """Write a text of the user, or delete the file if the text is empty.

    Raises:
        OSError: It cannot be written.
    """
    if text:
        write_atomically(path, f"{text}\n".encode())
    else:
        path.unlink(missing_ok=True)


def tidy_name(name: str) -> str:
    """Return a name without line breaks, at most `MAX_NAME_LENGTH` characters."""
    return " ".join(name.split())[:MAX_NAME_LENGTH].strip()


def outcome_of(run: RunState) -> RunOutcome:
    """Return how a run ended, or that it is running."""
    if run.result is not None and run.result.stopped_early:
        return RunOutcome.STOPPED
    if run.status.is_busy or run.status is Status.IDLE:
        return RunOutcome.RUNNING
    return RunOutcome(run.status.value)


def _log(run: RunFolder) -> Iterator[Envelope]:
    """Yield the events of a log; of progress events in a row, only the last one."""
    if not os.path.lexists(run.events_path):
        return  # the run ended before its first event
    held = (0, b"")  # latest progress; memory events may overtake it
    offset = len(LOG_HEADER)
    for number, line in enumerate(run.log_lines(), 2):
        if not line.endswith(b"\n"):
            break  # the process was killed while writing
        offset += len(line)
        if OF_PROGRESS in line:
            held = (number, line)
            continue
        if held[1] and OF_MEMORY not in line:
            yield _event(*held, offset)
            held = (0, b"")
        yield _event(number, line, offset)
    if held[1]:
        yield _event(*held, offset)


def _event(number: int, line: bytes, offset: int) -> Envelope:
    try:
        envelope = decode_sealed_line(line, Envelope)
        return msgspec.structs.replace(envelope, offset=offset)
    except msgspec.MsgspecError as error:
        message = tr("Line {number} of events.jsonl cannot be read: {reason}.")
        raise UnreadableRunError(message.format(number=number, reason=error)) from error


def _with_current_folder(state: RunState, folder: Path) -> RunState:
    """Return the run with the paths of its current folder."""
    old = Path(state.folder)

    def moved(exported: Exported) -> Exported:
        if not Path(exported.folder).is_relative_to(old):
            return exported
        within = Path(exported.folder).relative_to(old)
        return msgspec.structs.replace(exported, folder=str(folder / within))

    return replace(
        state,
        folder=str(folder),
        exported=moved(state.exported) if state.exported is not None else None,
        saved=tuple(map(moved, state.saved)),
    )


def _record_of(state: RunState) -> RunRecord:
    last = state.history[-1] if state.history else None
    before, after = perplexities(state)
    return RunRecord(
        folder=state.folder,
        outcome=outcome_of(state),
        problem=state.error.message if state.error is not None else "",
        config=state.config,
        parameters_before=state.model.parameters if state.model is not None else 0,
        parameters_left=last.parameters if last is not None else 0,
        sparsity=last.sparsity if last is not None else None,
        perplexity_before=before,
        perplexity_after=after,
        fidelity=fidelity_of(state),
        resumes_at=state.resumes_at,
        began=state.began,
        seconds=state.seconds(state.ended) if state.ended is not None else 0.0,
        format=state.exported.format if state.exported is not None else None,
        file_bytes=file_bytes(state),
        tokens=state.tokens,
        removed=removed_by_block(state),
        verdict=verdict_of_run(state),
        progress=state.progress,
    )


def file_bytes(state: RunState) -> int:
    """Return the bytes of the file of a finished run; 0: there is none yet.

    Before, the last export may be the checkpoint from which the file is made.
    """
    if state.exported is None or state.status is not Status.FINISHED:
        return 0
    return state.exported.weight_bytes


def _is_up_to_date(record: RunRecord, folder: Path) -> bool:
    # A process can die without any change in the folder.
    has_ended = record.outcome is not RunOutcome.RUNNING
    return has_ended and record.stamp == _stamp(folder)


def _stamp(folder: Path) -> _Stamp:
    run = RunFolder(folder)
    files = [run.config_path, run.events_path, run.report_path]
    files += [run.name_path, run.notes_path, run.tags_path]
    files.append(run.saved_state.state_path)
    return _file_stamp(folder), *map(_file_stamp, files)


def _file_stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
