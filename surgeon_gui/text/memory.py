"""The memory in which a model runs, at a stated context: its title and meaning."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers

MEANING = tr(
    "Memory to run the model: the weights of its file, keys and values of the context "
    "in 16 bits, and the buffers of 512 tokens. The program that runs it needs some on "
    "top."
)


def title(context: int) -> str:
    """Return the title of the memory at a context in tokens."""
    return tr("Memory, {tokens}").format(tokens=numbers.tokens(context))
