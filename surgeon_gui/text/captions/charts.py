"""The controls that every chart and table has."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_PLOTS = (
    "perplexity",
    "costs",
    "recovery",
    "memory",
    "times",
    "forecast",
    "compare_curves",
    "compare_size",
)
_CHARTS = (
    *_PLOTS,
    "sparsity",
    "sensitivity",
    "planned",
    "architecture",
    "compare_ladder",
    "compare_figures",
    "compare_settings",
)
_CONTROLS = {
    "more": Caption(
        tr("More"), tr("Enlarge or zoom this, or save it as PNG, SVG or CSV.")
    ),
    "return": Caption(tr("Back"), tr("Show the other charts again (Esc).")),
}

_RESET = Caption(
    tr("Reset zoom"), tr("Show everything again, as a double click on the plot does.")
)

CAPTIONS = {
    f"{chart}_{name}_button": caption
    for chart in _CHARTS
    for name, caption in _CONTROLS.items()
} | {f"{chart}_reset_button": _RESET for chart in _PLOTS}
