"""Text of tooltips."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from PySide6.QtWidgets import QWidget

from surgeon_gui.text.numbers import keep_units


@lru_cache(maxsize=2048)  # every redraw asks for the same ones
def plain_tip(text: str) -> str:
    """Return the text for a tooltip that shows it as it is, in lines that wrap.

    Qt reads a tooltip as HTML where it looks like that, and wraps only HTML. The names
    of models, layers and files are text of others.
    """
    if not text:
        return ""
    return (
        f'<p style="white-space: pre-wrap">{escape(keep_units(text), quote=False)}</p>'
    )


def show_tip(widget: QWidget, text: str) -> None:
    """Give a widget a tooltip; Qt sends events even if it is the one that it has."""
    tip = plain_tip(text)
    if tip != widget.toolTip():
        widget.setToolTip(tip)
