"""Files that keep measurements of original models in the user's cache.

    KEY.KIND-MARK-ENVIRONMENT.safetensors

KEY is a digest of everything that determines the numbers but the program and the
machine; ENVIRONMENT is a digest of both. MARK comes from `planning/measured_before.py`.
The metadata of a file hold a SHA-256 of the key and of the content, so that one that is
damaged or belongs to another key is measured again. Tensors are mapped: they take
memory only where the system has room. The files that were used least recently are
deleted where the folder would exceed its limit.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import re
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from surgeon_engine.base import versions as formats
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.files import (
    file_written_atomically,
    free_bytes,
    measurements_folder,
    remove_leftovers,
)
from surgeon_engine.base.reading import open_to_read
from surgeon_engine.planning.constants import KEPT_BYTES
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.runtime.versions import versions

_DISK_SHARE = 16  # a file is written if it takes at most this part of the free disk
_PACKAGE = Path(__file__).parents[1]
_ENDING = "safetensors"
_NAME = re.compile(rf"[0-9a-f]{{32}}\.\w+-(?P<mark>\w+)-(?P<where>\w+)\.{_ENDING}")
# Variables that change how libraries compute.
_VARIABLES = re.compile("(ATEN|CUBLAS|DNNL|MKL|NVIDIA|ONEDNN|TORCH)_.*")
_log = logging.getLogger(__name__)


def read(kind: Kind, facts: Hashable) -> tuple[dict[str, Tensor], str] | None:
    """Return the tensors, mapped, and the facts of a measurement; None if none is kept.

    A damaged file is deleted.
    """
    name = f"{_digest(kind, facts)}.{kind.value}-*-{environment()}.{_ENDING}"
    for path in measurements_folder().glob(name):
        if (found := _undamaged(path, kind, facts)) is not None:
            with suppress(OSError):
                os.utime(path)  # it is the last to be deleted
            return found
        _log.warning("%s is damaged: it is measured again.", path)
        with suppress(OSError):
            path.unlink()
    return None


def write(
    kind: Kind, facts: Hashable, mark: str, tensors: Mapping[str, Tensor], found: str
) -> None:
    """Keep a measurement, unless it is too large or the disk is nearly full."""
    folder = measurements_folder()
    name = f"{_digest(kind, facts)}.{kind.value}-{mark}-{environment()}.{_ENDING}"
    whole = {name: x.detach().contiguous() for name, x in tensors.items()}
    size = sum(x.nbytes for x in whole.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        if size > min(KEPT_BYTES // 2, free_bytes(folder) // _DISK_SHARE):
            return
        _make_room(folder, KEPT_BYTES - size)
        seal = _seal(kind, facts, whole, found)
        with file_written_atomically(folder / name) as temporary:
            save_file(whole, temporary, {"facts": found, "seal": seal})
    except (OSError, SafetensorError) as error:
        _log.warning("Measurements cannot be kept in %s: %s", folder, error)


def marks() -> tuple[str, ...]:
    """Return the marks of the measurements that this program finds on this machine."""
    names = (_NAME.fullmatch(path.name) for path in measurements_folder().glob("*"))
    where = environment()
    return tuple(sorted({x["mark"] for x in names if x and x["where"] == where}))


@functools.cache
def environment() -> str:
    """Return a digest of the program, its libraries and the processor."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)}".encode())
        digest.update(path.read_bytes())
    variables = [each for each in os.environ.items() if _VARIABLES.fullmatch(each[0])]
    machine = (
        platform.system(),
        torch.backends.cpu.get_cpu_capability(),
        sorted(torch.cpu.get_capabilities().items()),
        torch.__config__.show(),
    )
    facts = (formats.MEASUREMENTS, versions(), machine, sorted(variables))
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def _undamaged(
    path: Path, kind: Kind, facts: Hashable
) -> tuple[dict[str, Tensor], str] | None:
    """Return the tensors and the facts of a file; None if its seal does not fit."""
    try:
        with open_to_read(path) as file:
            if os.fstat(file.fileno()).st_size > KEPT_BYTES:
                return None
        with safe_open(path, "pt") as opened:
            tensors = {x: opened.get_tensor(x) for x in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError, UnreadableFileError):
        return None
    found = metadata.get("facts", "")
    is_whole = metadata.get("seal") == _seal(kind, facts, tensors, found)
    return (tensors, found) if is_whole else None


def _make_room(folder: Path, limit: int) -> None:
    """Delete the files that were used least recently, until all fit a limit."""
    files = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    found = sorted(((path.stat(), path) for path in files), key=lambda x: x[0].st_mtime)
    total = sum(facts.st_size for facts, _ in found)
    for facts, path in found:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= facts.st_size


def _digest(kind: Kind, facts: Hashable) -> str:
    return hashlib.sha256(repr((kind, facts)).encode()).hexdigest()[:32]


def _seal(
    kind: Kind, facts: Hashable, tensors: Mapping[str, Tensor], found: str
) -> str:
    """Return a digest of a key and of the content of its measurement."""
    digest = hashlib.sha256(repr((environment(), kind, facts, found)).encode())
    for name, x in sorted(tensors.items()):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
