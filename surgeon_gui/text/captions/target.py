"""Step 3: presets, structures, linked sizes, protections and the plan."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # presets
    "preset_combo": Caption(
        tr("Preset"), tr("Settings that go together, in one choice.")
    ),
    "preset_save_button": Caption(
        tr("Save as…"), tr("Keep these settings as a preset of your own.")
    ),
    "preset_more_button": Caption(
        tr("More"), tr("Share presets as files, or delete one of your own.")
    ),
    "preset_export_action": Caption(tr("&Share as file…"), ""),
    "preset_import_action": Caption(tr("&Add from file…"), ""),
    "preset_delete_action": Caption(tr("&Delete"), ""),
    "preset_restore_button": Caption(
        tr("Bring back"), tr("Keep the preset that was just deleted after all.")
    ),
    "preset_name_edit": Caption(
        tr("Name of the preset"), tr("What your preset is to be called.")
    ),
    "preset_keep_button": Caption(tr("Save"), tr("Save the preset under this name.")),
    "preset_drop_button": Caption(tr("Cancel"), tr("Save no preset.")),
    # how much
    "sparsity_slider": Caption(
        tr("Share of prunable weights to remove"),
        tr("The share of the prunable weights that is removed."),
    ),
    # protections
    "protect_choose_button": Caption(
        tr("Choose layers…"),
        tr("Show the layers of the model, to mark those of which nothing may go."),
    ),
    "protect_tree": Caption(
        tr("Protected layers"), tr("From what is marked nothing is removed.")
    ),
    # the plan
    "fit_button": Caption(
        tr("Use settings that fit"),
        tr(
            "Change as little as makes the run fit this machine: batch, number formats "
            "and windows first."
        ),
    ),
    # menus
    "undo_action": Caption(tr("&Undo"), ""),
    "redo_action": Caption(tr("&Redo"), ""),
}
