"""File formats of the export: which are possible, and where they are written."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import PurePath
from typing import Any

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import SPARSE
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.run_folder import export_name
from surgeon_engine.planning.file_form import SAME_SIZE
from surgeon_engine.planning.formats import NO_MXFP4_EXPERTS
from surgeon_gui.base.translation import tr
from surgeon_gui.text.choices import choice_label

# Suggested formats for saving a result again, the best first.
_SUGGESTED = (Format.GGUF, Format.COMPACT, Format.PLAIN, Format.MASKED)
_UNSUPPORTED = tr("This model cannot be written in this format.")


def disabled_save_formats(exported: Exported) -> dict[Format, str]:
    """Return the formats in which a result cannot be saved, with the reasons."""
    if not exported.others:
        return {}
    reasons = {other.format: other.reason for other in exported.others}
    formats = (each for each in Format if each is not Format.AUTOMATIC)
    return {each: reasons.get(each, _UNSUPPORTED) for each in formats}


def disabled_dtypes(
    file_format: Format, model: ModelSummary | None
) -> dict[FileDtype, str]:
    """Return the number formats that a file of a model cannot have, with the reasons.

    `model` is None if it is not inspected yet.
    """
    supported = DESCRIPTIONS[file_format].dtypes
    label = choice_label(file_format)[0]
    reason = tr("{label} does not support this number format.").format(label=label)
    disabled = {dtype: reason for dtype in FileDtype if dtype not in supported}
    if model is not None and not model.experts:
        disabled.setdefault(FileDtype.MXFP4_MOE, NO_MXFP4_EXPERTS)
    return disabled


def implied_changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the changes that an edit implies: an unsupported dtype is reset."""
    supported = DESCRIPTIONS[after["format"]].dtypes
    return {} if after["dtype"] in supported else {"dtype": FileDtype.SAME}


def suggested_format(exported: Exported, there: Container[Format]) -> Format:
    """Return a format for saving a result again, if possible none that is `there`."""
    reasons = disabled_save_formats(exported)
    possible = (f for f in _SUGGESTED if f not in there and not reasons.get(f))
    return next(possible, Format.AUTOMATIC)


def leaves_zeros(config: RunConfig) -> bool:
    """Return True if removed weights are stored as zeros."""
    is_masked = config.export.format is Format.MASKED
    return is_masked or config.pruning.structure in SPARSE


def is_larger(weight_bytes: int, model: ModelSummary | None) -> bool:
    """Return True if a file is larger than the original's."""
    return model is not None and weight_bytes > SAME_SIZE * model.file_bytes


def default_folder(run_folder: PurePath, export: ExportConfig) -> PurePath:
    """Return the folder for a result unless the user chooses another.

    Its name has the number format that was chosen: each gets a folder of its own.
    """
    return run_folder / export_name(export.format, export.dtype)
