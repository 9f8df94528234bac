"""The versions of the formats of Surgeon's files.

Each file holds the version of its format, which its reader checks first. Raise a number
here when a change would let a file of the earlier format be misread.
"""

from __future__ import annotations

from typing import Any

import msgspec

from surgeon_engine.base.errors import UnreadableFileError

JOB = 1  # run.toml and other jobs, presets
LOG = 1  # events.jsonl, in its first line
REPORT = 1  # report.json
JUDGMENT = 1  # judgment.json
STATE = 1  # resume/state.json
QUEUE = 1  # queue.json
EXPORT = 1  # surgeon-export.json
PLAN = 1  # kept.indices
MEASUREMENTS = 1  # measurements of originals, in the cache


class Version(msgspec.Struct):
    """The version in a file of JSON."""

    version: Any = None  # None: the file has none


class OtherVersionError(UnreadableFileError):
    """A file has a version that this program does not read."""


def check_version(name: object, found: object, expected: int) -> None:
    """Raise OtherVersionError unless a file has the version that is expected.

    `found` is the version in the file; None: it has none.
    """
    if found == expected and not isinstance(found, bool):
        return
    raise OtherVersionError(
        "{name} does not say which version its format has; this program reads version "
        "{expected}."
        if found is None
        else "{name} has version {found} of its format; this program reads version "
        "{expected}.",
        "Open it with the version of Surgeon that wrote it.",
        name=name,
        found=format(repr(found), ".20"),
        expected=expected,
    )
