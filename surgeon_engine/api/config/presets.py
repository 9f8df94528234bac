"""Presets: named settings, such as the files in `resources/presets`.

A preset replaces the whole pruning part of a job and the settings of the calibration
that it names. It never sets model, texts or destination. One with a purpose removes
what the purpose removes of a model.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import msgspec

from surgeon_engine.api.config.calibration import TEXT_SETTINGS
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.purposes import Purpose, structure_for, with_method_for
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import (
    check_choice,
    check_job_version,
    config_from_values,
    decode_toml,
)
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_engine.base.versions import JOB

# In the order of the window.
NAMES = (
    "standard",
    "quick_look",
    "deployable",
    "draft",
    "paper_structured",
    "paper_2_4",
    "paper_unstructured",
    "magnitude_baseline",
)
_WORDS = ("title", "about")
_PARTS = ("pruning", "recovery", "calibration", "evaluation")
_PURPOSE = "purpose"  # optional
_OF_EVALUATION = ("before_recovery",)
_OF_CALIBRATION = ("windows", "validation_windows", "window_length")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of settings, with a title and a description."""

    name: str
    title: str
    about: str
    pruning: PruningConfig
    recovery: RecoveryConfig
    calibration: Mapping[str, Any]  # only the settings that it names
    evaluation: Mapping[str, Any]  # likewise
    purpose: Purpose | None = None  # None: it removes the same of each model

    def for_model(self, kinds: Collection[Structure]) -> Preset:
        """Return the preset for a model that supports these structures.

        With the default method, if its own does not remove what its purpose does there.
        """
        if self.purpose is None:
            return self
        kind = structure_for(self.purpose, kinds)
        fitting = with_method_for(kind, self.pruning)
        pruning = replace(fitting, structure=kind)
        return replace(self, pruning=pruning)

    def applied_to(self, config: RunConfig) -> RunConfig:
        """Return a job with these settings and its own model, texts and destination."""
        calibration = replace(config.calibration, **self.calibration)
        evaluation = replace(config.evaluation, **self.evaluation)
        return replace(
            config,
            pruning=self.pruning,
            recovery=self.recovery,
            calibration=calibration,
            evaluation=evaluation,
        )

    def is_in(self, config: RunConfig) -> bool:
        """Return True if the job has these settings."""
        return self.applied_to(config) == config


def preset_of(
    name: str,
    title: str,
    about: str,
    config: RunConfig,
    calibration: Iterable[str] = _OF_CALIBRATION,
    evaluation: Iterable[str] = _OF_EVALUATION,
) -> Preset:
    """Return the settings of a job as a preset; of two parts these alone."""
    return Preset(
        name,
        title,
        about,
        config.pruning,
        config.recovery,
        {key: getattr(config.calibration, key) for key in calibration},
        {key: getattr(config.evaluation, key) for key in evaluation},
    )


def preset_to_toml(preset: Preset) -> str:
    """Return TOML from which `preset_from_toml` makes an equal preset."""
    purpose = {} if preset.purpose is None else {_PURPOSE: preset.purpose}
    words = {name: getattr(preset, name) for name in _WORDS}
    parts = {part: getattr(preset, part) for part in _PARTS}
    parts["pruning"] = values_of(preset.pruning)
    return msgspec.toml.encode({"version": JOB, **words, **purpose, **parts}).decode()


@functools.cache
def presets() -> tuple[Preset, ...]:
    """Return the presets that are installed with the program."""
    folder = files("surgeon_resources") / "presets"
    return tuple(
        preset_from_toml(name, (folder / f"{name}.toml").read_text(encoding="utf-8"))
        for name in NAMES
    )


def preset_from_toml(name: str, text: str) -> Preset:
    """Return the preset that a text in TOML describes.

    Raises:
        ConfigError: The text has another version, lacks a title or description, sets
            what a preset must not set, or makes no valid config.
    """
    data = decode_toml(f"The preset {name}", text)
    check_job_version(f"The preset {name}", data)
    parts = {part: data[part] for part in _PARTS if part in data}
    config = config_from_values(parts)
    named, judging = parts.get("calibration", {}), parts.get("evaluation", {})
    strange = [key for key in data if key not in (*_WORDS, *_PARTS, _PURPOSE)]
    strange += [key for key in named if key in TEXT_SETTINGS]
    strange += [key for key in judging if key not in _OF_EVALUATION]
    missing = [x for x in _WORDS if not isinstance(data.get(x), str) or not data[x]]
    if strange or missing:
        raise ConfigError(
            "The preset {name} has no {words}."
            if missing
            else "The preset {name} must not set {strange}.",
            say(
                "A preset has {words}, and no texts.", words=", ".join(_WORDS + _PARTS)
            ),
            name=name,
            words=", ".join(missing),
            strange=", ".join(strange),
        )
    purpose = data.get(_PURPOSE)
    if purpose is not None:
        setting = say("The purpose of the preset {name}", name=name)
        check_choice(setting, Purpose, purpose)
    found = preset_of(name, data["title"], data["about"], config, named, judging)
    return found if purpose is None else replace(found, purpose=Purpose(purpose))
