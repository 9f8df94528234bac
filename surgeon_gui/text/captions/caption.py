"""Label and tooltip of a control or of a choice."""

from __future__ import annotations

from typing import NamedTuple

from surgeon_gui.base.translation import tr


class Caption(NamedTuple):
    """Label and tooltip, in the language of the window."""

    label: str
    tip: str

    @property
    def spoken(self) -> str:
        """The label without its mnemonic and ellipsis."""
        return spoken(self.label)


def caption(label: str, tip: str = "") -> Caption:
    """Translate a label and a tooltip."""
    return Caption(tr(label), tr(tip))


def spoken(label: str) -> str:
    """Return `label` as a screen reader reads it: no mnemonic, no ellipsis."""
    return label.replace("&", "").removesuffix("\N{HORIZONTAL ELLIPSIS}")
