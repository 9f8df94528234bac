"""The folder of LM Studio, and how a file gets there.

LM Studio lists what lies in MODELS/publisher/model/file.gguf. MODELS is chosen in its
settings, or the folder `models` in its home, which a file in the user's home names.
"""

from __future__ import annotations

import filecmp
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.files import file_written_atomically
from surgeon_engine.base.reading import read_json, read_text
from surgeon_gui.base import paths

_POINTER = ".lmstudio-home-pointer"
_HOMES = (".lmstudio", ".cache/lm-studio")
_PUBLISHER = "surgeon"


class _Settings(msgspec.Struct, frozen=True):
    downloads: str = msgspec.field(default="", name="downloadsFolder")


def models_folder() -> Path | None:
    """Return the folder in which LM Studio looks for models; None without one."""
    for home in _homes():
        for models in (_chosen_in(home), home / "models"):
            if models is not None and paths.is_folder(str(models)):
                return models
    return None


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


def add_file(file: Path, models: Path, name: str) -> Path:
    """Add a file to the models of LM Studio; return where it lies.

    It is linked on the same disk, and copied to another one. What is there under the
    name stays: the file gets a number, unless it is there already.

    Raises:
        OSError: The file cannot be read, or not be written there.
    """
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    places = (models / _PUBLISHER / each / f"{each}.gguf" for each in names)
    place = next(x for x in places if not os.path.lexists(x) or _is_same(file, x))
    if os.path.lexists(place):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file_written_atomically(place) as temporary:
            _link_or_copy(file, temporary)
    except OSError:
        for folder in (place.parent, place.parent.parent):
            with suppress(OSError):  # it holds something else
                folder.rmdir()
        raise
    return place


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _link_or_copy(file: Path, temporary: Path) -> None:
    temporary.unlink()
    try:
        os.link(file, temporary)
    except OSError:
        shutil.copyfile(file, temporary)
