"""Pruning configs from flat settings, such as those of a job."""

from __future__ import annotations

from typing import Any

import msgspec

from surgeon_engine.api.config.fields import with_values
from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    Coupling,
    Fisher,
    Method,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.decoding import convert

# What can be removed from models without experts.
DENSE = tuple(s for s in Structure if Coupling.EXPERTS not in COUPLINGS.get(s, ()))
DENSE_COUPLED = tuple(structure for structure in COUPLED if structure in DENSE)
_SURGEON = {
    "method": Method.LLM_SURGEON,
    "shots": 3,
    "fisher": Fisher.EMPIRICAL,
}


def pruning_config(
    structure: Structure = Structure.HEADS_AND_NEURONS, **settings: Any
) -> PruningConfig:
    """Return a config with these settings, by their flat names, if it has them.

    The others are those of an LLM Surgeon run of three shots.
    """
    values = _SURGEON | {"structure": structure, **settings}
    if structure not in DENSE and "method" not in settings:
        values["method"] = Method.FIRST_ORDER
    return convert(
        msgspec.to_builtins(with_values(PruningConfig(), values)), PruningConfig
    )


def surgeon_job(**parts: Any) -> RunConfig:
    """Return an LLM Surgeon job without recovery, with some parts replaced."""
    plain = {"pruning": pruning_config(), "recovery": RecoveryConfig(Recovery.OFF)}
    return RunConfig(**plain | parts)


def changed(pruning: PruningConfig, **settings: Any) -> PruningConfig:
    """Return a config with some settings changed, by their flat names."""
    return with_values(pruning, settings)
