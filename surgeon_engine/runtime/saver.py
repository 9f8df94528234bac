"""Save the state of a run in its folder, so that it can go on after an interruption."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.saved_state import Origin, SavedPart, SavedState, StateFolder
from surgeon_engine.base.errors import RunFolderError, UnreadableFileError
from surgeon_engine.base.files import file_written_atomically, write_atomically
from surgeon_engine.base.reading import Content, read_bytes
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import STATE
from surgeon_engine.runtime import ranks

_SECONDS_BETWEEN = 60.0  # within a stage
_SHARE_OF_TIME = 0.05  # maximum for saving within a stage
_MOST_BETWEEN = 900.0  # seconds, however long the last save took
_WHOLE = "shot"  # the part whose save holds the whole state
_GENERATIONS = ("shot", "recovered")  # parts at whose save the state before is kept

Tensors = Mapping[str, Tensor]


class Saver:
    """Writes and reads the saved state of a run.

    A state that cannot be written does not end the run, and leaves the one before as it
    is; the next save of the whole state tries again. Of several processes that share a
    run, the first alone writes; all of them read.
    """

    def __init__(self, folder: StateFolder | None, saved: SavedState) -> None:
        """Start at a state.

        Args:
            folder: the folder of the state; None: nothing is saved.
            saved: the state that the run begins with.
        """
        self._folder, self._saved = folder, saved
        self._previous = folder.read_previous() if folder else None
        self._last = time.monotonic()
        self._took = 0.0  # seconds for the last save
        self._is_failing = False

    @classmethod
    def off(cls) -> Saver:
        """Return a saver that saves nothing."""
        return cls(None, SavedState(Origin({}, "", "", {}), RecoveryConfig()))

    @property
    def saved(self) -> SavedState:
        """The state as it was saved last."""
        return self._saved

    @property
    def holds_state(self) -> bool:
        """Whether there is a state on the disk from which the run can go on."""
        return self._folder is not None and self._folder.exists

    @property
    def is_due(self) -> bool:
        """Whether it is time to save within a stage."""
        if self._folder is None:
            return False
        interval = max(_SECONDS_BETWEEN, self._took / _SHARE_OF_TIME)
        interval = min(interval, _MOST_BETWEEN)
        return bool(ranks.agreed(time.monotonic() - self._last > interval))

    def save(self, parts: Mapping[str, Tensors | None], **changes: object) -> str:
        """Save tensors of some parts, and other fields of the state.

        Args:
            parts: the tensors of each part; None: it is over.
            changes: new values of fields of `SavedState`.

        Returns:
            The reason why nothing could be saved; empty if it could be, or was not
            tried.
        """
        reason, self._saved = ranks.agree(
            lambda: (self._write_state(parts, changes), self._saved)
        )
        return reason

    def _write_state(
        self, parts: Mapping[str, Tensors | None], changes: Mapping[str, object]
    ) -> str:
        folder, start, reason = self._folder, time.monotonic(), ""
        is_whole = parts.get(_WHOLE) is not None
        if folder is None or (self._is_failing and not is_whole):
            return ""
        written = {x: tensors for x, tensors in parts.items() if tensors is not None}
        files = {x: each for x, each in self._saved.parts.items() if x not in parts}
        is_new = any(part in _GENERATIONS for part in written)
        state, encoded = self._saved, b""
        try:
            folder.path.mkdir(exist_ok=True)
            if is_new:
                self._drop_previous(folder)
            for part, tensors in written.items():
                files[part] = self._write(folder.path, part, tensors)
            state = msgspec.structs.replace(self._saved, parts=files, **changes)
            encoded = sealed_json(state, STATE)
            if is_new and self._saved.needed_parts:
                self._previous = self._saved.without_progress()
                previous = sealed_json(self._previous, STATE)
                write_atomically(folder.previous_path, previous)
            write_atomically(folder.state_path, encoded)
        except (OSError, SafetensorError, UnreadableFileError) as error:
            reason = str(getattr(error, "strerror", None) or error)
            self._is_failing = True
            if _holds(folder.state_path, encoded):  # what failed came after its rename
                self._saved = state
        else:
            self._saved, self._is_failing = state, False
        self._delete_others(folder)
        self._last = time.monotonic()
        self._took = self._last - start
        return reason

    def load(self, part: str) -> Tensors:
        """Return the tensors of a part of the saved state, on the host.

        Raises:
            RunFolderError: the file is missing or damaged.
        """
        folder, saved = self._folder, self._saved
        assert folder is not None
        path = ranks.agree(lambda: folder.check(part, saved))
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(
                "The state of the run cannot be read: {path}: {error:clause}.",
                "Start the run again with its run.toml.",
                path=path.name,
                error=error,
            ) from error

    def discard(self) -> str:
        """Delete the saved state, as the run is complete.

        Returns:
            The reason why it cannot be deleted; empty if it is.
        """
        try:
            if self._folder is not None and ranks.is_first():
                self._folder.discard()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _write(self, folder: Path, part: str, tensors: Tensors) -> SavedPart:
        names = (f"{part}-{number}.safetensors" for number in itertools.count(1))
        name = next(x for x in names if x not in self._names)
        with file_written_atomically(folder / name) as temporary:
            save_file({x: t.cpu().contiguous() for x, t in tensors.items()}, temporary)
            return SavedPart(name, Content.of(temporary))

    @property
    def _names(self) -> set[str]:
        """The names of all files of the state and of the one before."""
        states = (self._saved, self._previous)
        parts = (each.parts.values() for each in states if each is not None)
        return {part.file for part in itertools.chain(*parts)}

    def _drop_previous(self, folder: StateFolder) -> None:
        """Delete the state before, to have room for a new one."""
        folder.previous_path.unlink(missing_ok=True)
        self._previous = None
        self._delete_others(folder)

    def _delete_others(self, folder: StateFolder) -> None:
        """Delete the files of neither the state nor the one before."""
        names = {folder.state_path.name, folder.previous_path.name, *self._names}
        with suppress(OSError):  # the next save tries again
            folder.delete_all_but(names)


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a file holds these bytes, which are not empty."""
    try:
        return bool(data) and read_bytes(path) == data
    except UnreadableFileError:
        return False
