"""Read the beginning of long text files, and choose a random part of long texts.

A text may be far longer than the windows that are drawn from it. Then a random part of
it is tokenized, which takes seconds instead of minutes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.path_problems import unreadable

# The most of a text; a run of the longest windows needs less than half of it.
MAX_CHARACTERS = 256 << 20
_PIECE = 65_536  # characters


def read_beginning(path: Path) -> tuple[str, int]:
    """Return the first `MAX_CHARACTERS` bytes of a text file, and how many follow.

    They end with a whole line where there are several.

    Raises:
        CalibrationError: The file cannot be read, or is not UTF-8 text.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARACTERS)
    except OSError as error:
        raise CalibrationError(
            unreadable(path.name, error), "Choose another file."
        ) from error
    unread = size - len(data)
    if unread and (end := data.rfind(b"\n") + 1):
        data = data[:end]
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    position = data.find(b"\0")
    if position < 0:
        try:
            return decoder.decode(data, final=not unread), unread
        except UnicodeDecodeError as error:
            position = error.start
    raise CalibrationError(
        "{path} is not UTF-8 text (at byte {position:,} of {size:,}).",
        "Choose a text file, or save it as UTF-8.",
        path=path.name,
        position=position,
        size=size,
    )


def pieces(text: str, size: int) -> Iterator[str]:
    """Yield `text` in pieces of at most `size` characters.

    They are cut after a line, or else between two words.
    """
    start = 0
    while len(text) - start > size:
        end = start + size
        cuts = (text.rfind(x, start + 1, end) + 1 for x in ("\n", " "))
        end = next((cut for cut in cuts if cut > 0), end)
        yield text[start:end]
        start = end
    yield text[start:]


def size_of(items: Sequence[Any]) -> int:
    """Return the number of characters in texts, or approximately in chats."""
    return sum(len(str(item)) for item in items)


def random_part(items: Sequence[Any], characters: int, seed: int) -> Sequence[Any]:
    """Return texts or chats with about `characters` characters, in their order.

    Long texts are cut into pieces, so that the part comes from all over them.
    """
    parts: list[Any] = []
    for item in items:
        parts += pieces(item, _PIECE) if isinstance(item, str) else [item]
    generator = torch.Generator().manual_seed(seed)
    chosen, found = [], 0
    for number in torch.randperm(len(parts), generator=generator).tolist():
        if found >= characters:
            break
        chosen.append(number)
        found += len(str(parts[number]))
    return [parts[number] for number in sorted(chosen)]
