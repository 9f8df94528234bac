"""Documents from a text source: the built-in text, or a .txt or .jsonl file."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

import datasets

from surgeon_engine.calibration.builtin import Part, builtin_documents
from surgeon_engine.config import BUILTIN_TEXT
from surgeon_engine.errors import CalibrationError

_BUILDERS = {".txt": "text", ".jsonl": "json"}
_FIELD = "text"  # of each line of a .jsonl file


def read_documents(source: str, part: Part) -> list[str]:
    """The texts of `source`; of the built-in text, those of `part`.

    Raises:
        CalibrationError: missing, empty, not text, or of an unknown kind.
    """
    if source == BUILTIN_TEXT:
        return builtin_documents(part)
    path = checked_file(source)
    if path.suffix.lower() not in _BUILDERS:
        raise CalibrationError(
            f"{path.name} is of an unknown kind.",
            f"Texts are read from {', '.join(_BUILDERS)} files, tokens from .npy.",
        )
    _refuse_binary(path)
    documents = _read(path)
    if not any(document.strip() for document in documents):
        raise CalibrationError(
            f"{path.name} holds no text.", "Choose a file with text in it."
        )
    return documents


def checked_file(source: str) -> Path:
    """The file at `source`.

    Raises:
        CalibrationError: there is none, or it is empty.
    """
    path = Path(os.path.expanduser(source))
    if not os.path.isfile(path):
        raise CalibrationError(
            f"There is no text file at {path}.", "Choose a .txt or .jsonl file."
        )
    if path.stat().st_size == 0:
        raise CalibrationError(
            f"{path.name} is empty.", "Choose a file with text in it."
        )
    return path


def _refuse_binary(path: Path) -> None:
    data = path.read_bytes()
    try:
        if b"\0" not in data:
            data.decode("utf-8")
            return
        place = data.index(b"\0")
    except UnicodeDecodeError as error:
        place = error.start
    raise CalibrationError(
        f"{path.name} is not UTF-8 text (at byte {place:,} of {len(data):,}).",
        "Choose a text file, or save it as UTF-8.",
    )


def _read(path: Path) -> list[str]:
    """The documents, through `datasets`, without leaving its copy behind."""
    builder = _BUILDERS[path.suffix.lower()]
    whole = {"sample_by": "document"} if builder == "text" else {}
    with tempfile.TemporaryDirectory() as cache:
        try:
            table = datasets.load_dataset(
                builder,
                data_files=glob.escape(str(path)),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
                **whole,
            )
        except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
            raise CalibrationError(
                f"{path.name} cannot be read: {error.__cause__ or error}.",
                'Each line must be a JSON object such as {"text": "..."}.',
            ) from error
        if _FIELD not in table.column_names:
            raise CalibrationError(
                f"The lines of {path.name} have no field called {_FIELD!r} "
                f"(they have {', '.join(table.column_names)}).",
                'Each line must be a JSON object such as {"text": "..."}.',
            )
        texts = list(table[_FIELD])
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise CalibrationError(
                f"{path.name} has no text in document {number:,}, but "
                f"{type(text).__name__}.",
                'Each line must be a JSON object such as {"text": "..."}.',
            )
    return texts
