"""Pruning configs from flat settings, in the short form of a job."""

from __future__ import annotations

from typing import Any

import msgspec

from surgeon_engine.api.config.fields import with_values
from surgeon_engine.api.config.pruning import (
    Fisher,
    Method,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml

_SURGEON = {
    "method": Method.LLM_SURGEON,
    "shots": 3,
    "fisher": Fisher.EMPIRICAL,
}


def pruning_config(
    structure: Structure = Structure.HEADS_AND_NEURONS, **settings: Any
) -> PruningConfig:
    """Return the config of a job with these settings in its pruning part.

    The others are those of an LLM Surgeon run of three shots.
    """
    pruning = msgspec.to_builtins(_SURGEON | {"structure": structure, **settings})
    return config_from_toml(msgspec.toml.encode({"pruning": pruning}).decode()).pruning


def surgeon_job(**parts: Any) -> RunConfig:
    """Return an LLM Surgeon job without recovery, with some parts replaced."""
    plain = {"pruning": pruning_config(), "recovery": RecoveryConfig(Recovery.OFF)}
    return RunConfig(**plain | parts)


def changed(pruning: PruningConfig, **settings: Any) -> PruningConfig:
    """Return a config with some settings changed, by their flat names."""
    return with_values(pruning, settings)
