"""Step 5, the result, and the question before an export is replaced."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # 5 Export
    "export_choose_button": Caption(
        tr("Choose…"), tr("Choose the folder for the pruned model.")
    ),
    "open_export_button": Caption(
        tr("Open folder"), tr("Show the files of the pruned model.")
    ),
    "export_replace_button": Caption(
        tr("Replace…"), tr("Allow the run to replace the export in this folder.")
    ),
    "save_folder": Caption(
        tr("Destination of the other format"),
        tr("Folder for the other format. Empty: a folder in the run folder."),
    ),
    "save_choose_button": Caption(
        tr("Choose…"), tr("Choose the folder for the other format.")
    ),
    "save_button": Caption(
        tr("Save"), tr("Write the pruned model in this format and verify it.")
    ),
    "save_cancel_button": Caption(
        tr("Cancel"), tr("Cancel saving and delete the partial files.")
    ),
    "open_saved_button": Caption(
        tr("Open folder"), tr("Show the files of this format.")
    ),
    "measure_button": Caption(
        tr("Measure speed"),
        tr(
            "Run the original and the pruned model in turns, each in its own process, "
            "and compare their speed and memory."
        ),
    ),
    "measure_cancel_button": Caption(tr("Cancel"), tr("Cancel the measurement.")),
    # result
    "result_tab": Caption(tr("Result"), tr("What the run has made.")),
    "result_try_button": Caption(
        tr("Try it"), tr("Generate text with the original and the pruned model.")
    ),
    "result_next_button": Caption(
        tr("Next size"),
        tr("Set up the same run with a target that leaves a smaller model."),
    ),
    "result_discard_button": Caption(
        tr("Discard…"), tr("Move the run and its files to the trash.")
    ),
    # question before an export is replaced
    "replace_yes_button": Caption(
        tr("Replace"), tr("Replace the export with the new files.")
    ),
    "replace_other_button": Caption(
        tr("Choose another…"), tr("Choose another folder.")
    ),
    "replace_cancel_button": Caption(tr("Cancel"), tr("Keep the files.")),
}
