"""Labels and tooltips of controls by object name.

Tests and accessibility tools find a control by its object name; the documentation lists
them. A letter after & is the mnemonic. Controls of settings are named section_field,
and their texts are in `labels.FIELDS`.
"""

from __future__ import annotations

from surgeon_gui.text.captions import pages, views, window
from surgeon_gui.text.captions.caption import Caption

CAPTIONS: dict[str, Caption] = {**window.CAPTIONS, **pages.CAPTIONS, **views.CAPTIONS}
