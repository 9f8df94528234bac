"""The charts of a run."""

from __future__ import annotations

from surgeon_gui.captions.caption import Caption
from surgeon_gui.translation import tr

CAPTIONS = {
    # live charts
    "perplexity_measure_combo": Caption(
        tr("Measure"), tr("Perplexity is the exponential of the loss; less is better.")
    ),
    "perplexity_log_button": Caption(
        tr("Log scale"), tr("Show the vertical axis in decades.")
    ),
    "perplexity_save_button": Caption(
        tr("Save"), tr("Save this chart as PNG, SVG or CSV.")
    ),
    "parameters_save_button": Caption(
        tr("Save"), tr("Save this chart as PNG, SVG or CSV.")
    ),
    "sparsity_save_button": Caption(
        tr("Save"), tr("Save this chart as PNG, SVG or CSV.")
    ),
}
