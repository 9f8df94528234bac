"""The action strip, the menus, the log and the error bar."""

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
}
