"""Errors have a length that a person can read."""

from __future__ import annotations

from surgeon_engine.base.errors import ConfigError


def test_long_message_keeps_its_beginning_and_its_reason():
    error = ConfigError(f"{'x' * 9_000} cannot be read: name too long.", "y" * 9_000)
    assert len(error.message) == len(error.hint) == len(str(error)) == 5_001
    assert error.message.startswith("xxx")
    assert error.message.endswith("cannot be read: name too long.")
