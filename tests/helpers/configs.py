"""Pruning configs from some of their settings."""

from typing import Any

import msgspec

from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    Coupling,
    Fisher,
    Method,
    PruningConfig,
    Structure,
    Vocabulary,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.decoding import convert

# Structures that can be removed from models without experts.
DENSE = tuple(s for s in Structure if Coupling.EXPERTS not in COUPLINGS.get(s, ()))
DENSE_COUPLED = tuple(structure for structure in COUPLED if structure in DENSE)
AUTOMATIC = {"vocabulary": Vocabulary.AUTOMATIC}
_SURGEON = {
    "method": Method.LLM_SURGEON,
    "shots": 3,
    "fisher": Fisher.EMPIRICAL,
}


def pruning_config(
    structure: Structure = Structure.HEADS_AND_NEURONS, **settings: Any
) -> PruningConfig:
    """Return a config with these settings, if it has them.

    The other settings describe an LLM Surgeon run of three shots.
    """
    values = _SURGEON | {"structure": structure, **settings}
    if structure not in DENSE and "method" not in settings:
        values["method"] = Method.FIRST_ORDER
    return convert(msgspec.to_builtins(values), PruningConfig)


def surgeon_job(**parts: Any) -> RunConfig:
    """Return an LLM Surgeon job without recovery, with some parts replaced."""
    plain = {"pruning": pruning_config(), "recovery": RecoveryConfig(Recovery.OFF)}
    return RunConfig(**plain | parts)


def some_tokens(tokens: int, kept_texts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings of a vocabulary of so many tokens."""
    return {
        "vocabulary": Vocabulary.TOKENS,
        "vocabulary_tokens": tokens,
        "kept_texts": kept_texts,
    }
