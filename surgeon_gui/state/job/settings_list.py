"""All settings of a job as texts, in the order of the steps.

Reports and comparisons show them. Settings without effect, such as the N:M pattern of a
job that removes heads, are omitted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.fields import settings_of, values_in_use
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_gui.base.translation import tr
from surgeon_gui.state.sources.resolver import has_columns
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import FIELDS, source_name

_PARTS = {
    "model": tr("Model"),
    "calibration": tr("Calibration"),
    "pruning": tr("Target"),
    "export": tr("Export"),
    "recovery": tr("Recovery"),
    "evaluation": tr("Evaluation"),
    "samples": tr("Samples"),
}
_SOURCES = ("model.source", "calibration.text", "calibration.validation_text")
_EMPTY_VALUES = {
    "calibration.validation_text": tr("Held out of the text"),
    "calibration.validation_split": tr("Held out of the text"),
    "calibration.column": tr("Automatic"),
    "calibration.dataset_config": tr("Automatic"),
    "calibration.split": tr("Automatic"),
    "evaluation.texts": tr("Automatic"),
    "export.folder": tr("Inside the run's folder"),
}
_DATASET_SETTINGS = tuple(
    f"calibration.{name}" for name in ("dataset_config", "split", "validation_split")
)
DOES_NOT_APPLY = "\N{EN DASH}"


class Setting(NamedTuple):
    """One setting of a job."""

    name: str  # as in "pruning.shots"
    part: str  # title of its step
    label: str
    value: str
    is_default: bool


def settings(config: RunConfig) -> tuple[Setting, ...]:
    """Return the settings of a job that have an effect."""
    found = []
    for part in dataclasses.fields(config):
        values = values_in_use(getattr(config, part.name))
        fields = settings_of(type(getattr(config, part.name)))
        for setting, value in values.items():
            name = f"{part.name}.{setting}"
            if not _applies_to_texts(name, config.calibration):
                continue
            text = _format_value(name, value, FIELDS[name])
            label, is_default = FIELDS[name].label, value == fields[setting].default
            found.append(Setting(name, _PARTS[part.name], label, text, is_default))
    return tuple(found)


def differences(configs: Sequence[RunConfig]) -> tuple[tuple[str, ...], ...]:
    """Return the settings that differ: rows of a label and the value in each job.

    A setting that is left at "none" or "automatic" where it applies is not different
    where it does not apply.
    """
    jobs = [{each.name: each for each in settings(config)} for config in configs]
    labels = {name: each.label for job in jobs for name, each in job.items()}
    rows = []
    for name in (name for name in FIELDS if name in labels):
        values = [job[name].value if name in job else DOES_NOT_APPLY for job in jobs]
        different = set(values)
        if different == {DOES_NOT_APPLY, FIELDS[name].minimum_text}:
            continue
        if len(different) > 1:
            rows.append((labels[name], *values))
    return tuple(rows)


def _applies_to_texts(name: str, calibration: CalibrationConfig) -> bool:
    """Return True if a setting applies to texts of these kinds."""
    texts = (calibration.text, calibration.validation_text)
    if name == "calibration.column":
        return any(map(has_columns, texts))
    if name == "calibration.more_texts":
        return bool(calibration.more_texts)
    if name == "calibration.rows":
        return calibration.uses_datasets
    return name not in _DATASET_SETTINGS or any(map(is_hub_source, texts))


def _format_more_text(more: MoreText) -> str:
    share = numbers.percent(more.share)
    return tr("{share} {text}").format(share=share, text=source_name(more.text))


def _format_value(name: str, value: Any, field_text: FieldText) -> str:
    if isinstance(value, bool):
        return tr("Yes") if value else tr("No")
    if isinstance(value, Enum):
        return choice_label(value)[0]
    if not value and (name in _EMPTY_VALUES or field_text.minimum_text):
        return _EMPTY_VALUES.get(name, field_text.minimum_text)
    if name == "calibration.more_texts":
        return ", ".join(map(_format_more_text, value)) or tr("None")
    if name == "evaluation.texts":
        return ", ".join(map(source_name, value))
    if isinstance(value, tuple):
        return ", ".join(value) or tr("None")
    if isinstance(value, str):
        return source_name(value) if name in _SOURCES else value
    if field_text.is_share:
        return numbers.percent(value, decimals=field_text.decimals)
    is_whole = isinstance(value, int)
    shown = value * field_text.scale
    number = numbers.whole(value) if is_whole else numbers.significant(shown, 6)
    unit = field_text.unit_for(value)
    return f"{number}\N{NO-BREAK SPACE}{unit}" if unit else number
