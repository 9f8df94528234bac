"""The dialogs Preferences and Disk space, and the menu Open recent."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # the File menu
    "recent_clear_action": Caption(tr("&Clear"), ""),
    "preferences_action": Caption(tr("&Preferences…"), ""),
    "disk_space_action": Caption(tr("Disk sp&ace…"), ""),
    # the Preferences dialog
    "preferences_run_parent_edit": Caption(
        tr("Runs folder"), tr("Folder that receives a new folder for each run.")
    ),
    "preferences_run_parent_button": Caption(
        tr("Choose…"), tr("Choose the folder for runs.")
    ),
    "preferences_theme_combo": Caption(tr("Theme"), tr("Colours of the window.")),
    "preferences_language_combo": Caption(
        tr("Language"), tr("Language of the window, after a restart.")
    ),
    "preferences_units_combo": Caption(
        tr("Sizes in"),
        tr(
            "Units of sizes in bytes, after a restart. Job files and messages of the "
            "engine have MB and GB."
        ),
    ),
    "preferences_device_combo": Caption(
        tr("Compute on"),
        tr(
            "Device of new jobs, and of the current one unless it has another device. "
            "Step 1 chooses it for one job."
        ),
    ),
    "preferences_awake_check": Caption(
        tr("Keep the computer awake during runs"),
        tr("Otherwise the computer may go to sleep, which interrupts the run."),
    ),
    "preferences_offline_check": Caption(
        tr("Offline mode"),
        tr(
            "Never contact the Hugging Face Hub, and download nothing. A task in "
            "progress is not affected."
        ),
    ),
    "preferences_ok_button": Caption(tr("OK"), tr("Keep the changes.")),
    "preferences_cancel_button": Caption(tr("Cancel"), tr("Undo the changes.")),
    # the dialog about disk space
    "disk_space_tree": Caption(
        tr("Disk space"), tr("Sizes of the runs and of the caches.")
    ),
    "disk_space_delete_button": Caption(
        tr("Delete…"), tr("Delete the selected item of a cache.")
    ),
    "disk_space_close_button": Caption(tr("Close"), tr("Close the dialog.")),
    "disk_space_yes_button": Caption(tr("Delete"), tr("Delete these files.")),
    "disk_space_no_button": Caption(tr("Cancel"), tr("Keep these files.")),
}
