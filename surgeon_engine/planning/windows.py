"""The windows of a job: the files of their texts, the model's limit, and an epoch's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    is_token_file,
    real_name,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.planning.constants import EPOCH_OWN

TABLES = (".jsonl", ".csv", ".parquet")
TEXT_ENDINGS = (".txt", *TABLES, ".npy")
_MAX_BEGINNING = 4  # tokens that a window may begin with besides its text


def check_window_length(length: int, longest: int) -> None:
    """Check a length against the longest window of a model; 0: it states none.

    Raises:
        CalibrationError: The windows are longer.
    """
    if 0 < longest < length:
        raise CalibrationError(
            "The windows have {shape:,} tokens; the maximum of the model is {limit:,}.",
            "Use windows of at most {limit} tokens, or split a token file into such.",
            shape=length,
            limit=longest,
        )


def check_tokenizer(problem: str, names: Iterable[str]) -> None:
    """Check that a model has a tokenizer, if texts need one.

    `problem` says why it has none; empty if it has. Token files need none.

    Raises:
        CalibrationError: It has none.
    """
    if problem and not all(map(is_token_file, names)):
        raise CalibrationError(
            "{problem} Texts need a tokenizer.",
            "Download the model's files again, with the tokenizer, or use token files "
            "(.npy).",
            problem=problem,
        )


def check_text_file(text: str) -> Path:
    """Return the path of a text or token file.

    Raises:
        CalibrationError: The file is missing, empty or of an unknown kind.
    """
    path, kinds = Path(os.path.expanduser(text)), ", ".join(TEXT_ENDINGS)
    if not os.path.isfile(path):
        raise CalibrationError(
            "{path} is a folder."
            if os.path.isdir(path)
            else "{path} is a pipe or a device."
            if os.path.exists(path)
            else "There is no text file at {path}.",
            "Download the text first, then choose its file."
            if {"http:", "https:"}.intersection(path.parts)
            else "Choose a file of one of these kinds: {kinds}.",
            path=path,
            kinds=kinds,
        )
    if path.stat().st_size == 0:
        raise CalibrationError(
            "{path} is empty.", "Choose a file with text in it.", path=path.name
        )
    if path.suffix.lower() not in TEXT_ENDINGS:
        raise CalibrationError(
            "{path} is of an unknown kind.",
            "Choose a file of one of these kinds: {kinds}.",
            path=path.name,
            kinds=kinds,
        )
    return path


def text_errors(config: RunConfig) -> Iterator[tuple[str, CalibrationError]]:
    """Yield why text files of a job cannot be used, each with its setting."""
    for setting, text in config.texts:
        if text not in ("", BUILTIN_TEXT) and not is_hub_source(text):
            try:
                check_text_file(text)
            except CalibrationError as error:
                yield setting, error
    yield from _short_texts(config.calibration)


def _short_texts(
    calibration: CalibrationConfig,
) -> Iterator[tuple[str, CalibrationError]]:
    """Yield the setting of each plain text with fewer bytes than tokens are needed."""
    length = calibration.window_length
    for setting, text, counts in _windows_of_texts(calibration):
        size = _plain_bytes(text)
        if size is not None and size < sum(counts) * (length - _MAX_BEGINNING):
            yield (
                setting,
                CalibrationError(
                    "{text} has {size:,} bytes: too few for {windows} windows of "
                    "{length:,} tokens, because a token has at least one byte.",
                    "Choose a longer text, or fewer or shorter windows.",
                    text=Path(text).name,
                    size=size,
                    windows=" + ".join(f"{count:,}" for count in counts),
                    length=length,
                ),
            )


def shipped_of_epoch(epoch: int, general: int, first: int, pool: int) -> range:
    """Return the places of the shipped windows that an epoch of a training reads.

    Writing takes as long as training. Most windows are therefore shipped, if the refit
    has any that are, until the shipped text is used up. Then it begins again, and an
    epoch reads as many as the refit.

    Args:
        epoch: its number, from 1.
        general: windows of general text in each epoch.
        first: how many of them are shipped in the refit, at places from 0 on.
        pool: windows of the shipped text. At this place, it begins again.
    """
    each = general - max(1, general // EPOCH_OWN) if first else 0
    whole = (pool - first) // max(1, each)  # epochs that read so many new ones
    before = min(epoch - 1, whole)
    start = first * (epoch - before) + each * before
    return range(start, start + (each if epoch <= whole else first))


def _windows_of_texts(
    calibration: CalibrationConfig,
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield the setting of each text, the text, and the windows that it needs."""
    main, *further = calibration.window_counts
    held_out = calibration.validation_text or calibration.text
    validation = calibration.validation_windows
    if real_name(held_out) == real_name(calibration.text):
        yield "text", calibration.text, (main, validation)
    else:
        yield "text", calibration.text, (main,)
        yield "validation_text", held_out, (validation,)
    for more, count in zip(calibration.more_texts, further, strict=True):
        yield "more_texts", more.text, (count,)


def _plain_bytes(text: str) -> int | None:
    """Return the bytes of a file of plain text; None: there is none, or it is none."""
    path = Path(os.path.expanduser(text))
    is_plain = path.suffix.lower() == ".txt" and not is_hub_source(text)
    return path.stat().st_size if is_plain and os.path.isfile(path) else None
