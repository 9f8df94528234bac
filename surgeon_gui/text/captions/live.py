"""The charts of a run, and its pauses."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_SAVE = Caption(tr("Save"), tr("Save this chart as PNG, SVG or CSV."))

CAPTIONS = {
    # the strip at the bottom
    "pause_button": Caption(
        tr("&Pause"),
        tr(
            "Let the run wait at the next safe point; the model stays in memory and "
            "nothing is lost (Ctrl+P)."
        ),
    ),
    "resume_button": Caption(
        tr("Resu&me"), tr("Let the run go on from where it waits (Ctrl+P).")
    ),
    "pause_action": Caption(tr("&Pause"), ""),
    # live charts
    "perplexity_measure_combo": Caption(
        tr("Measure"),
        tr("Perplexity is the exponential of the loss; less is better."),
    ),
    "perplexity_log_button": Caption(
        tr("Log scale"), tr("Show the vertical axis in decades.")
    ),
    "perplexity_save_button": _SAVE,
    "parameters_measure_combo": Caption(
        tr("Measure of size"),
        tr("How many parameters there are, or how many bytes they take in a file."),
    ),
    "parameters_save_button": _SAVE,
    "sparsity_save_button": _SAVE,
    "costs_measure_combo": Caption(
        tr("What is counted"),
        tr("The weights that go with a removal, or the removals themselves."),
    ),
    "costs_save_button": _SAVE,
    "memory_save_button": _SAVE,
    "times_save_button": _SAVE,
}

# What a figure or a chart means, by the name of the tile or the chart.
MEANINGS = {
    "perplexity": tr(
        "How little the model expects text that it has not seen: its mean loss per "
        "token, in nats (natural logarithms), or perplexity, which is the exponential "
        "of that. Less is better."
    ),
    "parameters": tr("How many numbers the model consists of, before and after."),
    "sparsity": tr("The share of the prunable weights that is gone."),
    "time": tr("Since the start, without pauses."),
    "damping": tr(
        "Damping is what is added to the measured curvature, so that it is not trusted "
        "further than the calibration text reaches; loss is in nats per token."
    ),
    "costs": tr(
        "What each removal costs as removals are compared: for the LLM Surgeon and the "
        "OBD methods what it is predicted to add to the loss, divided by its weights "
        "unless Compare costs (step 3) says otherwise. The cheapest go until the "
        "target is reached; the largest cost that is paid is the threshold."
    ),
    "memory": tr("What the engine's process takes, and its tensors on a GPU."),
    "times": tr("How long it takes to measure, to choose, to adapt and to evaluate."),
}
