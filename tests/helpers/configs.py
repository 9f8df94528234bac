"""Pruning configs from flat settings, in the short form of a job."""

from __future__ import annotations

from typing import Any

import msgspec

from surgeon_engine.api.config.fields import with_values
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.toml import config_from_toml


def pruning_config(
    structure: Structure = Structure.HEADS_AND_NEURONS, **settings: Any
) -> PruningConfig:
    """Return the config of a job with these settings in its pruning part."""
    pruning = msgspec.to_builtins({"structure": structure, **settings})
    return config_from_toml(msgspec.toml.encode({"pruning": pruning}).decode()).pruning


def changed(pruning: PruningConfig, **settings: Any) -> PruningConfig:
    """Return a config with some settings changed, by their flat names."""
    return with_values(pruning, settings)
