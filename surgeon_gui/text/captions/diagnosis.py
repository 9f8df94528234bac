"""The views before the cut: the diagnosis, and every layer before and after."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_SAVE = Caption(tr("Save"), tr("Save this chart as PNG, SVG or CSV."))

CAPTIONS = {
    "diagnosis_tab": Caption(
        tr("Before you cut"), tr("What each part would cost, and what a size would.")
    ),
    "diagnose_button": Caption(
        tr("Diagnose"),
        tr(
            "Measure once what every part of the model would cost to remove, and cut "
            "nothing."
        ),
    ),
    "diagnose_cancel_button": Caption(tr("Cancel"), tr("End the diagnosis.")),
    "target_diagnose_button": Caption(
        tr("Diagnose…"),
        tr(
            "Measure once what every part would cost to remove, and try targets on it "
            "before anything is cut."
        ),
    ),
    "sensitivity_share_combo": Caption(
        tr("Without the cheapest"),
        tr("How much of each part goes, by itself, for the map below."),
    ),
    "forecast_save_button": _SAVE,
    "sensitivity_save_button": _SAVE,
    "planned_save_button": _SAVE,
    "architecture_save_button": _SAVE,
    "architecture_tab": Caption(
        tr("Architecture"), tr("Every layer before and after, and why it was cut.")
    ),
    "architecture_tree": Caption(
        tr("Layers"), tr("All blocks and their layers, before and after the cut.")
    ),
    "architecture_source_combo": Caption(
        tr("Show"), tr("Whether the widths are those of the run or of the plan.")
    ),
    "protect_layer_button": Caption(
        tr("Protect"), tr("Let nothing go of this layer, from the next run on.")
    ),
    "unprotect_layer_button": Caption(
        tr("Do not protect"), tr("Let parts of this layer go again.")
    ),
    "limit_layer_button": Caption(
        tr("Keep at least"),
        tr("Let this layer keep that share, from the next run on; 0 % takes it away."),
    ),
    "limit_layer_spin": Caption(
        tr("Share to keep"), tr("The share of its weights that this layer keeps.")
    ),
    "protect_layer_action": Caption(tr("Protect this layer, or no longer"), ""),
    "protect_block_action": Caption(tr("Protect its block"), ""),
    "limit_half_action": Caption(tr("Keep at least half of it"), ""),
    "free_layer_action": Caption(tr("Take away its protection and its limit"), ""),
}
