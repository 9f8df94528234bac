"""The origin of a model: its name on the Hub, its license and its languages.

The card of a model on the Hub (README.md) and the header of a GGUF file state them. The
cards that Surgeon writes repeat them, so that later exports of a run find them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from yaml import YAMLError

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.paths import with_paths
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.gguf_header import read_gguf_header
from surgeon_engine.api.model_info.source_names import DEMO, is_hub_source
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.reading import read_text
from surgeon_engine.model.source import ModelSource

CARD = "README.md"
TAG = "surgeon"  # in the cards that Surgeon writes
_MAX_CARD = 1_000_000  # bytes
_CACHED = re.compile(r"models--(?P<name>.+)")  # folder of a model in the Hub's cache
_ADDRESS = re.compile(r"(https://huggingface\.co/)?(?P<name>[\w.-]+/[\w.-]+)")
_NAMES = {DEMO, BUILTIN_TEXT, ""}  # these are no paths


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts about the original model; empty: unknown."""

    base_model: str = ""  # "org/name"
    license: str = ""
    license_name: str = ""
    license_link: str = ""
    languages: tuple[str, ...] = ()


def provenance_of(source: ModelSource) -> Provenance:
    """Return the facts in the files of a model, or of an export of Surgeon."""
    if source.gguf_file:
        return _of_gguf(source.weight_files[0])
    data = _card_data(source.folder / CARD)
    found = Provenance(
        license=_text(data.get("license")),
        license_name=_text(data.get("license_name")),
        license_link=_text(data.get("license_link")),
        languages=_texts(data.get("language")),
    )
    if TAG in _texts(data.get("tags")):
        return replace(found, base_model=_text(data.get("base_model")))
    # The folder of a model that the Hub's own programs have downloaded has its name.
    cached = filter(None, map(_CACHED.fullmatch, source.folder.parts))
    names = [match["name"].replace("--", "/", 1) for match in cached]
    return replace(found, base_model=names[-1] if names else "")


def published(config: RunConfig) -> RunConfig:
    """Return a config with names of files and folders in place of their paths."""
    return with_paths(config, public_name)


def public_name(source: str) -> str:
    """Return the name of a file or folder, and any other source as it is."""
    if source in _NAMES or is_hub_source(source):
        return source
    return Path(source).name or "folder"


def _of_gguf(path: Path) -> Provenance:
    try:
        header = read_gguf_header(path)
    except ModelError:  # it has been moved or replaced since
        return Provenance()
    repository = header.get("general.source.huggingface.repository")
    address = repository or header.get("general.base_model.0.repo_url")
    match = _ADDRESS.fullmatch(_text(address))
    return Provenance(
        base_model="" if match is None else match["name"],
        license=_text(header.get("general.license")),
        license_name=_text(header.get("general.license.name")),
        license_link=_text(header.get("general.license.link")),
    )


def _card_data(path: Path) -> dict[str, Any]:
    """Return the front matter of a card; empty if it has none that can be read."""
    try:
        text = read_text(path, _MAX_CARD)
        if not text.startswith("---"):  # the library would warn
            return {}
        return ModelCard(text, ignore_metadata_errors=True).data.to_dict()
    except (
        UnreadableFileError,
        OSError,
        ValueError,
        TypeError,
        RecursionError,
        YAMLError,
    ):
        return {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(each for each in values if isinstance(each, str))
