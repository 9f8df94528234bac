"""The diagnosis and the architecture view."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    "diagnosis_tab": Caption(
        tr("Diagnosis"), tr("Cost of removing each part, and quality at each size.")
    ),
    "diagnose_button": Caption(
        tr("Diagnose"),
        tr(
            "Measure the cost of removing each part of the model, without pruning "
            "anything."
        ),
    ),
    "diagnose_cancel_button": Caption(tr("Cancel"), tr("Cancel the diagnosis.")),
    "target_diagnose_button": Caption(
        tr("Diagnose…"),
        tr(
            "Measure the cost of removing each part once, then try out targets before "
            "pruning."
        ),
    ),
    "sensitivity_share_combo": Caption(
        tr("Remove the cheapest"),
        tr("Share that is removed from one part at a time, for the map below."),
    ),
    "architecture_tab": Caption(
        tr("Architecture"),
        tr("Every layer before and after pruning, and why it was pruned."),
    ),
    "architecture_tree": Caption(
        tr("Layers"), tr("All blocks and their layers, before and after pruning.")
    ),
    "architecture_source_combo": Caption(
        tr("Show"), tr("Show the widths of the run or of the plan.")
    ),
    "protect_layer_button": Caption(
        tr("Protect"), tr("Protect this layer in the next run.")
    ),
    "unprotect_layer_button": Caption(
        tr("Unprotect"), tr("Allow pruning this layer again.")
    ),
    "protect_block_button": Caption(
        tr("Protect block"), tr("Protect all layers of the block in the next run.")
    ),
    "unprotect_block_button": Caption(
        tr("Unprotect block"), tr("Allow pruning the block again.")
    ),
    "limit_layer_button": Caption(
        tr("Set minimum"),
        tr("Set the minimum density of this layer for the next run; 0 % removes it."),
    ),
    "limit_layer_spin": Caption(
        tr("Minimum density"), tr("Share of its weights that this layer keeps.")
    ),
    "protect_layer_action": Caption(tr("Protect or unprotect this layer"), ""),
    "protect_block_action": Caption(tr("Protect this block"), ""),
    "limit_half_action": Caption(tr("Keep at least half"), ""),
    "free_layer_action": Caption(tr("Remove protection and minimum"), ""),
}
