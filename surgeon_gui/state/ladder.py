"""Which file fits which memory, at one context for all of them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.formatting import size_units
from surgeon_engine.planning.running_memory import (
    COMMON_MEMORIES,
    memory_beside_weights,
    memory_of_export,
    smallest_memory,
    usable_context,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.quality import file_nats
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.text import NOTHING
from surgeon_gui.text import numbers

NOTICEABLE = 5e-4  # KL by saving in nats per token
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"

Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """A file: its size, the memory in which it runs, and its fidelity."""

    weight_bytes: int
    memory: int  # bytes; 0: not known
    nats: float  # KL to the original; NaN: not measured
    longest_context: int  # tokens; 0: not stated by the model


def original(model: ModelSummary, context: int) -> Rung:
    """Return the file of an original; `context`: tokens of prompt and answer."""
    memory = 0
    if model.cache_width:
        memory = model.file_bytes + memory_beside_weights(context, model)
    return Rung(model.file_bytes, memory, 0.0, model.longest_window)


def file_of(run: RunState, context: int) -> Rung | None:
    """Return the file of a run; None: there is none."""
    model, exported = run.model, run.exported
    if model is None or exported is None:
        return None
    memory = 0
    if model.cache_width:
        memory = memory_of_export(exported, run.layers, context, model)
    nats, longest = file_nats(run), model.longest_window
    return Rung(exported.weight_bytes, memory, nats, longest)


def default_context(runs: Sequence[RunState]) -> int:
    """Return the context of the runs' targets, or else one that all models support."""
    jobs = [run.config.pruning for run in runs if run.config is not None]
    asked = [job.context for job in jobs if job.target is Target.MEMORY]
    if asked:
        return max(asked)
    models = [run.model for run in runs if run.model is not None]
    usual = PruningConfig().context
    return min((usable_context(usual, model) for model in models), default=usual)


def best_memories(found: Sequence[Rung]) -> dict[int, tuple[float, ...]]:
    """Return the common memories for which each file is the best, in GB.

    The best file is the one with the lowest KL of those that fit; of equals, the one
    that needs least memory.
    """
    _, (one, _) = size_units()
    best: dict[int, tuple[float, ...]] = {}
    for memory in COMMON_MEMORIES:
        fitting = [
            number
            for number, rung in enumerate(found)
            if 0 < rung.memory <= memory * one and math.isfinite(rung.nats)
        ]
        if fitting:
            number = min(fitting, key=lambda n: (found[n].nats, found[n].memory))
            best[number] = (*best.get(number, ()), memory)
    return best


def fits_in(needed: int) -> str:
    """Return the smallest common memory that has so many bytes."""
    _, (one, _) = size_units()
    memory = smallest_memory(needed, one)
    if memory is None:
        return tr("more than {memory}").format(memory=_memory(COMMON_MEMORIES[-1]))
    return _memory(memory)


def context_rows(run: RunState) -> Table:
    """Return what contexts of several lengths take: the titles, then one row each.

    The contexts are powers of two up to what the model supports.
    """
    model, exported = run.model, run.exported
    if model is None or exported is None or not model.cache_width:
        return ()
    titles = (
        tr("Context"),
        tr("Pruned model"),
        tr("Fits in"),
        tr("Original"),
        tr("Fits in"),
    )
    rows = []
    for context in _contexts(model):
        pruned = memory_of_export(exported, run.layers, context, model)
        original = model.file_bytes + memory_beside_weights(context, model)
        rows.append(
            (
                numbers.tokens(context),
                numbers.needed_size(pruned),
                fits_in(pruned),
                numbers.needed_size(original),
                fits_in(original),
            )
        )
    return (titles, *rows)


def _contexts(model: ModelSummary) -> tuple[int, ...]:
    longest = model.longest_window or PruningConfig().context
    lengths = [2**power for power in range(11, 21) if 2**power <= longest]
    return tuple(lengths) or (longest,)


def fits_with(rung: Rung, context: int) -> str:
    """Return the smallest common memory for a file and a context."""
    if 0 < rung.longest_context < context:
        return tr("{memory}, but the model supports {tokens}").format(
            memory=fits_in(rung.memory), tokens=numbers.tokens(rung.longest_context)
        )
    return fits_in(rung.memory)


def memories(found: Sequence[float]) -> str:
    """Return the memories for which a file is best, as ranges."""
    places = [COMMON_MEMORIES.index(memory) for memory in found]
    parts = []
    for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        range_ = [place for _, place in group]
        low, high = (_memory(COMMON_MEMORIES[x]) for x in (range_[0], range_[-1]))
        if range_[-1] == len(COMMON_MEMORIES) - 1:
            parts.append(tr("{memory} and more").format(memory=low))
        elif low == high:
            parts.append(low)
        else:
            parts.append(tr("{low} to {high}").format(low=low, high=high))
    return "; ".join(parts) or NOTHING


def _memory(gigabytes: float) -> str:
    _, (_, name) = size_units()
    return f"{numbers.significant(gigabytes, 3)}{_NO_BREAK_SPACE}{name}"
