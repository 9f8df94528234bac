"""The queue of runs and the dialog of a sweep."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
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
}
