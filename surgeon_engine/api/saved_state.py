"""The saved state of a run that is not complete, from which it can go on.

    resume/state.json           a `SavedState`
    resume/PART-1.safetensors   the tensors of a part of the state

A part is written under a new name before `state.json` is replaced, and the old file is
deleted after that. So `state.json` names complete files only, whatever the moment of an
interruption.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.errors import RunFolderError, UnreadableFileError
from surgeon_engine.api.files import size_of_folder
from surgeon_engine.api.messages.run import Count, Recovered, Seconds, ShotFinished
from surgeon_engine.api.reading import read_json

FORMAT = 1
_FOLDER, _FILE = "resume", "state.json"


class Origin(msgspec.Struct, frozen=True):
    """The inputs of a run. With another model, text or config the result differs."""

    model: str  # digest of parts of the files
    text: str  # digest of all windows
    settings: str  # digest of the config
    versions: dict[str, str]


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


class SavedTraining(msgspec.Struct, frozen=True):
    """The progress of the training of the whole model."""

    steps: Count
    best: float  # held-out KL to the original, nats per token
    seconds: Seconds


class SavedState(msgspec.Struct, frozen=True):
    """The state of a run after a shot, within a damping search, or within recovery.

    The tensors of its parts are in files of their own:

    shot            weights, what is removed and what is left after the last shot
    recovered_shot  the weights after a recovery that a quality limit asked for
    trials          the divergences that a damping search has found
    blocks          the weights after the recovery of some blocks
    training        weights, best weights and moments of the training
    recovered       the weights at the end of recovery
    """

    origin: Origin
    recovery: RecoveryConfig  # as it was chosen
    width_multiple: Count = 0  # as it was chosen; 0: of an earlier version
    format: int = FORMAT
    seconds: Seconds = 0.0  # that the run has worked
    seconds_of_stages: dict[str, Seconds] = {}
    shots: tuple[ShotFinished, ...] = ()
    steps: SavedSteps | None = None
    total_cost: dict[str, float] = {}  # of all removals, by unit
    recovered_shot: Recovered | None = None  # of the last shot, for a quality limit
    search: SavedSearch | None = None
    blocks: SavedBlocks | None = None
    training: SavedTraining | None = None
    are_shots_over: bool = False
    is_recovered: bool = False  # recovery has ended, or was rolled back
    recovered: Recovered | None = None
    files: dict[str, str] = {}  # names by part

    @property
    def parts(self) -> set[str]:
        """The parts that a run needs to go on from this state."""
        last = "recovered" if self.is_recovered else "shot"
        needed = {
            last: bool(self.shots),
            "recovered_shot": self.recovered_shot is not None,
            "trials": self.search is not None,
            "blocks": self.blocks is not None,
            "training": self.training is not None,
        }
        return {part for part, is_needed in needed.items() if is_needed}


class StateFolder:
    """The folder of a run's saved state."""

    def __init__(self, run: Path) -> None:
        self.path = run / _FOLDER
        self.state_path = self.path / _FILE

    @property
    def exists(self) -> bool:
        """Whether there is a saved state; a link could lead to files of the user."""
        return self.state_path.is_file() and not self.path.is_symlink()

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return size_of_folder(self.path)

    def read(self) -> SavedState:
        """Return the saved state.

        Raises:
            RunFolderError: There is none, it is damaged, or of another version.
        """
        hint = "Start the run again with its run.toml."
        if not self.exists:
            raise RunFolderError(
                f"{self.path.parent} holds no state of an interrupted run.", hint
            )
        try:
            version = read_json(self.state_path, _Format).format
        except UnreadableFileError as error:
            raise self._damaged(error.message.rstrip(".")) from error
        if version != FORMAT:
            raise RunFolderError(
                f"The state of this run has format {version}; this version of Surgeon "
                f"reads format {FORMAT}.",
                f"Use the version that began the run. Or: {hint}",
            )
        try:
            state = read_json(self.state_path, SavedState)
        except UnreadableFileError as error:
            raise self._damaged(error.message.rstrip(".")) from error
        if missing := state.parts - set(state.files):
            raise self._damaged(f"it names no file for {', '.join(sorted(missing))}")
        for name in state.files.values():
            if Path(name).name != name or not (self.path / name).is_file():
                raise self._damaged(f"{name} is missing")
        return state

    def discard(self) -> None:
        """Delete the saved state.

        Raises:
            OSError: it cannot be deleted.
        """
        # Without state.json the rest is no state, even if the process is killed now.
        self.state_path.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _damaged(self, reason: object) -> RunFolderError:
        return RunFolderError(
            f"The state of the run in {self.path} is damaged: {reason}.",
            "Start the run again with its run.toml.",
        )


class _Format(msgspec.Struct):
    format: int
