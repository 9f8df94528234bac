"""Check names and paths that a person or a job file gives, before they are used.

A path that no system can have would otherwise end as one of many errors of Python, each
in another place.
"""

from __future__ import annotations

import shlex

from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say

_MAX_PATH_BYTES = 4_095  # limit of Linux, which is the highest
_MAX_NAME_BYTES = 255
_MAX_TEXT_BYTES = 100_000
_SHOWN = 60  # characters in a message


def command_on(path: object, name: str, options: str = "") -> str:
    """Return a command on a folder or file that a person can copy."""
    return f"surgeon {name} {shlex.quote(str(path))} {options}".rstrip()


def check_text(what: str, text: str, max_bytes: int = _MAX_TEXT_BYTES) -> None:
    """Check that a text can be written to files and sent to other processes.

    `what` is the subject of the error, such as "model.source".

    Raises:
        ConfigError: It is too long, has a NUL character or is not Unicode.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        wrong = text[max(0, error.start - _SHOWN // 2) :]
        raise ConfigError(
            "{what} is not UTF-8 text: {wrong:shown}.",
            "Rename it, or write it again.",
            what=what,
            wrong=wrong,
        ) from error
    if size > max_bytes:
        raise ConfigError(
            "{what} has {size:,} bytes, and may have {most:,}.",
            "Shorten it.",
            what=what,
            size=size,
            most=max_bytes,
        )
    if "\0" in text:
        raise ConfigError("{what} has a NUL character.", "Write it again.", what=what)


def check_path(what: str, text: str) -> None:
    """Check that a text of one line can be a path or a name.

    Raises:
        ConfigError: See `check_text`; or it has control characters or a part that is
            too long.
    """
    if len(text) <= _MAX_NAME_BYTES and text.isascii() and text.isprintable():
        return
    check_text(what, text, _MAX_PATH_BYTES)
    _check_controls(what, text)
    longest = max(len(part.encode()) for part in text.split("/"))
    if longest > _MAX_NAME_BYTES:
        raise ConfigError(
            "{what} has a name of {longest} bytes, and a name may have {most}.",
            "Shorten it.",
            what=what,
            longest=longest,
            most=_MAX_NAME_BYTES,
        )


def check_argument(text: str) -> None:
    """Check an argument of the command line, which may be a path.

    Raises:
        ConfigError: See `check_path`; lists of values may be longer.
    """
    if "=" in text:
        check_text(say("An argument"), text)
        _check_controls(say("An argument"), text)
    else:
        check_path(say("An argument"), text)


def check_name(what: str, text: str) -> None:
    """Check that a text can be the name of a file or folder.

    Raises:
        ConfigError: See `check_path`; or it leads to another folder.
    """
    check_path(what, text)
    if not text.strip() or text.startswith(".") or "/" in text or "\\" in text:
        raise ConfigError(
            "{what} is {text:shown}, which is no name of a folder.",
            "Choose a name without slashes that does not begin with a dot.",
            what=what,
            text=text,
        )


def _check_controls(what: str, text: str) -> None:
    if any(ord(x) < 0x20 or 0x7F <= ord(x) < 0xA0 for x in text):
        raise ConfigError(
            "{what} has control characters: {text:shown}.",
            "Rename it, or write it again.",
            what=what,
            text=text,
        )
