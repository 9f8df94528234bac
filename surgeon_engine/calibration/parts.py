"""Parts of long texts: pieces, and a random choice of them.

A text may be far longer than the windows that are drawn from it. Then a random part of
it is tokenized, which takes seconds instead of minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

_PIECE = 65_536  # characters


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
    """Return the number of characters in texts, or about that of chats."""
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
