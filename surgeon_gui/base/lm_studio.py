"""Where models lie on this computer, and how a file gets to those of LM Studio.

LM Studio lists what lies in MODELS/publisher/model/file.gguf. MODELS is chosen in its
settings, or the folder `models` in its home, which a file in the user's home names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.api.model_info.source_names import hub_cache
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.files import file_written_atomically, numbered_names
from surgeon_engine.base.reading import read_json, read_text
from surgeon_gui.base import paths

_POINTER = ".lmstudio-home-pointer"
_HOMES = (".lmstudio", ".cache/lm-studio")
_PUBLISHER = "surgeon"
_CHUNK_BYTES = 2**24


class Stopped(Exception):
    """The file is no longer wanted."""


class _Settings(msgspec.Struct, frozen=True):
    downloads: str = msgspec.field(default="", name="downloadsFolder")


def models_folder() -> Path | None:
    """Return the folder in which LM Studio looks for models; None without one."""
    for home in _homes():
        for models in (_chosen_in(home), home / "models"):
            if models is not None and paths.is_folder(str(models)):
                return models
    return None


def start_folder(last: str) -> str:
    """Return the folder in which a dialog that opens a model starts.

    The last folder, LM Studio's models, the Hub's cache, or else the home.
    """
    folders = (last, str(models_folder() or ""), str(hub_cache()))
    found = (each for each in folders if each and paths.is_folder(each))
    return next(found, str(paths.home()))


def _homes() -> Iterator[Path]:
    home = paths.home()
    with suppress(EngineError):
        yield Path(read_text(home / _POINTER).strip() or home / _HOMES[0])
    for name in _HOMES:
        yield home / name


def _chosen_in(home: Path) -> Path | None:
    """Return the folder of models that the settings of LM Studio name, if they do."""
    with suppress(EngineError):
        found = read_json(home / "settings.json", _Settings).downloads
        return Path(found) if found else None
    return None


def add_file(
    file: Path, models: Path, name: str, is_stopped: Callable[[], bool] = lambda: False
) -> Path:
    """Add a file to the models of LM Studio; return where it lies.

    It is linked on the same disk, and copied to another one. What is there under the
    name stays: the file gets a number, unless it is there already. Nothing new stays
    there if it raises.

    Raises:
        OSError: The file cannot be read, or not be written there.
        Stopped: `is_stopped` has returned True.
    """
    for each in numbered_names(name):
        place = models / _PUBLISHER / each / f"{each}.gguf"
        if not os.path.lexists(place):
            break
        if _is_same(file, place, is_stopped):
            return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with file_written_atomically(place) as temporary:
            _link_or_copy(file, temporary, is_stopped)
    except (OSError, Stopped):
        for folder in (place.parent, place.parent.parent):
            with suppress(OSError):  # it holds something else
                folder.rmdir()
        raise
    return place


def _is_same(one: Path, other: Path, is_stopped: Callable[[], bool]) -> bool:
    try:
        if one.samefile(other):
            return True
        if one.stat().st_size != other.stat().st_size:
            return False
        chunks = zip(_chunks(one, is_stopped), _chunks(other, is_stopped), strict=True)
        return all(first == second for first, second in chunks)
    except (OSError, ValueError):  # unreadable, or cut off meanwhile
        return False


def _link_or_copy(file: Path, temporary: Path, is_stopped: Callable[[], bool]) -> None:
    temporary.unlink()
    try:
        os.link(file, temporary)
    except OSError:
        with temporary.open("wb") as copy:
            for chunk in _chunks(file, is_stopped):
                copy.write(chunk)


def _chunks(file: Path, is_stopped: Callable[[], bool]) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            if is_stopped():
                raise Stopped
            yield chunk
