"""The files of several runs as a ladder of sizes: which file fits which memory.

Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from surgeon_engine.api.config.pruning import Memory
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.running_memory import (
    COMMON_MEMORIES,
    memory_of_export,
    memory_to_run,
    smallest_memory,
    usable_context,
)
from surgeon_gui.base import units
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.text import NOTHING
from surgeon_gui.text import numbers
from surgeon_gui.text.fidelity import divergence_interval, text_phrase
from surgeon_gui.text.labels import source_name

NOTICEABLE = 5e-4  # KL by saving in nats per token
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"

Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """A file: its size, the memory in which it runs, and its fidelity."""

    name: str
    weight_bytes: int
    memory: int  # bytes
    nats: float  # KL to the original, with that of saving; NaN: not measured
    divergence: str  # the same of the model in memory, with its interval
    saving: float | None  # KL to the model in memory, by saving it in fewer bits
    longest_context: int  # tokens; 0: not stated by the model
    text: str = ""  # on which its KL was measured


def rungs(runs: Sequence[tuple[str, RunState]], context: int) -> tuple[Rung, ...]:
    """Return the originals, without duplicates, and the exported files, by memory.

    Args:
        runs: each with its title.
        context: tokens of prompt and answer together.
    """
    originals: dict[tuple[str, int], Rung] = {}
    found = []
    for name, run in runs:
        model = run.model
        if model is None or not model.cache_width or run.config is None:
            continue
        title = tr("{model}, original").format(
            model=source_name(run.config.model.source)
        )
        originals[title, model.file_bytes] = _original(title, model, context)
        if run.exported is not None:
            found.append(_exported(name, run, model, context))
    if not found:
        return ()
    return tuple(sorted((*found, *originals.values()), key=lambda rung: rung.memory))


def default_context(runs: Sequence[RunState]) -> int:
    """Return the context of the runs' targets, or else one that all models support."""
    configs = [run.config.pruning.target for run in runs if run.config is not None]
    asked = [target.context for target in configs if isinstance(target, Memory)]
    if asked:
        return max(asked)
    models = [run.model for run in runs if run.model is not None]
    usual = Memory().context
    return min((usable_context(usual, model) for model in models), default=usual)


def table(found: Sequence[Rung], context: int) -> Table:
    """Return the ladder as texts: the titles, then one row per file."""
    has_saving = any((rung.saving or 0) >= NOTICEABLE for rung in found)
    best = best_memories(found)
    titles = (
        tr("File"),
        tr("Weights on disk"),
        _divergence_title(found),
        *((tr("KL by saving"),) if has_saving else ()),
        tr("Memory with {n} tokens").format(n=numbers.whole(context)),
        tr("Fits in"),
        tr("Best file for"),
    )
    rows = (
        (
            rung.name,
            numbers.size(rung.weight_bytes),
            rung.divergence,
            *((_nats(rung.saving),) if has_saving else ()),
            numbers.size(rung.memory),
            _fits(rung, context),
            _memories(best.get(number, ())),
        )
        for number, rung in enumerate(found)
    )
    return (titles, *rows) if found else ()


def _divergence_title(found: Sequence[Rung]) -> str:
    """Return the title of the KL, with its text if it is the same for all files."""
    texts = {rung.text for rung in found if rung.text}
    name = text_phrase(*texts) if len(texts) == 1 else tr("calibration text")
    return tr("KL to the original, {text}").format(text=name)


def best_memories(found: Sequence[Rung]) -> dict[int, tuple[float, ...]]:
    """Return the common memories for which each file is the best, in GB.

    The best file is the one with the lowest KL of those that fit; of equals, the one
    that needs least memory.
    """
    one, _ = units.gigabyte()
    best: dict[int, tuple[float, ...]] = {}
    for memory in COMMON_MEMORIES:
        fitting = [
            number
            for number, rung in enumerate(found)
            if rung.memory <= memory * one and math.isfinite(rung.nats)
        ]
        if fitting:
            number = min(fitting, key=lambda n: (found[n].nats, found[n].memory))
            best[number] = (*best.get(number, ()), memory)
    return best


def fits_in(needed: int) -> str:
    """Return the smallest common memory that has so many bytes."""
    one, _ = units.gigabyte()
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
        original = memory_to_run(model.file_bytes, context, model)
        rows.append(
            (
                tr("{n} tokens").format(n=numbers.whole(context)),
                numbers.size(pruned),
                fits_in(pruned),
                numbers.size(original),
                fits_in(original),
            )
        )
    return (titles, *rows)


def _contexts(model: ModelSummary) -> tuple[int, ...]:
    longest = model.longest_window or Memory().context
    lengths = [2**power for power in range(11, 21) if 2**power <= longest]
    return tuple(lengths) or (longest,)


def _original(title: str, model: ModelSummary, context: int) -> Rung:
    memory = memory_to_run(model.file_bytes, context, model)
    return Rung(
        title,
        model.file_bytes,
        memory,
        nats=0.0,
        divergence=numbers.nats(0.0),
        saving=None,
        longest_context=model.longest_window,
    )


def _exported(name: str, run: RunState, model: ModelSummary, context: int) -> Rung:
    exported, evaluation = run.exported, run.evaluation
    assert exported is not None
    saving = exported.saving_divergence
    nats, divergence, text = math.nan, NOTHING, ""
    if evaluation is not None and evaluation.fidelity:
        first = evaluation.fidelity[0]
        nats, text = first.divergence.value, first.text
        divergence = divergence_interval(first)
    return Rung(
        name,
        exported.weight_bytes,
        memory_of_export(exported, run.layers, context, model),
        nats=nats + (saving or 0.0),
        divergence=divergence,
        saving=saving,
        longest_context=model.longest_window,
        text=text,
    )


def _nats(value: float | None) -> str:
    return NOTHING if value is None else numbers.nats(value)


def _fits(rung: Rung, context: int) -> str:
    if 0 < rung.longest_context < context:
        return tr("{memory}, but the model supports {n} tokens").format(
            memory=fits_in(rung.memory), n=numbers.whole(rung.longest_context)
        )
    return fits_in(rung.memory)


def _memories(memories: Sequence[float]) -> str:
    """Return the memories for which a file is best, as ranges."""
    places = [COMMON_MEMORIES.index(memory) for memory in memories]
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
    _, name = units.gigabyte()
    return f"{numbers.significant(gigabytes, 3)}{_NO_BREAK_SPACE}{name}"
