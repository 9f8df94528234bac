"""The charts of a run."""

from __future__ import annotations

from surgeon_gui.captions.caption import Caption

CAPTIONS = {
    # live charts
    "perplexity_measure_combo": Caption(
        "Measure", "Perplexity is the exponential of the loss; less is better."
    ),
    "perplexity_log_button": Caption("Log scale", "Show the vertical axis in decades."),
    "perplexity_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
    "parameters_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
    "sparsity_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
}
