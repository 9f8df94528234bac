"""Text of tooltips."""

from __future__ import annotations

from html import escape

from surgeon_gui.text.numbers import keep_units


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
