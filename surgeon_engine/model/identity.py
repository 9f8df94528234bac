"""Recognize the files of a model by their content.

The identity of a model is the SHA-256 of each file that its loading reads, by name:
weights, configs and the files of the tokenizer. So a change is noticed wherever it is,
and a copy is the same model whatever its times are. Everything that depends on a model
is kept under its identity: the saved state of a run, the text that the model writes,
and the measurements of a process.

A stamp of a file is its place, size and times. It tells whether a file was touched, at
no cost: within a process, a file is read again only if its stamp has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import Content
from surgeon_engine.base.sentences import say
from surgeon_engine.model.source import TEMPLATES, ModelSource

_HINT = say("Check that the model's files are there and that you may read them.")
# The files besides weights that transformers reads.
_OTHERS = re.compile(
    r"((generation_|hf_quant_)?config|special_tokens_map|added_tokens|tokenizer[\w.-]*|"
    r"vocab[\w.-]*|merges[\w.-]*|chat_template[\w.-]*|tekken|"
    r"[\w.-]*\.safetensors\.index)\.(json|txt|jinja)|"
    r"[\w.-]+\.(model|tiktoken|spm|bpe)"
)


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file of a model, as it was when it was looked at."""

    path: Path
    name: str  # in the folder of the model
    facts: tuple[int, ...]  # device, inode, bytes, times of content and of facts in ns


_digests: dict[FileStamp, str] = {}


def stamps_of(source: ModelSource) -> tuple[FileStamp, ...]:
    """Return the stamps of all files that loading a model reads.

    Raises:
        ModelError: A file cannot be read.
    """
    folder = source.folder
    try:
        others = [path for path in folder.iterdir() if _OTHERS.fullmatch(path.name)]
        others += (folder / TEMPLATES).glob("*.jinja")
        paths = {*source.weight_files, *(path for path in others if path.is_file())}
        return tuple(
            stamp_of(path, path.relative_to(folder).as_posix())
            for path in sorted(paths)
        )
    except OSError as error:
        raise _unreadable(error) from error


def identity_of(stamps: Sequence[FileStamp]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name.

    Raises:
        ModelError: A file cannot be read, or has changed since its stamp was taken.
    """
    return {stamp.name: _digest(stamp) for stamp in stamps}


def check_same(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a model is the one that it was.

    Raises:
        ModelError: A file has changed, is missing, or was added.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ModelError(
                "The model is no longer the one that this run began with: {name} "
                "has changed.",
                "Put it back where it was, or start the run again with its run.toml.",
                name=name,
            )


def stamp_of(path: Path, name: str = "") -> FileStamp:
    """Return the stamp of one file, under another name if one is given.

    Raises:
        OSError: It cannot be read.
    """
    return FileStamp(path, name or path.name, _facts(path))


def _facts(path: Path) -> tuple[int, ...]:
    found = path.stat()
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return found.st_dev, found.st_ino, found.st_size, *times


def _digest(stamp: FileStamp) -> str:
    if stamp not in _digests:
        try:
            digest = Content.of(stamp.path).sha256
            is_same = _facts(stamp.path) == stamp.facts
        except OSError as error:
            raise _unreadable(error) from error
        except UnreadableFileError as error:
            raise ModelError(error.message, _HINT) from error
        if not is_same:
            raise ModelError(
                "{path} has changed since the model was loaded.",
                "Let no other program write to the model's files, and start again.",
                path=stamp.path,
            )
        _digests[stamp] = digest
    return _digests[stamp]


def _unreadable(error: OSError) -> ModelError:
    return ModelError(
        unreadable(error.filename, error),
        _HINT,
    )
