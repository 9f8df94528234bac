"""The strip, the menus, the runs and the dialogs."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # the strip at the bottom
    "start_button": Caption(tr("&Start"), tr("Start the run (Ctrl+R).")),
    "stop_button": Caption(
        tr("Stop and &keep"),
        tr("Stop after the current shot and export the model."),
    ),
    "cancel_button": Caption(
        tr("&Cancel"),
        tr(
            "Stop the run now without an export. It can be resumed after its last "
            "shot if the progress is saved (step 5)."
        ),
    ),
    # question before a run is cancelled of which nothing is saved
    "cancel_yes_button": Caption(
        tr("Cancel the run"), tr("Stop the run now without an export.")
    ),
    "cancel_no_button": Caption(tr("Keep running"), tr("Go on with the run.")),
    "log_button": Caption(tr("&Log"), tr("Show or hide the log.")),
    # errors
    "error_details_button": Caption(
        tr("Details"), tr("Show or hide the technical details.")
    ),
    "error_copy_button": Caption(tr("Copy"), tr("Copy the message with its details.")),
    "error_dismiss_button": Caption(tr("Dismiss"), tr("Close this message.")),
    # docks and tabs
    "log_dock": Caption(tr("Log"), tr("Messages of the engine.")),
    "live_tab": Caption(tr("Live"), tr("Charts of the current run.")),
    "resources_tab": Caption(
        tr("Resources"), tr("Memory and time of the current run.")
    ),
    # log
    "log_level_combo": Caption(tr("Show"), tr("Minimum severity to show.")),
    "log_filter_edit": Caption(
        tr("Filter"), tr("Show only lines that contain this text.")
    ),
    "log_copy_button": Caption(tr("Copy"), tr("Copy the shown lines.")),
    "log_save_button": Caption(tr("Save…"), tr("Save the shown lines to a file.")),
    "log_text": Caption(tr("Log"), tr("Messages of the engine.")),
    # menus
    "open_folder_action": Caption(tr("&Open model folder…"), ""),
    "open_gguf_action": Caption(tr("Open &GGUF file…"), ""),
    "use_demo_action": Caption(tr("Use the bundled &demo"), ""),
    "load_job_action": Caption(tr("&Load job…"), ""),
    "save_job_action": Caption(tr("&Save job…"), ""),
    "save_picture_action": Caption(tr("Save &picture of the window…"), ""),
    "quit_action": Caption(tr("&Quit"), ""),
    "start_action": Caption(tr("&Start"), ""),
    "stop_action": Caption(tr("Stop and &keep"), ""),
    "cancel_action": Caption(tr("&Cancel"), ""),
    "theme_system_action": Caption(tr("Same as &system"), ""),
    "theme_light_action": Caption(tr("&Light"), ""),
    "theme_dark_action": Caption(tr("&Dark"), ""),
    "language_system_action": Caption(tr("Same as &system"), ""),
    "log_action": Caption(tr("&Log"), ""),
    "reset_layout_action": Caption(tr("&Reset layout"), ""),
    "about_action": Caption(tr("&About Surgeon"), ""),
    # the strip at the bottom
    "queue_add_button": Caption(
        tr("Add to &queue"),
        tr("Add this job to the queue, also during a run (Ctrl+Shift+R)."),
    ),
    # above the list of runs
    "queue_table": Caption(
        tr("Queue"),
        tr(
            "Runs in their order. Alt+Up and Alt+Down move a waiting run, Delete "
            "removes it."
        ),
    ),
    "queue_start_button": Caption(
        tr("Start queue"), tr("Do the waiting runs one after another (Ctrl+Alt+R).")
    ),
    "queue_sweep_button": Caption(
        tr("Sweep…"),
        tr("Add this job with several targets or methods (Ctrl+Shift+S)."),
    ),
    "queue_more_button": Caption(
        tr("More"), tr("Move the selected run, remove it, or remove all runs.")
    ),
    "queue_up_action": Caption(tr("Move &up"), ""),
    "queue_down_action": Caption(tr("Move &down"), ""),
    "queue_remove_action": Caption(tr("&Remove"), ""),
    "queue_clear_action": Caption(tr("Remove &all"), ""),
    # the bar about the queue of an earlier start
    "queue_take_over_button": Caption(
        tr("Take over"), tr("Use the queue here. Close the other window first.")
    ),
    "queue_resume_button": Caption(
        tr("Go on"), tr("Do the waiting runs one after another.")
    ),
    "queue_later_button": Caption(
        tr("Later"), tr("Hide this; the queue above the list of runs is kept.")
    ),
    # the dialog of a sweep
    "sweep_unit_combo": Caption(tr("Unit of the targets"), tr("Unit of the targets.")),
    "sweep_values_edit": Caption(
        tr("Targets"), tr("Numbers with spaces or semicolons between them.")
    ),
    "sweep_add_button": Caption(
        tr("Add to queue"), tr("Add these runs at the end of the queue.")
    ),
    "sweep_cancel_button": Caption(tr("Cancel"), tr("Add no runs.")),
    # menus
    "queue_add_action": Caption(tr("Add to &queue"), ""),
    "queue_start_action": Caption(tr("Start queue"), ""),
    "sweep_action": Caption(tr("S&weep…"), ""),
    # the list of runs
    "runs_button": Caption(
        tr("R&uns"), tr("Show or hide the list of all runs (Ctrl+H).")
    ),
    "runs_dock": Caption(tr("Runs"), tr("All runs in the runs folder.")),
    "runs_action": Caption(tr("R&uns"), ""),
    "runs_search_edit": Caption(
        tr("Search"),
        tr("Filter by name, model, structure, tags, notes and other properties."),
    ),
    "runs_outcome_combo": Caption(
        tr("Outcome"), tr("Show only runs with this outcome.")
    ),
    "runs_tag_combo": Caption(tr("Tag"), tr("Show only runs with this tag.")),
    "runs_model_combo": Caption(tr("Model"), tr("Show only runs of this model.")),
    "runs_tags_edit": Caption(
        tr("Tags"), tr("Tags of the selected run, separated by commas.")
    ),
    "runs_notes_edit": Caption(tr("Notes"), tr("Notes about the selected run.")),
    "runs_refresh_button": Caption(
        tr("Refresh"), tr("Read the runs folder again (F5).")
    ),
    "runs_table": Caption(
        tr("Runs"),
        tr(
            "Return opens a run, F2 renames it, Delete moves it to the Trash. Check "
            "runs to compare them."
        ),
    ),
    "runs_open_button": Caption(tr("Open"), tr("Show this run with its charts.")),
    "runs_compare_button": Caption(
        tr("Compare"), tr("Compare the checked or selected runs.")
    ),
    "runs_more_button": Caption(
        tr("More"), tr("Resume, rename, reuse settings, show files, delete.")
    ),
    "runs_open_action": Caption(tr("&Open"), ""),
    "runs_resume_action": Caption(tr("&Resume"), ""),
    "runs_compare_action": Caption(tr("&Compare"), ""),
    "runs_rename_action": Caption(tr("&Rename"), ""),
    "runs_duplicate_action": Caption(tr("Use these &settings"), ""),
    "runs_folder_action": Caption(tr("Open &folder"), ""),
    "runs_discard_action": Caption(tr("&Discard saved progress…"), ""),
    "runs_checkpoint_action": Caption(tr("Delete &checkpoint…"), ""),
    "runs_export_action": Caption(tr("Delete &exports…"), ""),
    "runs_delete_action": Caption(tr("Move to &Trash…"), ""),
    # the bar above an earlier run
    "use_settings_button": Caption(
        tr("Use these settings"),
        tr("Copy the settings of this run, so that you can change them."),
    ),
    "earlier_close_button": Caption(
        tr("Close the run"), tr("Close the earlier run; its files are kept.")
    ),
    # the bar about an interrupted run
    "resume_run_button": Caption(
        tr("Resume"), tr("Go on with the run from its last saved state.")
    ),
    "resume_later_button": Caption(
        tr("Later"), tr("Hide this; the list of runs can resume it at any time.")
    ),
    # question before the saved state of a run is deleted
    "discard_yes_button": Caption(
        tr("Discard"), tr("Delete the saved state of the run.")
    ),
    "discard_no_button": Caption(tr("Cancel"), tr("Keep the saved state.")),
    # question about a run of another computer
    "take_over_yes_button": Caption(
        tr("It has stopped"), tr("Treat the run as interrupted, so that it can go on.")
    ),
    "take_over_no_button": Caption(tr("Cancel"), tr("Leave the run as it is.")),
    # question before another part of a run is deleted
    "part_yes_button": Caption(tr("Delete"), tr("Delete these files.")),
    "part_no_button": Caption(tr("Cancel"), tr("Keep these files.")),
    # question before a run is deleted
    "delete_yes_button": Caption(
        tr("Move to Trash"), tr("Move the run folder to the Trash.")
    ),
    "delete_no_button": Caption(tr("Cancel"), tr("Keep the run.")),
    # comparison
    "compare_tab": Caption(tr("Compare"), tr("Runs side by side.")),
    "compare_runs_button": Caption(
        tr("Show runs"), tr("Open the list of runs to select some.")
    ),
    "compare_curves_x_combo": Caption(
        tr("Horizontal axis"), tr("Quantity on the horizontal axis.")
    ),
    "compare_curves_measure_combo": Caption(
        tr("Measure"),
        tr("Measure of both charts, on the held-out part of the calibration text."),
    ),
    "compare_curves_log_button": Caption(
        tr("Log scale"), tr("Use a logarithmic vertical axis.")
    ),
    "compare_size_combo": Caption(tr("Size"), tr("Measure of size.")),
    "compare_context_box": Caption(
        tr("Context"),
        tr("Length of prompt and answer together, for the memory to run the models."),
    ),
    # report
    "report_button": Caption(
        tr("Save report"),
        tr("Save results, charts and settings of the run as a document."),
    ),
    "report_open_button": Caption(
        tr("Open"), tr("Open the report in its default application.")
    ),
    "report_html_action": Caption(tr("Save report as &HTML…"), ""),
    "report_pdf_action": Caption(tr("Save report as &PDF…"), ""),
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
