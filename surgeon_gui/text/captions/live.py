"""The live charts, and pausing a run."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

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
        tr(
            "Fidelity compares the model with the original: KL is 0 if both predict "
            "the same. Perplexity is the exponential of the loss."
        ),
    ),
    "perplexity_log_button": Caption(
        tr("Log scale"), tr("Use a logarithmic vertical axis.")
    ),
    "costs_measure_combo": Caption(
        tr("Quantity"),
        tr(
            "Count removed weights, or removals; or show the recovery in place of the "
            "costs."
        ),
    ),
    "recovery_costs_button": Caption(
        tr("Costs"), tr("Show the costs in place of the recovery.")
    ),
}

# Explanation of a perplexity below the original's.
BELOW_ORIGINAL = tr(
    "The pruned model is closer to the calibration text than the original, not better: "
    "it has specialised. Fidelity shows how far it is from the original."
)

# Explanations of tiles and charts, by name.
MEANINGS = {
    "fidelity": tr(
        "How closely the pruned model follows the original on held-out text. KL "
        "measures how far its predictions are from the original's, in nats per token: "
        "0 if both predict the same. Same top token is the share of tokens that both "
        "find most likely. In brackets: 95 % intervals. Usual for a default run of "
        "SmolLM2-135M: a KL of 0.12 with 10 % removed, 0.43 with 30 % and 0.80 with "
        "50 %."
    ),
    "perplexity": tr(
        "How well the model predicts held-out calibration text: the exponential of the "
        "mean loss per token. Lower means closer to this text, not closer to the "
        "original."
    ),
    "quality": tr(
        "Quality on held-out text. Fidelity: KL to the original, and the share of "
        "same top tokens, for each text. Perplexity and loss: on the calibration text."
    ),
    "recovery": tr(
        "KL to the original on held-out windows of calibration text and own text, "
        "before recovery, before the training of the whole model and during it."
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
