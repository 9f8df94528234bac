"""The dialogs Preferences and Disk space, and the menu Open recent."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # the File menu
    "recent_clear_action": Caption(tr("&Clear"), ""),
    "preferences_action": Caption(tr("&Preferences…"), ""),
    "computers_action": Caption(tr("Comp&uters…"), ""),
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
    "preferences_runs_go_on_check": Caption(
        tr("Runs go on when the window is closed"),
        tr(
            "A run is a process of its own, and the next start of Surgeon shows it. "
            "Otherwise it ends with the window. Applies to further runs."
        ),
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
    # the dialog about other computers, and the bar of the connection
    "computers_list": Caption(
        tr("Computers"), tr("Computers on which the engine can run.")
    ),
    "computers_use_button": Caption(
        tr("Use"), tr("Run the engine on the selected computer from now on.")
    ),
    "computers_remove_button": Caption(
        tr("Remove"), tr("Remove the computer from the list. Nothing is deleted there.")
    ),
    "computers_again_button": Caption(tr("Connect again"), tr("Try to connect now.")),
    "computers_host_edit": Caption(
        tr("Name"),
        tr(
            "As ssh knows it: user@host, or a Host of ~/.ssh/config. Your own keys are "
            "used, and no password is asked for."
        ),
    ),
    "computers_command_edit": Caption(
        tr("Command"),
        tr(
            "The command that starts Surgeon there, such as "
            "~/surgeon/.venv/bin/surgeon."
        ),
    ),
    "computers_add_button": Caption(
        tr("Add"),
        tr("Add the computer to the list, or change the command of one in the list."),
    ),
    "computers_runs_list": Caption(
        tr("Runs there"), tr("Runs in the runs folder of the computer in use.")
    ),
    "computers_refresh_button": Caption(tr("Refresh"), tr("Read the list again.")),
    "computers_fetch_button": Caption(
        tr("Copy here"),
        tr("Copy the selected run with its model into the runs folder here."),
    ),
    "computers_fetch_small_button": Caption(
        tr("Copy without the model"),
        tr("Copy the figures of the selected run: charts, report and settings."),
    ),
    "computers_resume_button": Caption(
        tr("Resume there"), tr("Go on with the selected run on its computer.")
    ),
    "computers_cancel_button": Caption(
        tr("Cancel copying"), tr("Stop copying. Nothing of the copy is kept.")
    ),
    "computers_close_button": Caption(tr("Close"), tr("Close the dialog.")),
    "connection_again_button": Caption(tr("Connect again"), tr("Try to connect now.")),
    "connection_computers_button": Caption(
        tr("Computers…"), tr("Choose the computer on which the engine runs.")
    ),
    # a file of another computer
    "files_path_edit": Caption(
        tr("Folder"), tr("The path of the folder that is shown.")
    ),
    "files_up_button": Caption(tr("Up"), tr("Show the folder above.")),
    "files_list": Caption(tr("Files"), tr("Folders and files on the other computer.")),
    "files_choose_button": Caption(
        tr("Choose"), tr("Choose what is selected, otherwise the folder shown.")
    ),
    "files_cancel_button": Caption(tr("Cancel"), tr("Choose nothing.")),
}
