"""The forms in which a model is written: which go with what, and what sizes come of it.

Pure functions; knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    FOR_TRANSFORMERS,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    SPARSE,
    FileSize,
    PruningConfig,
    Widths,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.limits import some_keep_full_width
from surgeon_gui.base.translation import tr
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import FIELDS

# What is offered first once a run has been exported in some other form.
_OFFERED = (Format.GGUF, Format.COMPACT, Format.STOCK, Format.MASKED, Format.ONNX)
_NOT_OFFERED = tr("This model cannot be written like that.")


def disabled_formats(
    pruning: PruningConfig, model: ModelSummary | None
) -> dict[Format, str]:
    """The forms that what remains after `pruning` does not have, and why."""
    disabled = _disabled_by_structure(pruning, model)
    if isinstance(pruning.target, FileSize):
        disabled[Format.MASKED] = tr(
            "It is as large as the original: no target of a size (step 3) is reached."
        )
    return disabled


def _disabled_by_structure(
    pruning: PruningConfig, model: ModelSummary | None
) -> dict[Format, str]:
    structure = pruning.kind
    if structure in SPARSE:
        reason = tr(
            "Single weights leave zeros in place: there is nothing to take out."
        )
        return dict.fromkeys((Format.COMPACT, Format.STOCK, Format.ONNX), reason)
    if structure in BY_LAYER:
        reason = tr(
            "It cannot hold layers that have lost rows and columns of their own."
        )
        return dict.fromkeys((Format.STOCK, Format.GGUF, Format.ONNX), reason)
    if not pruning.has_same_widths:
        ours, same = FIELDS["pruning.widths"].label, choice_label(Widths.SAME)[0]
        reason = tr(
            "Layers get different widths unless {ours} (step 3) is “{same}”."
        ).format(ours=ours, same=same)
        return {Format.STOCK: reason}
    if model is not None and some_keep_full_width(pruning, model):
        reason = tr(
            "Layers get different widths where some of a kind are protected (step 3) "
            "and others are not."
        )
        return {Format.STOCK: reason}
    return {}


def disabled_others(exported: Exported) -> dict[Format, str]:
    """The forms in which this result cannot be written again, and why."""
    if not exported.others:
        return {}
    offered = {other.format: other.reason for other in exported.others}
    asked = (form for form in Format if form is not Format.AUTOMATIC)
    return {form: offered.get(form, _NOT_OFFERED) for form in asked}


def disabled_dtypes(wanted: Format) -> dict[FileDtype, str]:
    """The number formats that a form of file does not hold, and why."""
    held = DESCRIPTIONS[wanted].dtypes
    reason = tr("{label} does not hold it.").format(label=choice_label(wanted)[0])
    return {dtype: reason for dtype in FileDtype if dtype not in held}


def following(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What else changes: a number format gives way where the file cannot hold it."""
    held = DESCRIPTIONS[after["format"]].dtypes
    return {} if after["dtype"] in held else {"dtype": FileDtype.SAME}


def another_format(exported: Exported) -> Format:
    """The form to propose for saving a result once more."""
    reasons = disabled_others(exported)
    possible = (f for f in _OFFERED if f is not exported.format and not reasons.get(f))
    return next(possible, Format.AUTOMATIC)


def is_measurable(exported: Exported) -> bool:
    """Whether the engine can take the times of what was written."""
    return exported.format in FOR_TRANSFORMERS


def leaves_zeros(config: RunConfig) -> bool:
    """Whether what goes stays in the file, as zeros."""
    is_masked = config.export.format is Format.MASKED
    return is_masked or config.pruning.kind in SPARSE


def impossible(config: RunConfig, model: ModelSummary | None) -> str:
    """Why the job's form and its structure do not go together; empty: they do."""
    reason = disabled_formats(config.pruning, model).get(config.export.format, "")
    if not reason:
        return ""
    label = choice_label(config.export.format)[0]
    return tr("{label} is not possible for this target. {reason}").format(
        label=label, reason=reason
    )


def folder_in(run_folder: str, wanted: Format) -> str:
    """Where a result is saved unless the user names another place."""
    name = "transformers" if wanted is Format.AUTOMATIC else wanted.value
    return str(Path(run_folder) / name)
