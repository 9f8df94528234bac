"""Check the support of export formats, and choose the format of a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from surgeon_engine.api.config.export import DESCRIPTIONS, Format
from surgeon_engine.api.config.pruning import COUPLED, PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import FormatSupport
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.sentences import say, say_all, say_list
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.export.base import Writer
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.gguf.quantizer import check_installed
from surgeon_engine.export.transformers.files import (
    CompactWriter,
    MaskedWriter,
    PlainWriter,
)
from surgeon_engine.export.transformers.plain_widths import check_plain_widths
from surgeon_engine.export.transformers.weight_files import named_dtype
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.depth import can_drop
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.runtime.run_context import RunContext

WRITERS: dict[Format, Writer] = {
    Format.COMPACT: CompactWriter(),
    Format.PLAIN: PlainWriter(),
    Format.MASKED: MaskedWriter(),
    Format.GGUF: GgufWriter(),
}
# The formats that transformers loads.
_SMALLEST_FIRST = (Format.PLAIN, Format.COMPACT, Format.MASKED)
_DEPENDS = say("That depends on the blocks that the run drops.")


def format_support(pruned: PrunedModel) -> tuple[FormatSupport, ...]:
    """Return for every format whether the model can be written in it, or why not."""
    return tuple(
        FormatSupport(each, writer.unsupported_reason(pruned))
        for each, writer in WRITERS.items()
    )


def resolve_format(requested: Format, pruned: PrunedModel) -> Format:
    """Return the requested format; for AUTOMATIC, the smallest for transformers.

    Raises:
        ExportError: The model cannot be written in the requested format.
    """
    if requested is Format.AUTOMATIC:
        return next(
            each
            for each in _SMALLEST_FIRST
            if not WRITERS[each].unsupported_reason(pruned)
        )
    reason = WRITERS[requested].unsupported_reason(pruned)
    if reason:
        label = DESCRIPTIONS[requested].label
        possible = [each.format for each in format_support(pruned) if not each.reason]
        raise ExportError(
            say_all(say("{label} is not possible here.", label=label), reason),
            "Choose one of: {possible}.",
            possible=say_list(*possible),
        )
    return requested


def check_loaded_format(
    config: RunConfig,
    loaded: LoadedModel,
    units: Sequence[Unit],
    context: RunContext,
) -> None:
    """Check, as `planning.formats` does, by examples of results of the loaded model.

    Logs a warning if that depends on what the run removes.

    Raises:
        ExportError: No result of the run can be written in this format.
    """
    requested, pruning = config.export.format, config.pruning
    check_installed(named_dtype(config.export.dtype, loaded))
    has_free_widths = pruning.structure in COUPLED and not pruning.has_same_widths
    empty = _empty_units(pruning, loaded, units)
    if requested is Format.PLAIN and pruning.has_same_widths:
        if pruning.blocks_to_drop:
            plans = [plan_of(each, _all_removed(each)) for each in empty]
            examples = [PrunedModel(loaded, plan) for plan in plans]
            _resolve_any(Format.PLAIN, examples, context)
        if warning := check_plain_widths(loaded, units):
            context.emit(warning)
        return
    example = {}
    for unit in units:  # remove one candidate of each unit: the same widths everywhere
        removed = torch.zeros(unit.candidates, dtype=torch.bool)
        removed[0] = not pruning.removes_nothing
        example[unit.measured.name] = removed
    examples = [
        PrunedModel(loaded, plan_of(units, example | _all_removed(each)))
        for each in empty
    ]
    is_masked = Format.MASKED in _resolve_any(requested, examples, context)
    if requested is Format.AUTOMATIC and (has_free_widths or is_masked):
        _warn_of_full_size(examples, pruning, context)


def _resolve_any(
    requested: Format, examples: Sequence[PrunedModel], context: RunContext
) -> list[Format]:
    """Return the formats of the examples that can be written; warn of others."""
    resolved: list[Format] = []
    errors: list[ExportError] = []
    for each in examples:
        try:
            resolved.append(resolve_format(requested, each))
        except ExportError as error:
            errors.append(error)
    if not resolved:
        raise errors[0]
    if errors:
        context.warn(say_all(errors[0].message, _DEPENDS))
    return resolved


def _empty_units(
    pruning: PruningConfig, loaded: LoadedModel, units: Sequence[Unit]
) -> list[list[Unit]]:
    """Return examples of the units that a run removes as a whole.

    What a config can describe depends on the place of a dropped block: in one example
    it is the first that can be dropped, in another the last.
    """
    if not pruning.drops_depth:
        return [[]]
    by_block: dict[int, list[Unit]] = {}
    for unit in units:
        by_block.setdefault(unit.measured.block, []).append(unit)
    first, last = min(by_block), max(by_block)
    if not pruning.blocks_to_drop:
        return [by_block[first][:1]]
    whole = [x for x in by_block if can_drop(loaded, x, by_block[x])]
    examples = []
    for block in sorted({min(whole, default=last), max(whole, default=last)}):
        other = last if block == first else first
        sublayer = by_block[other][:1] if pruning.sublayers_to_drop else []
        examples.append([*by_block[block], *sublayer])
    return examples


def _all_removed(units: Sequence[Unit]) -> dict[str, torch.Tensor]:
    return {
        unit.measured.name: torch.ones(unit.candidates, dtype=torch.bool)
        for unit in units
    }


def _warn_of_full_size(
    examples: Sequence[PrunedModel], pruning: PruningConfig, context: RunContext
) -> None:
    """Log why the file will not be smaller although whole structures are removed."""
    writer = WRITERS[Format.COMPACT]
    # Single weights never make files smaller.
    reasons = [writer.unsupported_reason(x) for x in examples if not x.plan.is_empty]
    reason = next(filter(None, reasons), "")
    if not reason:
        return
    message = say_all(say("The file would be as large as the original's."), reason)
    if pruning.is_sized and all(reasons):
        raise ExportError(message, "Choose another target, or another structure.")
    context.warn(message if all(reasons) else say_all(message, _DEPENDS))
