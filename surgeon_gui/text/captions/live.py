"""The live charts, and pausing a run."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_SAVE = Caption(tr("Save"), tr("Save this chart as PNG, SVG or CSV."))

CAPTIONS = {
    # the strip at the bottom
    "pause_button": Caption(
        tr("&Pause"),
        tr(
            "Pause the run at the next safe point. The model stays in memory and "
            "nothing is lost (Ctrl+P)."
        ),
    ),
    "resume_button": Caption(tr("Resu&me"), tr("Resume the paused run (Ctrl+P).")),
    "pause_action": Caption(tr("&Pause"), ""),
    # live charts
    "perplexity_measure_combo": Caption(
        tr("Measure"),
        tr("Perplexity is the exponential of the loss; lower is better."),
    ),
    "perplexity_log_button": Caption(
        tr("Log scale"), tr("Use a logarithmic vertical axis.")
    ),
    "perplexity_save_button": _SAVE,
    "parameters_measure_combo": Caption(
        tr("Measure of size"),
        tr("Number of parameters, or bytes in the file."),
    ),
    "parameters_save_button": _SAVE,
    "sparsity_save_button": _SAVE,
    "costs_measure_combo": Caption(
        tr("Quantity"),
        tr("Count removed weights, or removals."),
    ),
    "costs_save_button": _SAVE,
    "memory_save_button": _SAVE,
    "times_save_button": _SAVE,
}

# Explanations of tiles and charts, by name.
MEANINGS = {
    "perplexity": tr(
        "Quality on held-out text: the mean loss per token in nats, or perplexity, "
        "which is its exponential. Lower is better."
    ),
    "parameters": tr("Number of parameters of the model, before and after pruning."),
    "sparsity": tr("Share of the prunable weights that has been removed."),
    "time": tr("Time since the start, without pauses."),
    "damping": tr(
        "Damping is added to the measured curvature to prevent overfitting to the "
        "calibration text. Loss is in nats per token."
    ),
    "costs": tr(
        "Cost of each removal. For LLM Surgeon and the OBD methods, it is the "
        "predicted increase in loss, by default per removed weight (Cost basis in step "
        "3). The cheapest parts are removed until the target is reached; the highest "
        "cost among them is the threshold."
    ),
    "memory": tr("Memory of the engine process, and of its tensors on a GPU."),
    "times": tr("Time spent on curvature, selection, updates and evaluation."),
}
