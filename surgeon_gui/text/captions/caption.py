"""What a control is called, and what is said about it."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """What a control says, and what its tooltip adds."""

    label: str
    tip: str

    @property
    def spoken(self) -> str:
        """The label as a screen reader says it."""
        return spoken(self.label)


def spoken(label: str) -> str:
    """A label as a screen reader says it."""
    return label.replace("&", "").removesuffix("\N{HORIZONTAL ELLIPSIS}")
