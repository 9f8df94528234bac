"""What else makes a file as small as a planned one: the whole model in fewer bits.

Rounding to 4 bits or more costs less fidelity than removing a tenth of the weights
(docs/results.md). Pruning pays where the number of operations counts, and below 4 bits.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.export import QUANTIZED, FileDtype
from surgeon_engine.api.config.pruning import PrunableShare
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.gguf_types import gguf_name
from surgeon_engine.api.planning.planned_file import PlannedFile
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label


def advice(config: RunConfig, model: ModelSummary) -> str:
    """Return whether quantising alone makes a file as small; empty if unknown."""
    goal = goal_or_none(config, model)
    unpruned = replace(config.pruning, target=PrunableShare(0.0))
    is_possible = all(gguf_name(layer.name) for layer in model.layers)
    has_no_file = config.pruning.removes_nothing or leaves_zeros(config)
    if goal is None or has_no_file or not is_possible:
        return ""
    sizes = {x: PlannedFile(model, x, unpruned).bytes(0) for x in QUANTIZED}
    for dtype, size in sizes.items():  # the longest numbers first
        if size <= goal.weight_bytes:
            return _instead(dtype, size)
    least = min(sizes, key=sizes.__getitem__)
    return tr(
        "Quantizing alone does not make it as small: the whole model in {dtype} takes "
        "{size}."
    ).format(dtype=choice_label(least)[0], size=numbers.size(sizes[least]))


def _instead(dtype: FileDtype, size: int) -> str:
    return tr(
        "If only the size of the file counts, quantize instead: the whole model in "
        "{dtype} takes {size} and stays closer to the original. Prune for speed, or on "
        "top of few bits."
    ).format(dtype=choice_label(dtype)[0], size=numbers.size(size))
