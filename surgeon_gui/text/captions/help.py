"""Help: commands and keys, About, first steps, the debug bundle."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    "commands_action": Caption(tr("&Commands and keyboard shortcuts…"), ""),
    "save_bundle_action": Caption(tr("Save &debug bundle…"), ""),
    "show_hint_action": Caption(tr("&First steps"), ""),
    "command_filter": Caption(
        tr("Filter commands"), tr("Type a few letters of what you want to do.")
    ),
    "command_list": Caption(
        tr("Commands"), tr("Enter or a double click gives the command.")
    ),
    "commands_close_button": Caption(tr("Close"), tr("Close this list.")),
    "about_copy_button": Caption(
        tr("Copy"), tr("Copy the versions, to send them with a question.")
    ),
    "about_close_button": Caption(tr("Close"), tr("Close this window.")),
    "hint_dismiss_button": Caption(
        tr("Got it"), tr("Close this card; Help brings it back.")
    ),
    "hint_keys_button": Caption(
        tr("All commands"), tr("Show everything that can be done, with its keys (F1).")
    ),
}
