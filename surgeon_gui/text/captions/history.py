"""Runs of before: their list, their comparison, their reports."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_SAVE = tr("Save")
_SAVE_TIP = tr("Save this as PNG, SVG or CSV.")

CAPTIONS = {
    # the list of runs
    "runs_button": Caption(
        tr("R&uns"), tr("Show or hide the list of all runs (Ctrl+H).")
    ),
    "runs_dock": Caption(tr("Runs"), tr("The runs of before.")),
    "runs_action": Caption(tr("R&uns"), ""),
    "runs_search_edit": Caption(
        tr("Search"), tr("Show only runs with these words: name, model, structure…")
    ),
    "runs_refresh_button": Caption(
        tr("Refresh"), tr("Read the folder of runs once more (F5).")
    ),
    "runs_table": Caption(
        tr("Runs"),
        tr(
            "Return opens a run with its charts, F2 renames it, Delete puts it into "
            "the trash. Tick runs to compare them."
        ),
    ),
    "runs_open_button": Caption(
        tr("Open"), tr("Show this run with all its charts, as it was when it ended.")
    ),
    "runs_compare_button": Caption(
        tr("Compare"), tr("Put the ticked or selected runs side by side.")
    ),
    "runs_more_button": Caption(
        tr("More"), tr("Rename, use the settings again, show the files, delete.")
    ),
    "runs_open_action": Caption(tr("&Open"), ""),
    "runs_compare_action": Caption(tr("&Compare"), ""),
    "runs_rename_action": Caption(tr("&Rename"), ""),
    "runs_duplicate_action": Caption(tr("Use its &settings"), ""),
    "runs_folder_action": Caption(tr("Open &folder"), ""),
    "runs_delete_action": Caption(tr("Put into the &trash…"), ""),
    # an earlier run that is shown
    "earlier_close_button": Caption(
        tr("Close the run"), tr("Take the earlier run away; its files stay.")
    ),
    # question before a run is deleted
    "delete_yes_button": Caption(
        tr("Put into the trash"), tr("Move the folder of the run into the trash.")
    ),
    "delete_no_button": Caption(tr("Keep"), tr("Leave the run where it is.")),
    # comparison
    "compare_tab": Caption(tr("Compare"), tr("Runs side by side.")),
    "compare_runs_button": Caption(
        tr("Show the runs"), tr("Open the list in which runs are ticked.")
    ),
    "compare_curves_x_combo": Caption(
        tr("Along"), tr("What the curves are drawn over.")
    ),
    "compare_curves_measure_combo": Caption(
        tr("Measure"), tr("Perplexity is the exponential of the loss; less is better.")
    ),
    "compare_curves_log_button": Caption(
        tr("Log scale"), tr("Show the vertical axis in decades.")
    ),
    "compare_size_combo": Caption(tr("Size"), tr("In what the size is given.")),
    "compare_curves_save_button": Caption(_SAVE, _SAVE_TIP),
    "compare_size_save_button": Caption(_SAVE, _SAVE_TIP),
    "compare_figures_save_button": Caption(_SAVE, _SAVE_TIP),
    "compare_settings_save_button": Caption(_SAVE, _SAVE_TIP),
    # report
    "report_button": Caption(
        tr("Save report"), tr("Write all that is known of the run, for people to read.")
    ),
    "report_open_button": Caption(
        tr("Open"), tr("Show the report in the program for such files.")
    ),
    "report_html_action": Caption(tr("Save report as &HTML…"), ""),
    "report_pdf_action": Caption(tr("Save report as &PDF…"), ""),
}
