"""The Help menu and its dialogs."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    "guide_action": Caption(tr("&Guide"), ""),
    "guide_text": Caption(tr("Guide"), tr("How to use Surgeon, step by step.")),
    "guide_close_button": Caption(tr("Close"), tr("Close the guide.")),
    "commands_action": Caption(tr("&Commands and keyboard shortcuts…"), ""),
    "save_bundle_action": Caption(tr("Save &debug bundle…"), ""),
    "show_hint_action": Caption(tr("&First steps"), ""),
    "command_filter": Caption(
        tr("Filter commands"), tr("Type part of the name of a command.")
    ),
    "command_list": Caption(
        tr("Commands"), tr("Press Enter or double-click to run a command.")
    ),
    "commands_close_button": Caption(tr("Close"), tr("Close the list.")),
    "about_copy_button": Caption(
        tr("Copy"), tr("Copy the versions, for a bug report.")
    ),
    "about_close_button": Caption(tr("Close"), tr("Close the dialog.")),
    "hint_dismiss_button": Caption(
        tr("Got it"), tr("Close this card. Open it again from the Help menu.")
    ),
    "hint_keys_button": Caption(
        tr("All commands"), tr("Show all commands with their keyboard shortcuts (F1).")
    ),
}
