"""Disk space besides the runs: the caches of models and texts.

Pure functions of the disk. Programs for the Hub share its cache, so that a model in it
may be another program's.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from surgeon_engine.api.model_info.source_names import hub_cache, hub_name
from surgeon_engine.base.files import (
    delete_cache,
    expand_path,
    measurements_folder,
    own_samples_folder,
    size_of_folder,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.sources.samples import SUFFIX, samples_folder
from surgeon_gui.text import numbers


class StoredKind(Enum):
    """Kinds of things that are kept on the disk."""

    HUB_MODEL = "models--"  # the beginning of its folder
    HUB_DATASET = "datasets--"
    SAMPLE = "sample"
    OWN_TEXT = "own_text"  # written by models
    MEASUREMENTS = "measurements"  # results of original models


KIND_NAMES = {
    StoredKind.HUB_MODEL: tr("Models of the Hugging Face Hub"),
    StoredKind.HUB_DATASET: tr("Datasets of the Hugging Face Hub"),
    StoredKind.SAMPLE: tr("Sample models"),
    StoredKind.OWN_TEXT: tr("Text by the models themselves"),
    StoredKind.MEASUREMENTS: tr("Measurements of the models"),
}
_HUB = (StoredKind.HUB_MODEL, StoredKind.HUB_DATASET)
_CONSEQUENCES = {
    StoredKind.HUB_MODEL: tr(
        "Programs for the Hub share this cache: another one may need the model and "
        "would download it again."
    ),
    StoredKind.HUB_DATASET: tr(
        "Programs for the Hub share this cache: another one may need the dataset and "
        "would download it again."
    ),
    StoredKind.SAMPLE: tr("It can be downloaded again."),
    StoredKind.OWN_TEXT: tr("The next run with such text writes it again."),
    StoredKind.MEASUREMENTS: tr("The next run of each model measures it again."),
}


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A file or folder that can be deleted."""

    kind: StoredKind
    name: str
    path: Path
    bytes: int


def read_storage() -> tuple[StoredItem, ...]:
    """Return what is in the caches, the largest first within each kind."""
    found = [*_hub_items(), *_sample_items()]
    for kind, folder in _own_caches().items():
        if size := size_of_folder(folder):
            found.append(StoredItem(kind, KIND_NAMES[kind], folder, size))
    kinds = list(StoredKind)
    return tuple(sorted(found, key=lambda x: (kinds.index(x.kind), -x.bytes, x.name)))


def paths_of_sources(sources: Collection[str]) -> frozenset[Path]:
    """Return the files and folders of models and texts."""
    names = ((source, hub_name(source)) for source in sources)
    return frozenset(
        name.cache_folder if name is not None else expand_path(source)
        for source, name in names
    )


def delete_obstacle(item: StoredItem, used: Collection[Path], *, is_busy: bool) -> str:
    """Return why an item cannot be deleted; empty if it can.

    `used`: files and folders of the sources that a task in progress uses.
    """
    if item.path in used:
        return tr("A task in progress uses it.")
    if item.kind in _own_caches() and is_busy:
        return tr("A task in progress may use it.")
    return ""


def delete_question(item: StoredItem) -> tuple[str, str]:
    """Return the question before an item is deleted, and its details."""
    question = tr("Delete {name} ({size})?")
    details = tr("{path} is deleted. {consequence}")
    return (
        question.format(name=item.name, size=numbers.size(item.bytes)),
        details.format(path=item.path, consequence=_CONSEQUENCES[item.kind]),
    )


def delete(item: StoredItem) -> str:
    """Delete an item; return the error, empty if there is none."""
    try:
        if item.kind in _own_caches():
            delete_cache(item.path)
        elif item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _own_caches() -> dict[StoredKind, Path]:
    """Return the folders that Surgeon keeps for itself."""
    return {
        StoredKind.OWN_TEXT: own_samples_folder(),
        StoredKind.MEASUREMENTS: measurements_folder(),
    }


def _hub_items() -> list[StoredItem]:
    found = []
    for folder in _entries(hub_cache()):
        kind = next((k for k in _HUB if folder.name.startswith(k.value)), None)
        if kind is not None:
            name = folder.name.removeprefix(kind.value).replace("--", "/")
            found.append(StoredItem(kind, name, folder, size_of_folder(folder)))
    return found


def _sample_items() -> list[StoredItem]:
    return [
        StoredItem(StoredKind.SAMPLE, path.stem, path, path.stat().st_size)
        for path in _entries(samples_folder())
        if path.suffix == SUFFIX and path.is_file()
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
