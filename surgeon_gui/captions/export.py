"""Step 5, and the question before something is replaced."""

from __future__ import annotations

from surgeon_gui.captions.caption import Caption

CAPTIONS = {
    # 5 Export
    "export_choose_button": Caption("Choose…", "Choose where the pruned model goes."),
    "open_export_button": Caption("Open folder", "Show the pruned model's files."),
    "export_replace_button": Caption(
        "Replace…", "Let the export take the place of what is in this folder."
    ),
    "save_folder": Caption(
        "Destination of the other format",
        "The folder for the other format. Empty: a folder inside the run's own.",
    ),
    "save_choose_button": Caption("Choose…", "Choose where the other format goes."),
    "save_button": Caption(
        "Save", "Write the pruned model in this format, load it and check it."
    ),
    "save_cancel_button": Caption("Cancel", "End the saving and leave nothing of it."),
    "open_saved_button": Caption("Open folder", "Show the files of this format."),
    "measure_button": Caption(
        "Measure speed",
        "Let the original and the pruned model work in turns, each in a process of its "
        "own, and compare how fast they are and how much memory they need.",
    ),
    "measure_cancel_button": Caption("Cancel", "End the measurement."),
    # question before something is replaced
    "replace_yes_button": Caption(
        "Replace", "Let the new files take the place of what is there."
    ),
    "replace_other_button": Caption("Choose another…", "Choose another folder."),
    "replace_cancel_button": Caption("Cancel", "Leave everything as it is."),
}
