"""Step 3: presets, target, protections and the plan."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # presets
    "preset_combo": Caption(tr("Preset"), tr("A named set of settings for this page.")),
    "preset_save_button": Caption(
        tr("Save as…"), tr("Save these settings as a preset.")
    ),
    "preset_more_button": Caption(tr("More"), tr("Export, import or delete presets.")),
    "preset_export_action": Caption(tr("&Export to file…"), ""),
    "preset_import_action": Caption(tr("&Import from file…"), ""),
    "preset_delete_action": Caption(tr("&Delete"), ""),
    "preset_restore_button": Caption(tr("Restore"), tr("Restore the deleted preset.")),
    "preset_name_edit": Caption(tr("Preset name"), tr("Name of the new preset.")),
    "preset_keep_button": Caption(tr("Save"), tr("Save the preset under this name.")),
    "preset_drop_button": Caption(tr("Cancel"), tr("Do not save a preset.")),
    # target
    "sparsity_slider": Caption(
        tr("Share of prunable weights to remove"),
        tr("Share of the prunable weights that is removed."),
    ),
    # protections
    "protect_choose_button": Caption(
        tr("Choose layers…"),
        tr("Show the layers of the model and select those to protect."),
    ),
    "protect_tree": Caption(
        tr("Protected layers"), tr("Checked layers are never pruned.")
    ),
    # the plan
    "fit_button": Caption(
        tr("Use settings that fit"),
        tr(
            "Change as few settings as needed for the run to fit, starting with "
            "batch, number formats and windows."
        ),
    ),
    # menus
    "undo_action": Caption(tr("&Undo"), ""),
    "redo_action": Caption(tr("&Redo"), ""),
}
