"""The saved state of a run that is not complete, from which it can go on.

    resume/state.json           a `SavedState`
    resume/previous.json        the one after the shot before
    resume/PART-1.safetensors   the tensors of a part of a state

A part is written under a new name before `state.json` is replaced, and the old file is
deleted after that. So `state.json` names complete files only, whatever the moment of an
interruption.

Both files of JSON are sealed and hold the checksum of each part, so that a run never
goes on from damaged numbers. If the parts of its last shot, or of its recovery, are
damaged, it goes on from the state before. If the parts of its progress since are, it
goes on from that shot.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.run import (
    Count,
    Recovered,
    Seconds,
    ShotFinished,
    Stage,
)
from surgeon_engine.base.errors import RunFolderError, UnreadableFileError
from surgeon_engine.base.files import size_of_folder
from surgeon_engine.base.reading import Content
from surgeon_engine.base.sealed_json import read_sealed_json
from surgeon_engine.base.sentences import say
from surgeon_engine.base.versions import STATE, OtherVersionError

_FOLDER, _FILE, _PREVIOUS = "resume", "state.json", "previous.json"
_HINT = say("Start the run again with its run.toml.")
# Files of states, their temporary files, and temporary files of safetensors.
_NAME = r"((state|previous)\.json|\w+-\d+\.safetensors)"
_OWN = re.compile(rf"{_NAME}|\.{_NAME}\..+|\.tmp\w{{6}}")


class Origin(msgspec.Struct, frozen=True):
    """The inputs of a run. With another model, text or config the result differs."""

    model: dict[str, str]  # SHA-256 of each file that is read, by its name
    text: str  # digest of all windows
    settings: str  # digest of the config
    versions: dict[str, str]


class SavedPart(msgspec.Struct, frozen=True):
    """The file of a part of the state."""

    file: str  # its name
    content: Content


class SavedSteps(msgspec.Struct, frozen=True):
    """The position on the way to the goal, in parts of a shot and in weights."""

    done: Count
    step: Count
    removed: Count
    rejected: Count | None = None
    equivalent: Count | None = None


class SavedSearch(msgspec.Struct, frozen=True):
    """The search of the damping whose trials are saved."""

    shot: Count
    budget: Count  # weights to remove


class SavedBlocks(msgspec.Struct, frozen=True):
    """The progress of the recovery of the blocks."""

    done: Count  # blocks
    fits: dict[str, tuple[float | None, float, float]]  # by layer
    reconstructions: tuple[tuple[float, float], ...]  # by block
    seconds: Seconds = 0.0
    total: Count = 0  # blocks


class SavedTraining(msgspec.Struct, frozen=True):
    """The progress of the training of the whole model."""

    steps: Count
    best: float  # held-out KL to the original, nats per token
    seconds: Seconds
    measured: tuple[float, ...] = ()  # held-out KL at each check
    # The step at which it was flat, and the share of the training done by then.
    flat_at: tuple[Count, float] | None = None
    progress: tuple[Count, Count] = (0, 0)  # parts that are done, and all


class ResumePoint(NamedTuple):
    """The point where a run goes on from its saved state."""

    seconds: float = 0.0  # working time until then
    stage: Stage | None = None  # stage in progress; None: a shot has ended
    done: int = 0  # parts of the stage, or shots; 0: not known
    total: int = 0  # parts of the stage


class SavedState(msgspec.Struct, frozen=True):
    """The state of a run after a shot, within a damping search, or within recovery.

    The tensors of its parts are in files of their own, which docs/formats.md lists.
    """

    origin: Origin
    recovery: RecoveryConfig  # as it was chosen
    width_multiple: Count = 0  # as it was chosen; 0: none was
    seconds: Seconds = 0.0  # working time of the run
    seconds_of_stages: dict[str, Seconds] = {}
    has_tokens: bool = False  # the tokens to keep have been chosen
    shots: tuple[ShotFinished, ...] = ()
    steps: SavedSteps | None = None
    total_cost: dict[str, float] = {}  # cost of all removals, by unit
    recovered_shot: Recovered | None = None  # last shot's recovery, for a quality limit
    search: SavedSearch | None = None
    blocks: SavedBlocks | None = None
    training: SavedTraining | None = None
    are_shots_over: bool = False
    is_recovered: bool = False  # recovery has ended, or was rolled back
    recovered: Recovered | None = None
    parts: dict[str, SavedPart] = {}

    @property
    def needed_parts(self) -> tuple[str, ...]:
        """The parts without which no run can go on from this state."""
        needed: tuple[str, ...] = ("vocabulary",) if self.has_tokens else ()
        if self.is_recovered:
            return (*needed, "recovered")
        needed += ("shot",) if self.shots else ()
        return (*needed, "recovered_shot") if self.recovered_shot else needed

    @property
    def place(self) -> ResumePoint:
        """Where the run goes on."""
        if self.is_recovered:
            return ResumePoint(self.seconds, Stage.EXPORT)
        if (training := self.training) is not None:
            return ResumePoint(self.seconds, Stage.DISTILLATION, *training.progress)
        if (blocks := self.blocks) is not None:
            return ResumePoint(self.seconds, Stage.REFIT, blocks.done, blocks.total)
        return ResumePoint(self.seconds, done=len(self.shots))

    def without_progress(self) -> SavedState:
        """Return the state as it was at the end of the last shot, or of recovery."""
        parts = {part: self.parts[part] for part in self.needed_parts}
        return msgspec.structs.replace(
            self, parts=parts, search=None, blocks=None, training=None
        )


class StateFolder:
    """The folder of a run's saved state."""

    def __init__(self, run: Path) -> None:
        self.path = run / _FOLDER
        self.state_path = self.path / _FILE
        self.previous_path = self.path / _PREVIOUS

    @property
    def exists(self) -> bool:
        """Whether there is a saved state; a link could lead to files of the user."""
        return self.state_path.is_file() and not self.path.is_symlink()

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return size_of_folder(self.path)

    def read(self) -> SavedState:
        """Return the saved state; its parts are not read.

        Raises:
            RunFolderError: There is none, it is damaged, or of another version.
        """
        if not self.exists:
            raise RunFolderError(
                "{parent} holds no state of an interrupted run.",
                _HINT,
                parent=self.path.parent,
            )
        return self._read(self.state_path)

    def read_previous(self) -> SavedState | None:
        """Return the state before the saved one; None if there is none, or damaged."""
        try:
            return self._read(self.previous_path)
        except RunFolderError:
            return None

    def read_undamaged(self) -> tuple[SavedState, str]:
        """Return the saved state, after checking the weights that a run goes on from.

        If it is damaged, the one before takes its place.

        Returns:
            The state, and what is damaged; empty if nothing is.

        Raises:
            RunFolderError: See `read`; or both are damaged.
        """
        try:
            return self._with_weights(self.read()), ""
        except RunFolderError as error:
            previous = self.read_previous() if self.exists else None
            if previous is None:
                raise
            self._with_weights(previous)
            self.previous_path.replace(self.state_path)
            return previous, error.message

    def check(self, part: str, state: SavedState) -> Path:
        """Return the file of a part of a state, after checking its content.

        Raises:
            RunFolderError: It is missing or damaged.
        """
        if part not in state.parts:
            raise self._damaged(say("it lacks the part {part}", part=part))
        saved = state.parts[part]
        path = self.path / saved.file
        try:
            if saved.content.is_in(path):
                return path
        except UnreadableFileError as error:
            raise self._damaged(error) from error
        raise self._damaged(
            say("{file} has another content than was saved", file=saved.file)
        )

    def discard(self) -> None:
        """Delete the saved state; the folder too, if nothing else is in it.

        Raises:
            OSError: it cannot be deleted.
        """
        if self.path.is_symlink() or not self.path.exists():
            return
        # Without state.json the rest is no state, even if the process is killed now.
        self.state_path.unlink(missing_ok=True)
        self.delete_all_but(())
        with suppress(OSError):
            self.path.rmdir()

    def delete_all_but(self, names: Collection[str]) -> None:
        """Delete all files of states except those with these names.

        Raises:
            OSError: one cannot be deleted.
        """
        if self.path.is_symlink():
            return
        for path in self.path.iterdir():
            if _OWN.fullmatch(path.name) and path.name not in names:
                path.unlink()

    def _with_weights(self, state: SavedState) -> SavedState:
        for part in state.needed_parts:
            self.check(part, state)
        return state

    def _read(self, path: Path) -> SavedState:
        try:
            state = read_sealed_json(path, SavedState, STATE)
        except OtherVersionError as error:
            raise RunFolderError(error.message, error.hint) from error
        except UnreadableFileError as error:
            raise self._damaged(error) from error
        for part in state.parts.values():
            if Path(part.file).name != part.file:
                raise self._damaged(say("it names {file}", file=part.file))
        return state

    def _damaged(self, reason: str | Exception) -> RunFolderError:
        return RunFolderError(
            "The state of the run in {path} is damaged: {reason:clause}.",
            _HINT,
            path=self.path,
            reason=reason,
        )
