"""Names of models and datasets of the Hugging Face Hub, and their cache folders.

A job uses the names of the Hub's own file system, which mean the same on every machine
and are never mistaken for paths:

    hf://org/name              a model
    hf://org/name@revision     a branch, tag or commit of it
    hf://datasets/org/name     a dataset

Downloaded models are found by the layout of the cache (models--org--name/refs and
/snapshots), without a network and without the Hub's library.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.api.model_info.files import find_weight_files
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import say

DEMO = "demo"  # the model source that names the bundled demo
SCHEME = "hf://"
_DATASETS = "datasets/"
_MODELS = "models"  # beginning of their folders in the cache
_MAIN = "main"
_MAX_REFERENCE = 10_000  # bytes; a commit has 40
_NUMBER_FORMAT = re.compile(  # number format at the end of a GGUF file's name
    r"(?<=.)[._-](UD-)?"
    r"(BF16|F16|F32|FP16|FP32|Q\d_[01K]|Q\d_K_(S|M|L|XL)|IQ\d_(XXS|XS|S|M|NL)"
    r"|TQ\d_0|MXFP4(_MOE)?)$",
    re.IGNORECASE,
)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?P<repo>({_PART}/)?{_PART})(@(?P<revision>[\w./-]+))?")
_TYPED = re.compile(rf"{_PART}/{_PART}(@[\w./-]+)?")
_ADDRESS = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/")
_TREE = re.compile(r"/(tree|blob|resolve)/(?P<revision>[^/]+).*")


@dataclass(frozen=True, slots=True)
class HubName:
    """A model or a dataset of the Hub."""

    repo: str  # "org/name"; a few old names have no organization
    revision: str = ""  # empty: the main branch
    is_dataset: bool = False

    def __str__(self) -> str:
        kind = _DATASETS if self.is_dataset else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{kind}{self.repo}{revision}"

    @property
    def short(self) -> str:
        """The name without the organization."""
        return self.repo.rpartition("/")[2]

    @property
    def display_name(self) -> str:
        """The name with its revision, without the scheme."""
        return f"{self.repo}@{self.revision}" if self.revision else self.repo

    @property
    def cache_folder(self) -> Path:
        """The folder in which the Hub's own programs keep all its revisions."""
        kind = "datasets" if self.is_dataset else _MODELS
        return hub_cache() / "--".join((kind, *self.repo.split("/")))

    @property
    def snapshot(self) -> Path | None:
        """The folder with the model's files; None unless all are downloaded."""
        revision = self.revision or _MAIN
        try:
            reference = self.cache_folder / "refs" / revision
            commit = read_text(reference, _MAX_REFERENCE).strip()
        except UnreadableFileError:
            commit = revision  # it may be a commit itself
        folder = self.cache_folder / "snapshots" / commit
        return folder if _is_complete(folder) else None

    @property
    def not_downloaded(self) -> str:
        """The error of an engine whose computer does not have the model."""
        name = self.display_name
        return say("{name} has not been downloaded to this computer yet.", name=name)


def hub_name(source: str) -> HubName | None:
    """Parse the name of a model or dataset of the Hub; None if it is not one."""
    if not source.startswith(SCHEME):
        return None
    name = source.removeprefix(SCHEME)
    is_dataset = name.startswith(_DATASETS)
    match = _NAME.fullmatch(name.removeprefix(_DATASETS))
    if match is None:
        return None
    revision = match["revision"] or ""
    if revision and {"", ".", ".."} & {*revision.split("/")}:
        return None  # it would lead out of the cache
    return HubName(match["repo"], revision, is_dataset)


def cached_models() -> tuple[str, ...]:
    """Return the names of the models that are completely in the cache, sorted."""
    try:
        folders = sorted(path.name for path in hub_cache().glob(f"{_MODELS}--*"))
    except OSError:
        return ()
    repos = (name.removeprefix(f"{_MODELS}--").replace("--", "/") for name in folders)
    names = (hub_name(f"{SCHEME}{repo}") for repo in repos)
    return tuple(
        str(name)
        for name in names
        if name is not None and not name.is_dataset and name.snapshot is not None
    )


def is_hub_source(source: str) -> bool:
    """Return whether `source` has the scheme of the Hub, valid or not."""
    return source.startswith(SCHEME)


def is_gguf_name(source: str) -> bool:
    """Return whether `source` is named like a GGUF file; it need not exist."""
    return source.lower().endswith(".gguf") and not is_hub_source(source)


def without_number_format(name: str) -> str:
    """Return the name of a model without the number format of a GGUF file at its end.

    A file made from it has a number format of its own.
    """
    return _NUMBER_FORMAT.sub("", name)


def parse_hub_source(typed: str, *, is_dataset: bool = False) -> str:
    """Return the full name for a typed or pasted name; empty if it is not one.

    Accepts "org/name", "org/name@revision" and the address of a page of the Hub.
    """
    text = typed.strip()
    if hub_name(text) is not None:
        return text
    address = _ADDRESS.match(text)
    if address is not None:
        text = text[address.end() :].partition("?")[0].rstrip("/")
        is_dataset = text.startswith(_DATASETS)
        text = _TREE.sub(r"@\g<revision>", text.removeprefix(_DATASETS))
    if _TYPED.fullmatch(text) is None:
        return ""
    return f"{SCHEME}{_DATASETS if is_dataset else ''}{text}"


def hub_cache() -> Path:
    """Return the folder into which the Hub's own programs download."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := os.environ.get(variable):
            return _path(folder)
    if home := os.environ.get("HF_HOME"):
        return _path(home) / "hub"
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _path(caches) / "huggingface" / "hub"


def _path(text: str) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(text)))


def _is_complete(folder: Path) -> bool:
    """Return whether all weights are present; they are downloaded last."""
    try:
        has_config = os.path.isfile(folder / "config.json")
        return has_config and bool(find_weight_files(folder))
    except ModelError:
        return False
