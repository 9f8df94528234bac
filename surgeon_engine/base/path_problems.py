"""Sentences about problems of files and folders, each stated once."""

from __future__ import annotations

from surgeon_engine.base.sentences import say


def unreadable(path: object, reason: object) -> str:
    """Return that a file cannot be read; the reason is a text or an error."""
    return say(
        "{path} cannot be read: {reason:clause}.", path=path, reason=_short(reason)
    )


def unwritable(path: object, reason: object) -> str:
    """Return that a file or folder cannot be written."""
    return say(
        "{path} cannot be written: {reason:clause}.", path=path, reason=_short(reason)
    )


def unusable(path: object, reason: object) -> str:
    """Return that a file, a folder or a setting cannot be used."""
    return say(
        "{path} cannot be used: {reason:clause}.", path=path, reason=_short(reason)
    )


def damaged(path: object, reason: object) -> str:
    """Return that a file is damaged."""
    return say("{path} is damaged: {reason:clause}.", path=path, reason=_short(reason))


def _short(reason: object) -> object:
    """Leave out the number and the path of an error of the operating system."""
    return getattr(reason, "strerror", None) or reason
