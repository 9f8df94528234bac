"""Save the state of a run in its folder, so that it can go on after an interruption."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.errors import RunFolderError
from surgeon_engine.api.files import file_written_atomically, write_atomically
from surgeon_engine.api.saved_state import Origin, SavedState, StateFolder
from surgeon_engine.runtime import ranks

_SECONDS_BETWEEN = 60.0  # within a stage
_SHARE_OF_TIME = 0.05  # that saving may take within a stage
_WHOLE = "shot"  # the part whose save holds the whole state

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
        self._last = time.monotonic()
        self._took = 0.0  # seconds, of the last save
        self._is_failing = False

    @classmethod
    def off(cls) -> Saver:
        """Return a saver that saves nothing."""
        return cls(None, SavedState(Origin("", "", "", {}), RecoveryConfig()))

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
        return bool(ranks.agreed(time.monotonic() - self._last > interval))

    def save(self, parts: Mapping[str, Tensors | None], **changes: object) -> str:
        """Save tensors of some parts, and other fields of the state.

        Args:
            parts: the tensors of each part; None: it is over.
            changes: new values of fields of `SavedState`.

        Returns:
            The reason why nothing could be saved; empty if it could be, and after the
            first of several failures.
        """
        reason, self._saved = ranks.agree(lambda: self._saved_by_first(parts, changes))
        return reason

    def _saved_by_first(
        self, parts: Mapping[str, Tensors | None], changes: Mapping[str, object]
    ) -> tuple[str, SavedState]:
        """Save, and return the reason against it and the state that is saved."""
        reason = self._write_state(parts, changes)
        return reason, self._saved

    def _write_state(
        self, parts: Mapping[str, Tensors | None], changes: Mapping[str, object]
    ) -> str:
        folder, start, reason = self._folder, time.monotonic(), ""
        is_whole = parts.get(_WHOLE) is not None
        if folder is None or (self._is_failing and not is_whole):
            return ""
        files = {x: name for x, name in self._saved.files.items() if x not in parts}
        state, encoded = self._saved, b""
        try:
            folder.path.mkdir(exist_ok=True)
            for part, tensors in parts.items():
                if tensors is not None:
                    files[part] = self._write(folder.path, part, tensors)
            state = msgspec.structs.replace(self._saved, files=files, **changes)
            encoded = msgspec.json.encode(state)
            write_atomically(folder.state_path, encoded)
        except (OSError, SafetensorError) as error:
            if not self._is_failing:
                reason = str(getattr(error, "strerror", None) or error)
            self._is_failing = True
            if _holds(folder.state_path, encoded):  # what failed came after its rename
                self._saved = state
        else:
            self._saved, self._is_failing = state, False
        with suppress(OSError):  # the next save tries again
            folder.delete_all_but({folder.state_path.name, *self._saved.files.values()})
        self._last = time.monotonic()
        self._took = self._last - start
        return reason

    def load(self, part: str) -> Tensors:
        """Return the tensors of a part of the saved state, on the host.

        Raises:
            RunFolderError: the file cannot be read.
        """
        assert self._folder is not None
        path = self._folder.path / self._saved.files[part]
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(
                f"The state of the run cannot be read: {path.name}: {error}.",
                "Start the run again with its run.toml.",
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

    def _write(self, folder: Path, part: str, tensors: Tensors) -> str:
        names = [f"{part}-{number}.safetensors" for number in (1, 2)]
        name = next(x for x in names if x != self._saved.files.get(part))
        with file_written_atomically(folder / name) as temporary:
            save_file({x: t.cpu().contiguous() for x, t in tensors.items()}, temporary)
        return name


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a file holds these bytes, which are not empty."""
    try:
        return bool(data) and path.read_bytes() == data
    except OSError:
        return False
