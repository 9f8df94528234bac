"""An alternative that makes as small a file: the whole model in fewer bits.

Rounding to 4 bits or more costs less fidelity than removing a tenth of the weights
(docs/results.md). Pruning pays where the number of operations counts, and below 4 bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.planned_file import (
    FileForm,
    PlannedFile,
    planned_file,
    quantized_formats,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label


def advice(config: RunConfig, model: ModelSummary) -> str:
    """Return whether quantizing alone makes a file as small; empty if unknown."""
    goal, files = goal_or_none(config, model), quantized_files(config, model)
    return sentence(files, goal.weight_bytes) if goal is not None and files else ""


def quantized_files(
    config: RunConfig, model: ModelSummary
) -> dict[FileDtype, PlannedFile]:
    """Return the files of the whole model in few bits, the longest numbers first.

    Empty if there are none, or if pruning by `config` makes no smaller file.
    """
    has_no_file = config.pruning.removes_nothing or leaves_zeros(config)
    if has_no_file or model.gguf_widths is None:
        return {}
    unpruned = PruningConfig(sparsity=0.0)
    return {
        dtype: planned_file(model, FileForm(Format.GGUF, dtype), unpruned)
        for dtype in quantized_formats(model)
    }


def longest_within(
    files: Mapping[FileDtype, PlannedFile], most: int
) -> FileDtype | None:
    """Return the longest numbers that make a file of at most `most` bytes."""
    fitting = (dtype for dtype, file in files.items() if file.bytes(0) <= most)
    return next(fitting, None)


def sentence(files: Mapping[FileDtype, PlannedFile], most: int) -> str:
    """Return whether one of the files of the whole model has at most `most` bytes."""
    sizes = {dtype: file.bytes(0) for dtype, file in files.items()}
    if (dtype := longest_within(files, most)) is not None:
        return tr(
            "If only the size of the file counts, quantize instead: the whole model in "
            "{dtype} takes {size} and stays closer to the original. Prune for speed, "
            "or on top of few bits."
        ).format(dtype=choice_label(dtype)[0], size=numbers.size(sizes[dtype]))
    least = min(sizes, key=sizes.__getitem__)
    return tr(
        "Quantizing alone does not make it as small: the whole model in {dtype} takes "
        "{size}."
    ).format(dtype=choice_label(least)[0], size=numbers.size(sizes[least]))
