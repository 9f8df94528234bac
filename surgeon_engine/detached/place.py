"""The private folder of a detached engine: its socket, its lines, its log.

It is in the state folder of the user and not below XDG_RUNTIME_DIR: systemd deletes
that one when the last connection of the user ends, while the engine goes on.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

from surgeon_engine.base.errors import EngineError

_PRIVATE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_SOCKET_PATH = 100  # bytes; systems allow 104 to 108


class DetachedError(EngineError):
    """A detached engine cannot be started or reached."""


class Place:
    """The files of the detached engine of this user on this computer.

    Raises:
        DetachedError: The folder is not private, or cannot be made.
    """

    def __init__(self) -> None:
        if not hasattr(os, "getuid") or not hasattr(socket, "AF_UNIX"):
            raise DetachedError(
                "An engine cannot run detached on this system.",
                "Use a computer with Linux or macOS.",
            )
        # Computers may share a home folder.
        name = f"engine-{socket.gethostname()}"
        self.folder = _private(platformdirs.user_state_path("surgeon") / name)
        self.lock = self.folder / "lock"
        self.lines = self.folder / "lines.jsonl"
        self.log = self.folder / "engine.log"
        self.socket = self.folder / "socket"
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH:
            # The name is that of this folder: others have sockets of their own.
            code = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
            short = Path(tempfile.gettempdir()) / f"surgeon-{os.getuid()}-{code}"
            self.socket = _private(short) / "socket"

    def make_room_for_socket(self) -> None:
        """Delete the socket of a dead keeper, and make the folder if it is missing.

        Raises:
            DetachedError: The folder is not private, or cannot be made.
        """
        _private(self.socket.parent)
        self.socket.unlink(missing_ok=True)

    def remove_socket(self) -> None:
        """Delete the socket, and its folder if it is another one."""
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.folder:
            with suppress(OSError):  # the next keeper uses it
                self.socket.parent.rmdir()


def _private(folder: Path) -> Path:
    """Make a folder that only this user can enter, or check that it is one."""
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise DetachedError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Check the rights of the folders above it.",
        ) from error
    is_own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
    if not is_own or facts.st_mode & _OTHERS:
        raise DetachedError(
            f"The folder {folder} is not private: it must belong to you, and nobody "
            "else may enter it.",
            f"Delete it, or run: chmod 700 {folder}",
        )
    return folder
