"""Offline mode: the Hugging Face Hub is never contacted.

The libraries of the Hub read an environment variable when they are imported, so that
the mode applies to every process that is started from then on.
"""

from __future__ import annotations

import os

_VARIABLE = "HF_HUB_OFFLINE"
_ON = ("1", "ON", "YES", "TRUE")  # as the libraries of the Hub read it

_given = os.environ.get(_VARIABLE)  # by who has started the program


def is_forced() -> bool:
    """Return True if the environment of the program demands offline mode."""
    return _given is not None and _given.upper() in _ON


def is_on() -> bool:
    """Return True if the Hub is not contacted."""
    return os.environ.get(_VARIABLE, "").upper() in _ON


def use(is_offline: bool) -> None:
    """Set the mode of this process and of those that it starts."""
    if is_offline:
        os.environ[_VARIABLE] = "1"
    elif _given is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = _given
