"""Labels and tooltips of controls by object name.

Tests and accessibility tools find a control by its object name; the documentation lists
them. A letter after & is the mnemonic. Controls of settings are named section_field,
and their texts are in `labels.FIELDS`. Each part of the window has a module here.
"""

from __future__ import annotations

from surgeon_gui.text.captions import (
    charts,
    diagnosis,
    export,
    help,
    history,
    live,
    playground,
    preferences,
    queue,
    shell,
    sources,
    steps,
    target,
)
from surgeon_gui.text.captions.caption import Caption

CAPTIONS: dict[str, Caption] = {
    **shell.CAPTIONS,
    **steps.CAPTIONS,
    **target.CAPTIONS,
    **export.CAPTIONS,
    **live.CAPTIONS,
    **charts.CAPTIONS,
    **history.CAPTIONS,
    **diagnosis.CAPTIONS,
    **help.CAPTIONS,
    **playground.CAPTIONS,
    **preferences.CAPTIONS,
    **queue.CAPTIONS,
    **sources.CAPTIONS,
}
