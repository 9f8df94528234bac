"""The strip, the menus, the log and the error bar."""

from __future__ import annotations

from surgeon_gui.captions.caption import Caption

CAPTIONS = {
    # the strip at the bottom
    "start_button": Caption("&Start", "Start the run as it is set up (Ctrl+R)."),
    "stop_button": Caption(
        "Stop and &keep",
        "End after the shot that is under way and export the model as it is then.",
    ),
    "cancel_button": Caption("&Cancel", "End the run now and export nothing."),
    "log_button": Caption("&Log", "Show or hide what the engine has reported."),
    # errors
    "error_details_button": Caption("Details", "Show or hide the technical details."),
    "error_copy_button": Caption("Copy", "Copy the message with its details."),
    "error_dismiss_button": Caption("Dismiss", "Close this message."),
    # docks and tabs
    "log_dock": Caption("Log", "What the engine has reported."),
    "live_tab": Caption("Live", "The run as it goes."),
    # log
    "log_level_combo": Caption("Show", "The least serious lines to show."),
    "log_filter_edit": Caption("Filter", "Show only lines that contain this."),
    "log_copy_button": Caption("Copy", "Copy the lines that are shown."),
    "log_save_button": Caption("Save…", "Write the lines that are shown to a file."),
    "log_text": Caption("Log", "What the engine has reported."),
    # menus
    "open_folder_action": Caption("&Open model folder…", ""),
    "open_gguf_action": Caption("Open &GGUF file…", ""),
    "use_demo_action": Caption("Use the bundled &demo", ""),
    "load_job_action": Caption("&Load job…", ""),
    "save_job_action": Caption("&Save job…", ""),
    "save_picture_action": Caption("Save &picture of the window…", ""),
    "quit_action": Caption("&Quit", ""),
    "start_action": Caption("&Start", ""),
    "stop_action": Caption("Stop and &keep", ""),
    "cancel_action": Caption("&Cancel", ""),
    "theme_system_action": Caption("As the &system", ""),
    "theme_light_action": Caption("&Light", ""),
    "theme_dark_action": Caption("&Dark", ""),
    "log_action": Caption("&Log", ""),
    "reset_layout_action": Caption("&Reset layout", ""),
    "about_action": Caption("&About Surgeon", ""),
}
