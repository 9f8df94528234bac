"""Step 5, and the question before something is replaced."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # 5 Export
    "export_choose_button": Caption(
        tr("Choose…"), tr("Choose where the pruned model goes.")
    ),
    "open_export_button": Caption(
        tr("Open folder"), tr("Show the pruned model's files.")
    ),
    "export_replace_button": Caption(
        tr("Replace…"), tr("Let the export take the place of what is in this folder.")
    ),
    "save_folder": Caption(
        tr("Destination of the other format"),
        tr("The folder for the other format. Empty: a folder inside the run's own."),
    ),
    "save_choose_button": Caption(
        tr("Choose…"), tr("Choose where the other format goes.")
    ),
    "save_button": Caption(
        tr("Save"), tr("Write the pruned model in this format, load it and check it.")
    ),
    "save_cancel_button": Caption(
        tr("Cancel"), tr("End the saving and leave nothing of it.")
    ),
    "open_saved_button": Caption(
        tr("Open folder"), tr("Show the files of this format.")
    ),
    "measure_button": Caption(
        tr("Measure speed"),
        tr(
            "Let the original and the pruned model work in turns, each in a process "
            "of its own, and compare how fast they are and how much memory they need."
        ),
    ),
    "measure_cancel_button": Caption(tr("Cancel"), tr("End the measurement.")),
    # question before something is replaced
    "replace_yes_button": Caption(
        tr("Replace"), tr("Let the new files take the place of what is there.")
    ),
    "replace_other_button": Caption(
        tr("Choose another…"), tr("Choose another folder.")
    ),
    "replace_cancel_button": Caption(tr("Cancel"), tr("Leave everything as it is.")),
}
