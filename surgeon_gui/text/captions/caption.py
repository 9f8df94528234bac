"""Label and tooltip of a control."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """Label and tooltip of a control."""

    label: str
    tip: str

    @property
    def spoken(self) -> str:
        """The label without its mnemonic and ellipsis."""
        return spoken(self.label)


def spoken(label: str) -> str:
    """Return `label` as a screen reader reads it: no mnemonic, no ellipsis."""
    return label.replace("&", "").removesuffix("\N{HORIZONTAL ELLIPSIS}")
