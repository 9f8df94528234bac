"""The listing of an export's files, by which Surgeon recognizes its own exports.

    surgeon-export.json     size and SHA-256 of every other file, with a checksum

It is written last. A folder is replaced only if it holds exactly the files of its
listing, unchanged.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from surgeon_engine.base.errors import ExportError, UnreadableFileError
from surgeon_engine.base.files import to_trash, write_atomically
from surgeon_engine.base.formatting import escape_controls
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import Content, nothing
from surgeon_engine.base.sealed_json import read_sealed_json, sealed_json
from surgeon_engine.base.sentences import say
from surgeon_engine.base.versions import EXPORT

MARKER = "surgeon-export.json"
_NAMES_SHOWN, _NAME_LENGTH = 3, 255  # in a sentence; characters
_HINT = say(
    "Move it away, or choose another folder. Only an export that is exactly as "
    "Surgeon wrote it is replaced or deleted."
)


class Marker(msgspec.Struct, frozen=True):
    """The content of the marker: the files by their path in the folder, with /."""

    files: dict[str, Content]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files.values())


class Differences(msgspec.Struct, frozen=True):
    """The paths in a folder that are not as its marker lists them."""

    changed: tuple[str, ...] = ()  # other content, or no regular file any more
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()  # files, links, and folders without listed files

    @property
    def all(self) -> tuple[str, ...]:
        """All of these paths, sorted."""
        return tuple(sorted((*self.changed, *self.missing, *self.added)))


def write_marker(folder: Path) -> None:
    """Write the marker of a folder whose files are complete; replace an earlier one.

    Empty folders below it are removed: a marker lists files alone.

    Raises:
        OSError: A file cannot be read, or the marker cannot be written.
        UnreadableFileError: The folder holds a link or another irregular file.
    """
    (folder / MARKER).unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    files = {name: _content(folder / name) for name in sorted(_entries(folder))}
    (folder / MARKER).write_bytes(sealed_json(Marker(files), EXPORT, indent=2))


def replace_file(folder: Path, name: str, data: bytes) -> bool:
    """Replace a file of an export and its entry in the marker.

    Return False if the file is no longer as it was written, so that it stays.

    Raises:
        OSError: It cannot be written.
    """
    try:
        files = dict(read_marker(folder).files)
        if files.get(name) != _content(folder / name):
            return False
    except UnreadableFileError:
        return False
    write_atomically(folder / name, data)
    files[name] = _content(folder / name)
    write_atomically(folder / MARKER, sealed_json(Marker(files), EXPORT, indent=2))
    return True


def read_marker(folder: Path) -> Marker:
    """Return the marker of an export. Files in the folder may have changed since.

    Raises:
        UnreadableFileError: There is none, it is damaged, or of another version.
    """
    path = folder / MARKER
    if path.is_symlink():
        raise UnreadableFileError("{path} is a link.", path=path)
    if not os.path.lexists(path):
        raise UnreadableFileError(
            "{folder} has no {file}, as exports have.", folder=folder, file=MARKER
        )
    return read_sealed_json(path, Marker, EXPORT)


def differences(
    folder: Path, *, by_content: bool = True, check: Callable[[], object] = nothing
) -> Differences:
    """Return how a folder differs from the listing in its marker.

    With `by_content`, all files are read; otherwise their sizes are compared. `check`
    is called every few milliseconds while files are read; it may raise.

    Raises:
        UnreadableFileError: See `read_marker`; or a file cannot be read.
    """
    listed = read_marker(folder).files
    try:
        found = _entries(folder)
    except OSError as error:
        raise UnreadableFileError(unreadable(folder, error)) from error
    found.pop(MARKER, None)
    changed = [
        name
        for name in found.keys() & listed.keys()
        if found[name] != listed[name].bytes
        or (by_content and _content(folder / name, check) != listed[name])
    ]
    return Differences(
        changed=tuple(sorted(changed)),
        missing=tuple(sorted(listed.keys() - found.keys())),
        added=tuple(sorted(found.keys() - listed.keys())),
    )


def check_own(
    folder: Path, *, by_content: bool = True, check: Callable[[], object] = nothing
) -> Marker:
    """Return the marker of a folder that holds an unchanged export and nothing else.

    See `differences` for `by_content` and `check`.

    Raises:
        ExportError: It holds something else, or is a link.
    """
    if folder.is_symlink():
        raise ExportError(
            "{folder} is a link.", "Choose the folder itself.", folder=folder
        )
    try:
        marker = read_marker(folder)
        found = differences(folder, by_content=by_content, check=check)
    except UnreadableFileError as error:
        raise ExportError(error.message, _HINT) from error
    if not found.all:
        return marker
    raise ExportError(
        "{folder} holds what Surgeon did not write: {names}."
        if found.added
        else "{folder} has changed since Surgeon wrote it: {names}."
        if found.changed
        else "{folder} is no longer complete: {names}.",
        _HINT,
        folder=folder,
        names=name_list(found.added or found.changed or found.missing),
    )


def trash_export(folder: Path) -> bool:
    """Move an export to the trash if it is unchanged; return whether it is there."""
    try:
        check_own(folder)
    except ExportError:
        return False
    return to_trash(folder)


def name_list(names: Sequence[str]) -> str:
    """Return some names for a sentence, as text that any program can show."""
    decoded = [
        os.fsencode(x).decode(errors="backslashreplace") for x in names[:_NAMES_SHOWN]
    ]
    shown = [escape_controls(x).replace("\n", "\\n")[:_NAME_LENGTH] for x in decoded]
    more = len(names) - _NAMES_SHOWN
    rest = f" and {more:,} more" if more > 0 else ""
    return ", ".join(shown) + rest


def _entries(folder: Path) -> dict[str, int | None]:
    """Return the sizes of the files below a folder by their paths in it.

    Links, pipes and empty folders have none. No link is followed.

    Raises:
        OSError: A folder cannot be read.
    """
    found: dict[str, int | None] = {}
    folders = [folder]
    while folders:
        inside = list(os.scandir(current := folders.pop()))
        if not inside and current != folder:
            found[current.relative_to(folder).as_posix()] = None
        for entry in inside:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                folders.append(Path(entry.path))
            else:
                size = facts.st_size if stat.S_ISREG(facts.st_mode) else None
                found[Path(entry.path).relative_to(folder).as_posix()] = size
    return found


def _content(path: Path, check: Callable[[], object] = nothing) -> Content:
    """Return the content of a file that is no link."""
    if path.is_symlink():
        raise UnreadableFileError("{path} is a link.", path=path)
    return Content.of(path, check)
