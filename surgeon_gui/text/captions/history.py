"""The list of runs, the comparison and the report."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
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
}
