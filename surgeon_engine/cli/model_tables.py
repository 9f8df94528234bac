"""Tables of the command line about a model: its figures, layers and structures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.table import Table

from surgeon_engine.api.config.pruning import COUPLINGS, display_name
from surgeon_engine.api.messages.sources import ModelSummary, StructureSupport
from surgeon_engine.base.formatting import format_count, format_percent, format_size
from surgeon_engine.cli.formatting import PADDING, add_row, rows_of


def model_table(model: ModelSummary, dtype: str) -> Table:
    """Return the figures of a model; `dtype` is the number format in its header."""
    bits = 8 * model.file_bytes / model.parameters
    share = format_percent(model.prunable / model.parameters, 0)
    hidden = format_count(model.hidden_size)
    rows = [
        ("parameters", format_count(model.parameters)),
        *_expert_rows(model),
        ("prunable weights", f"{format_count(model.prunable)} ({share})"),
        ("blocks", f"{model.blocks}, hidden size {hidden}"),
        ("vocabulary", format_count(model.vocabulary)),
        ("files", format_size(model.file_bytes)),
        ("number format", dtype or f"quantized, about {bits:.1f} bits per weight"),
    ]
    if model.not_loaded:
        rows.append(("not loaded", model.not_loaded.sentence))
    return rows_of(rows, width=16)


def _expert_rows(model: ModelSummary) -> Iterator[tuple[str, str]]:
    """Yield how many parameters a token uses, and how many experts there are."""
    if model.experts:
        most = max(model.experts, key=lambda each: each.groups)
        active = model.parameters - model.idle_parameters
        yield "active", f"{format_count(active)} for each token"
        yield (
            "experts",
            f"{most.groups} in {len(model.experts)} of {model.blocks} blocks, "
            f"{most.chosen} for each token",
        )


def layer_table(model: ModelSummary) -> Table:
    """Return the sizes of the layers of a block of each kind."""
    kinds: dict[tuple[tuple[str, int, int], ...], list[int]] = {}
    for block, layers in groupby(model.layers, key=lambda layer: layer.block):
        kind = tuple((layer.kind, layer.rows, layer.columns) for layer in layers)
        kinds.setdefault(kind, []).append(block)
    table = Table.grid(padding=PADDING)
    table.add_column(min_width=22)
    table.add_column(justify="right")
    table.add_column()
    experts = {layer.kind for layer in model.layers if layer.is_experts}
    for kind, blocks in kinds.items():
        if len(kinds) > 1:
            add_row(table, f"{len(blocks)} of {model.blocks} blocks, as {blocks[0]}:")
        for name, rows, columns in kind:
            by = "experts of" if name in experts else "x"
            first, second = (columns, rows) if name in experts else (rows, columns)
            add_row(table, name, format_count(first), f"{by} {format_count(second)}")
    return table


def structure_table(model: ModelSummary) -> Table:
    """Return whether the model can be pruned in each structure, or why it cannot."""
    # By the names that a job has for them.
    rows = [(each.structure.value, _answer(each)) for each in model.structures]
    return rows_of(rows, width=22)


def _answer(support: StructureSupport) -> str:
    """Return whether a structure can be removed, and what of it cannot."""
    if support.reason:
        return f"no: {support.reason}"
    missing = {each.kind for each in support.left_whole if each.reason}
    kinds = [x for x in COUPLINGS.get(support.structure, ()) if x not in missing]
    answer = f"only {', '.join(map(display_name, kinds))}" if missing else "yes"
    notes = " ".join(each.sentence for each in support.left_whole)
    return ". ".join(filter(None, (answer, notes)))
