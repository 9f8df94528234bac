"""Names, captions and tooltips of the window's own controls, by object name.

The object name is the stable handle by which tests and accessibility tools find a
control (docs/objects.md lists them). A letter after & is the control's mnemonic.
Controls of settings are named part_field, and their words are in `labels.FIELDS`. Each
part of the window has its own file here.
"""

from __future__ import annotations

from surgeon_gui.text.captions import (
    diagnosis,
    export,
    help,
    history,
    live,
    playground,
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
    **history.CAPTIONS,
    **diagnosis.CAPTIONS,
    **help.CAPTIONS,
    **playground.CAPTIONS,
    **sources.CAPTIONS,
}
