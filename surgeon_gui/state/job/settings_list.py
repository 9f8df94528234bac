"""All settings of a job in words, in the order in which the steps show them.

For reports and comparisons: what does not apply to the others, such as the pattern of
a job that removes heads, is left out. Knows nothing of Qt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.fields import values_in_use
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
}
_SOURCES = ("model.source", "calibration.text", "calibration.validation_text")
# What an empty line stands for.
_EMPTY = {
    "calibration.validation_text": tr("Held out of the text"),
    "calibration.validation_split": tr("Held out of the text"),
    "calibration.column": tr("Automatic"),
    "calibration.dataset_config": tr("Automatic"),
    "calibration.split": tr("Automatic"),
    "pruning.protect": tr("Nothing"),
    "export.folder": tr("Inside the run's folder"),
}
_NO_SETTING = ("export.replace",)  # an answer to a question
_OF_DATASETS = tuple(
    f"calibration.{name}"
    for name in ("dataset_config", "split", "validation_split", "rows")
)
_DOES_NOT_APPLY = "\N{EN DASH}"


class Setting(NamedTuple):
    """One setting of a job."""

    name: str  # as in "pruning.shots"
    part: str  # the step, in words
    label: str
    value: str


def settings(config: RunConfig) -> tuple[Setting, ...]:
    """Those that apply."""
    found = []
    for part in dataclasses.fields(config):
        held = getattr(config, part.name)
        for setting, held_value in values_in_use(held).items():
            name = f"{part.name}.{setting}"
            if name in _NO_SETTING or not _is_of_text(name, config.calibration):
                continue
            value = _format_value(name, held_value, FIELDS[name])
            found.append(Setting(name, _PARTS[part.name], FIELDS[name].label, value))
    return tuple(found)


def differences(configs: Sequence[RunConfig]) -> tuple[tuple[str, ...], ...]:
    """The settings that differ, a row for each: its label, then its values."""
    by_job = [{each.name: each for each in settings(config)} for config in configs]
    every = {name: each for job in by_job for name, each in job.items()}
    rows = []
    for name in (name for name in FIELDS if name in every):
        values = [job[name].value if name in job else _DOES_NOT_APPLY for job in by_job]
        if len(set(values)) > 1:
            rows.append((every[name].label, *values))
    return tuple(rows)


def _is_of_text(name: str, calibration: CalibrationConfig) -> bool:
    """Whether a setting says something of the texts that there are."""
    texts = (calibration.text, calibration.validation_text)
    if name == "calibration.column":
        return any(map(has_columns, texts))
    return name not in _OF_DATASETS or any(map(is_hub_source, texts))


def _format_value(name: str, value: Any, words: FieldText) -> str:
    if isinstance(value, Enum):
        return choice_label(value)[0]
    if not value and (name in _EMPTY or words.minimum_text):
        return _EMPTY.get(name, words.minimum_text)
    if isinstance(value, tuple):
        return ", ".join(value) or tr("None")
    if isinstance(value, str):
        return source_name(value) if name in _SOURCES else value
    if words.is_share:
        return numbers.percent(value, decimals=words.decimals)
    is_whole = isinstance(value, int)
    number = numbers.whole(value) if is_whole else numbers.significant(value, 6)
    unit = words.unit_for(value)
    return f"{number}\N{NO-BREAK SPACE}{unit}" if unit else number
