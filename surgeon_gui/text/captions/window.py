"""The sidebar, the menus, the runs and the dialogs."""

from __future__ import annotations

from surgeon_gui.text.captions.caption import caption

CAPTIONS = {
    # the sidebar
    "place_new_button": caption("New", "Choose a model and start a run (Ctrl+1)."),
    "place_runs_button": caption("Runs", "All runs and their results (Ctrl+2)."),
    "place_playground_button": caption(
        "Playground", "Let two models write side by side (Ctrl+3)."
    ),
    "sidebar_computers_button": caption(
        "This computer", "Choose the computer that computes."
    ),
    "sidebar_preferences_button": caption("Preferences", "Theme, language, folders."),
    "sidebar_guide_button": caption("Help", "Open the guide."),
    "go_new_action": caption("&New"),
    "go_runs_action": caption("&Runs"),
    "go_playground_action": caption("&Playground"),
    "search_hub_action": caption("&Search the Hub…"),
    # a run
    "start_button": caption("&Start", "Start the run (Ctrl+R)."),
    "stop_button": caption(
        "F&inish here",
        "Finish what is in work, then write and verify the model.",
    ),
    "cancel_button": caption("&Cancel…", "Stop the run without a result."),
    # a question before that
    "cancel_yes_button": caption(
        "Cancel the run", "Stop the run now without an export."
    ),
    "cancel_no_button": caption("Keep running", "Go on with the run."),
    # errors
    "error_details_button": caption("Details", "Show or hide the technical details."),
    "error_copy_button": caption("Copy", "Copy the message with its details."),
    "error_dismiss_button": caption("Dismiss", "Close this message."),
    # log
    "log_level_combo": caption("Show", "Minimum severity to show."),
    "log_filter_edit": caption("Filter", "Show only lines that contain this text."),
    "log_copy_button": caption("Copy", "Copy the shown lines."),
    "log_save_button": caption("Save…", "Save the shown lines to a file."),
    "log_text": caption("Log", "Messages of the engine."),
    # menus
    "open_folder_action": caption("&Open model folder…"),
    "open_gguf_action": caption("Open &GGUF file…"),
    "use_demo_action": caption("Use the bundled &demo"),
    "load_job_action": caption("&Load job…"),
    "save_job_action": caption("&Save job…"),
    "save_picture_action": caption("Save &picture of the window…"),
    "quit_action": caption("&Quit"),
    "start_action": caption("&Start"),
    "stop_action": caption("F&inish here"),
    "cancel_action": caption("&Cancel…"),
    "theme_system_action": caption("Same as &system"),
    "theme_light_action": caption("&Light"),
    "theme_dark_action": caption("&Dark"),
    "language_system_action": caption("Same as &system"),
    "log_action": caption("&Log"),
    "about_action": caption("&About Surgeon"),
    # the queue
    "queue_add_button": caption(
        "Add to &queue", "Add this job to the queue, also during a run (Ctrl+Shift+R)."
    ),
    # above the list of runs
    "queue_table": caption(
        "Queue",
        "Runs in their order. Alt+Up and Alt+Down move a waiting run, Delete "
        "removes it.",
    ),
    "queue_start_button": caption(
        "Start queue", "Do the waiting runs one after another (Ctrl+Alt+R)."
    ),
    "queue_sweep_button": caption(
        "Sweep…", "Add this job with several targets or methods (Ctrl+Shift+S)."
    ),
    "queue_more_button": caption(
        "More", "Move the selected run, remove it, or remove all runs."
    ),
    "queue_up_action": caption("Move &up"),
    "queue_down_action": caption("Move &down"),
    "queue_retry_action": caption("&Try again"),
    "queue_remove_action": caption("&Remove"),
    "queue_clear_action": caption("Remove &all"),
    # the bar about the queue of an earlier start
    "queue_take_over_button": caption(
        "Take over", "Use the queue here. Close the other window first."
    ),
    "queue_resume_button": caption("Go on", "Do the waiting runs one after another."),
    "queue_later_button": caption(
        "Later", "Hide this; the queue above the list of runs is kept."
    ),
    # the dialog of a sweep
    "sweep_unit_combo": caption("Unit of the targets", "Unit of the targets."),
    "sweep_values_edit": caption(
        "Targets", "Numbers with spaces or semicolons between them."
    ),
    "sweep_add_button": caption(
        "Add to queue", "Add these runs at the end of the queue."
    ),
    "sweep_cancel_button": caption("Cancel", "Add no runs."),
    # menus
    "queue_add_action": caption("Add to &queue"),
    "queue_start_action": caption("Start queue"),
    "sweep_action": caption("S&weep…"),
    # the list of runs
    "runs_search_edit": caption(
        "Search", "Filter by name, model, structure, tags, notes and other properties."
    ),
    "runs_outcome_combo": caption("Outcome", "Show only runs with this outcome."),
    "runs_tag_combo": caption("Tag", "Show only runs with this tag."),
    "runs_model_combo": caption("Model", "Show only runs of this model."),
    "runs_tags_edit": caption("Tags", "Tags of the selected run, separated by commas."),
    "runs_notes_edit": caption("Notes", "Notes about the selected run."),
    "runs_filter_button": caption("Filter", "Show only some of the runs (Ctrl+F)."),
    "runs_details_button": caption(
        "Details", "Show figures, tags and notes of the selected run."
    ),
    "runs_new_button": caption("New", "Choose a model and start a run."),
    "runs_grid": caption(
        "Runs",
        "A click or Return opens a run, Space ticks it to compare it, F2 renames it "
        "and Delete moves it to the Trash.",
    ),
    "runs_compare_button": caption("Compare", "Compare the ticked runs."),
    "runs_refresh_action": caption("Refresh"),
    "runs_open_action": caption("&Open"),
    "runs_resume_action": caption("&Resume"),
    "runs_details_action": caption("Deta&ils"),
    "runs_rename_action": caption("&Rename"),
    "runs_duplicate_action": caption("Use these &settings"),
    "runs_folder_action": caption("Open &folder"),
    "runs_discard_action": caption("&Discard saved progress…"),
    "runs_checkpoint_action": caption("Delete &checkpoint…"),
    "runs_export_action": caption("Delete &exports…"),
    "runs_delete_action": caption("Move to &Trash…"),
    # the bar about a file that was saved
    "saved_folder_button": caption("Open folder", "Show the file in its folder."),
    "saved_dismiss_button": caption("Dismiss", "Close this message."),
    # the bar about an interrupted run
    "resume_run_button": caption(
        "Resume", "Go on with the run from its last saved state."
    ),
    "resume_later_button": caption(
        "Later", "Hide this; the list of runs can resume it at any time."
    ),
    # question before the saved state of a run is deleted
    "discard_yes_button": caption("Discard", "Delete the saved state of the run."),
    "discard_no_button": caption("Cancel", "Keep the saved state."),
    # question about a run of another computer
    "take_over_yes_button": caption(
        "It has stopped", "Treat the run as interrupted, so that it can go on."
    ),
    "take_over_no_button": caption("Cancel", "Leave the run as it is."),
    # question before another part of a run is deleted
    "part_yes_button": caption("Delete", "Delete these files."),
    "part_no_button": caption("Cancel", "Keep these files."),
    # question before a run is deleted
    "delete_yes_button": caption("Move to Trash", "Move the run folder to the Trash."),
    "delete_no_button": caption("Cancel", "Keep the run."),
    # comparison
    "compare_measure_combo": caption(
        "Measure", "Measure of quality, on the held-out part of the calibration text."
    ),
    "compare_context_box": caption(
        "Context",
        "Length of prompt and answer together, for the memory to run the models.",
    ),
    # report
    "report_button": caption(
        "Save report", "Save results, charts and settings of the run as a document."
    ),
    "report_open_button": caption(
        "Open", "Open the report in its default application."
    ),
    "report_html_action": caption("Save report as &HTML…"),
    "report_pdf_action": caption("Save report as &PDF…"),
    # the File menu
    "recent_clear_action": caption("&Clear"),
    "preferences_action": caption("&Preferences…"),
    "computers_action": caption("Comp&uters…"),
    "disk_space_action": caption("Disk sp&ace…"),
    # the Preferences dialog
    "preferences_run_parent_edit": caption(
        "Runs folder", "Folder that receives a new folder for each run."
    ),
    "preferences_run_parent_button": caption("Choose…", "Choose the folder for runs."),
    "preferences_theme_combo": caption("Theme", "Colors of the window."),
    "preferences_language_combo": caption(
        "Language", "Language of the window, after a restart."
    ),
    "preferences_units_combo": caption(
        "Sizes in",
        "Units of sizes in bytes, after a restart. Job files have MB and GB.",
    ),
    "preferences_device_combo": caption(
        "Compute on",
        "Device of new jobs, and of the current one unless it has another device. "
        "For one job alone, choose it in Expert, Model.",
    ),
    "preferences_awake_check": caption(
        "Keep the computer awake during runs",
        "Otherwise the computer may go to sleep, which interrupts the run.",
    ),
    "preferences_runs_go_on_check": caption(
        "Runs go on when the window is closed",
        "A run is a process of its own, and the next start of Surgeon shows it. "
        "Otherwise it ends with the window. Applies to further runs.",
    ),
    "preferences_offline_check": caption(
        "Offline mode",
        "Never contact the Hugging Face Hub, and download nothing. A task in "
        "progress is not affected.",
    ),
    "preferences_ok_button": caption("OK", "Keep the changes."),
    "preferences_cancel_button": caption("Cancel", "Undo the changes."),
    # the dialog about disk space
    "disk_space_tree": caption("Disk space", "Sizes of the runs and of the caches."),
    "disk_space_delete_button": caption(
        "Delete…", "Delete the selected item of a cache."
    ),
    "disk_space_close_button": caption("Close", "Close the dialog."),
    "disk_space_yes_button": caption("Delete", "Delete these files."),
    "disk_space_no_button": caption("Cancel", "Keep these files."),
    # the dialog about other computers, and the bar of the connection
    "computers_list": caption("Computers", "Computers on which the engine can run."),
    "computers_use_button": caption(
        "Use", "Run the engine on the selected computer from now on."
    ),
    "computers_remove_button": caption(
        "Remove", "Remove the computer from the list. Nothing is deleted there."
    ),
    "computers_again_button": caption("Connect again", "Try to connect now."),
    "computers_host_edit": caption(
        "Name",
        "As ssh knows it: user@host, or a Host of ~/.ssh/config. Your own keys are "
        "used, and no password is asked for.",
    ),
    "computers_command_edit": caption(
        "Command",
        "The command that starts Surgeon there, such as ~/surgeon/.venv/bin/surgeon.",
    ),
    "computers_add_button": caption(
        "Add", "Add the computer to the list, or change the command of one in the list."
    ),
    "computers_runs_list": caption(
        "Runs there", "Runs in the runs folder of the computer in use."
    ),
    "computers_refresh_button": caption("Refresh", "Read the list again."),
    "computers_fetch_button": caption(
        "Copy here", "Copy the selected run with its model into the runs folder here."
    ),
    "computers_fetch_small_button": caption(
        "Copy without the model",
        "Copy the figures of the selected run: charts, report and settings.",
    ),
    "computers_resume_button": caption(
        "Resume there", "Go on with the selected run on its computer."
    ),
    "computers_cancel_button": caption(
        "Cancel copying", "Stop copying. Nothing of the copy is kept."
    ),
    "computers_close_button": caption("Close", "Close the dialog."),
    "connection_again_button": caption("Connect again", "Try to connect now."),
    "connection_here_button": caption(
        "Use this computer",
        "Use the engine of this computer instead. A run that is in progress there goes "
        "on.",
    ),
    # a file of another computer
    "files_path_edit": caption("Folder", "The path of the folder that is shown."),
    "files_up_button": caption("Up", "Show the folder above."),
    "files_list": caption("Files", "Folders and files on the other computer."),
    "files_choose_button": caption(
        "Choose", "Choose what is selected, otherwise the folder shown."
    ),
    "files_cancel_button": caption("Cancel", "Choose nothing."),
    "guide_action": caption("&Guide"),
    "guide_text": caption("Guide", "How to use Surgeon, step by step."),
    "guide_close_button": caption("Close", "Close the guide."),
    "commands_action": caption("&Commands and keyboard shortcuts…"),
    "save_bundle_action": caption("Save &debug bundle…"),
    "command_filter": caption("Filter commands", "Type part of the name of a command."),
    "command_list": caption(
        "Commands", "Press Enter or double-click to run a command."
    ),
    "commands_close_button": caption("Close", "Close the list."),
    "about_copy_button": caption("Copy", "Copy the versions, for a bug report."),
    "about_close_button": caption("Close", "Close the dialog."),
}
