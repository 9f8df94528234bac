"""The saved state of a run that is not complete, from which it can go on.

    resume/state.json           a `SavedState`
    resume/PART-1.safetensors   the tensors of a part of the state

A part is written under a new name before `state.json` is replaced, and the old file is
deleted after that. So `state.json` names complete files only, whatever the moment of an
interruption.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.decoding import decode_json
from surgeon_engine.api.errors import RunFolderError
from surgeon_engine.api.files import size_of_folder
from surgeon_engine.api.messages.run import Recovered, ShotFinished

FORMAT = 1
_FOLDER, _FILE = "resume", "state.json"
# The files of states, the temporary ones that become them, and those of safetensors.
_NAME = r"((state|previous)\.json|\w+-\d\.safetensors)"
_OWN = re.compile(rf"{_NAME}|\.{_NAME}\..+|\.tmp\w{{6}}")


class Origin(msgspec.Struct, frozen=True):
    """The inputs of a run. With another model, text or config the result differs."""

    model: str  # digest of parts of the files
    text: str  # digest of all windows
    settings: str  # digest of the config
    versions: dict[str, str]


class SavedSteps(msgspec.Struct, frozen=True):
    """The position on the way to the goal, in parts of a shot and in weights."""

    done: int
    step: int
    removed: int
    rejected: int | None = None
    equivalent: int | None = None


class SavedSearch(msgspec.Struct, frozen=True):
    """The search of the damping whose trials are saved."""

    shot: int
    budget: int  # weights to remove


class SavedBlocks(msgspec.Struct, frozen=True):
    """The progress of the recovery of the blocks."""

    done: int  # blocks
    fits: dict[str, tuple[float | None, float, float]]  # by layer
    reconstructions: tuple[tuple[float, float], ...]  # by block


class SavedTraining(msgspec.Struct, frozen=True):
    """The progress of the training of the whole model."""

    steps: int
    best: float  # held-out KL to the original, nats per token
    seconds: float


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
    width_multiple: int = 0  # as it was chosen; 0: of an earlier version
    format: int = FORMAT
    seconds: float = 0.0  # that the run has worked
    seconds_of_stages: dict[str, float] = {}
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


class StateFolder:
    """The folder of a run's saved state."""

    def __init__(self, run: Path) -> None:
        self.path = run / _FOLDER
        self.state_path = self.path / _FILE

    @property
    def exists(self) -> bool:
        """Whether there is a saved state. A link to one elsewhere is none."""
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
        try:
            data = self.state_path.read_bytes()
            version = decode_json(data, _Format).format
        except FileNotFoundError as error:
            raise RunFolderError(
                f"{self.path.parent} holds no state of an interrupted run.", hint
            ) from error
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error
        if version != FORMAT:
            raise RunFolderError(
                f"The state of this run has format {version}; this version of Surgeon "
                f"reads format {FORMAT}.",
                f"Use the version that began the run. Or: {hint}",
            )
        try:
            state = decode_json(data, SavedState)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error
        for name in state.files.values():
            if Path(name).name != name or not (self.path / name).is_file():
                raise self._damaged(f"{name} is missing")
        return state

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

    def _damaged(self, reason: object) -> RunFolderError:
        return RunFolderError(
            f"The state of the run in {self.path} is damaged: {reason}.",
            "Start the run again with its run.toml.",
        )


class _Format(msgspec.Struct):
    format: int
