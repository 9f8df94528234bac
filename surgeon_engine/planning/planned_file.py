"""The bytes of the file of a run that holds the weights, with its header.

In a GGUF file, each matrix has its own bits per weight, by the type that
`gguf_types.py` gives it, and vectors are in float32. Removals are taken to be spread
evenly over the layers that lose any. The header of a GGUF file has the tokenizer, too.
Tokens that a job removes are in none of these numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

from surgeon_engine.api.config.export import (
    FOR_ANY_MODEL,
    K_FORMATS,
    QUANTIZED,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import COUPLINGS, SPARSE, Coupling, PruningConfig
from surgeon_engine.api.messages.sources import (
    LayerSummary,
    ModelSummary,
    is_shared_expert,
)
from surgeon_engine.planning.constants import (
    BYTES,
    EXPERT_MATRICES,
    EXPERT_WIDTH_MULTIPLE,
    TENSOR_ENTRY,
)
from surgeon_engine.planning.fewer_tokens import planned_tokens, with_fewer_tokens
from surgeon_engine.planning.gguf_types import (
    Mixture,
    TensorType,
    bytes_of,
    is_attention_output,
    planned_name,
)

_VECTOR = 4  # bytes of a number of a norm or bias in a GGUF file
BLOCK, LONG_BLOCK = 32, 256  # numbers in a block of a number format, short or long
_NORMS = 4  # tensors of a block that are no layers, approximately


@dataclass(frozen=True, slots=True)
class FileForm:
    """The form of a file: its format and its number format."""

    format: Format = Format.AUTOMATIC
    dtype: FileDtype = FileDtype.FLOAT32


@dataclass(frozen=True)  # no slots: a cached property needs a dictionary
class PlannedFile:
    """The file of a pruned model in a form; see `planned_file`."""

    original: ModelSummary
    form: FileForm
    pruning: PruningConfig
    tokens: int | None = None  # remaining ones; None: as the settings say beforehand

    @cached_property
    def model(self) -> ModelSummary:
        """The model with the tokens that stay, and nothing else removed."""
        tokens = self.tokens
        if tokens is None:
            tokens = planned_tokens(self.pruning, self.original)
        return with_fewer_tokens(self.original, tokens)

    @property
    def of_tokens(self) -> int:
        """The parameters of the removed tokens."""
        return self.original.parameters - self.model.parameters

    def bytes(self, removed: int) -> int:
        """Return the bytes of the file once so many prunable weights are removed."""
        weights, size = self._pruned_layers
        return self._header_bytes + self._weight_bytes - removed * size // weights

    def removed_for(self, most: int) -> int:
        """Return how many weights to remove so that the file has `most` bytes."""
        weights, size = self._pruned_layers
        surplus = self._header_bytes + self._weight_bytes - most
        return -(-surplus * weights // size)

    @property
    def fallbacks(self) -> dict[TensorType, int]:
        """The types that matrices fall back to, each with its number of matrices."""
        found: Counter[TensorType] = Counter()
        if self.form.dtype not in QUANTIZED:
            return found
        mixture, hidden = self._mixture, self.model.hidden_size
        rows = [
            (planned_name(x.block, x.kind), self._row(x))
            for x in self.model.layers
            if x.coupling != Coupling.EXPERTS
        ]
        rows += [(name, hidden) for name in mixture.outer_matrices]
        for name, row in rows:
            if mixture.falls_back(name, row):
                found[mixture.type_of(name, row)] += 1
        return found

    @cached_property
    def needed_multiple(self) -> int:
        """The multiple of neurons that fills the rows of the file.

        1 if it is no GGUF file, or if the widths of the original are no multiple.
        """
        if self.form.format is not Format.GGUF:
            return 1
        is_long = self.form.dtype in K_FORMATS
        for multiple in (LONG_BLOCK, BLOCK) if is_long else (BLOCK,):
            if self.has_widths_in(multiple):
                return multiple
        return 1

    def has_widths_in(self, multiple: int) -> bool:
        """Return whether all MLP widths of the original are such multiples."""
        widths = [x.columns for x in self.model.layers if x.coupling == "neurons"]
        if self._removes_from_experts:
            widths += [x.neurons for x in self.model.experts if x.neurons]
        return bool(widths) and all(width % multiple == 0 for width in widths)

    @property
    def needs_own_code(self) -> bool:
        """Whether layers of different widths need code beside the file."""
        pruning = self.pruning
        has_one_width = pruning.has_same_widths and not pruning.sublayers_to_drop
        keeps_widths = pruning.structure in SPARSE or pruning.removes_nothing
        may_be_compact = self.form.format in (Format.AUTOMATIC, Format.COMPACT)
        return may_be_compact and not (has_one_width or keeps_widths)

    @property
    def _removes_from_experts(self) -> bool:
        """Whether experts lose neurons."""
        kinds = COUPLINGS.get(self.pruning.structure, ())
        return Coupling.EXPERT_NEURONS in kinds and not self.pruning.removes_nothing

    @cached_property
    def _mixture(self) -> Mixture:
        model = self.model
        outputs = [x.columns for x in model.layers if is_attention_output(x.kind)]
        keys = model.cache_width // 2  # summed over all attentions
        outer = model.parameters - model.prunable
        return Mixture(
            self.form.dtype,
            model.blocks,
            queries_per_key=sum(outputs) // keys if outputs and keys else 1,
            has_head=outer >= 2 * model.vocabulary * model.hidden_size,
            experts=max((x.groups for x in model.experts), default=0),
        )

    @property
    def _header_bytes(self) -> int:
        tensors = len(self.model.layers) + _NORMS * self.model.blocks
        has_tokenizer = self.form.format is Format.GGUF
        return TENSOR_ENTRY * tensors + has_tokenizer * self.model.tokenizer_bytes

    @cached_property
    def _weight_bytes(self) -> int:
        """The bytes of all weights if none are removed, in their types afterwards."""
        return self._fixed_bytes + sum(map(self._bytes_of, self.model.layers))

    @property
    def _fixed_bytes(self) -> int:
        """The bytes of the embeddings, norms and head, which are not pruned."""
        outer = self.model.parameters - self.model.prunable
        if self.form.format is not Format.GGUF:
            return outer * BYTES[self.form.dtype]
        outer -= self.model.other_parameters  # it has the language model alone
        mixture, hidden = self._mixture, self.model.hidden_size
        names = mixture.outer_matrices
        numbers = self.model.vocabulary * hidden
        matrices = sum(bytes_of(mixture.type_of(x, hidden), numbers) for x in names)
        return matrices + max(0, outer - len(names) * numbers) * _VECTOR

    @cached_property
    def _groups(self) -> dict[str, int]:
        """The number of heads or neurons that the columns of a consumer have."""
        return {each.layers[0]: each.groups for each in self.model.coupled}

    @cached_property
    def _pruned_layers(self) -> tuple[int, int]:
        """The weights and the bytes of the layers from which weights are removed."""
        kinds, layers = COUPLINGS.get(self.pruning.structure, ()), self.model.layers
        coupled = [x.layers for x in self.model.coupled if x.kind in kinds]
        names = {name for of_group in coupled for name in of_group}
        touched = [layer for layer in layers if layer.name in names] or layers
        size = sum(self._bytes_of(layer) for layer in touched)
        return sum(layer.weights for layer in touched) or 1, size or 1

    def _bytes_of(self, layer: LayerSummary) -> int:
        is_mixture = layer.coupling == Coupling.EXPERTS
        if self.form.format is not Format.GGUF:
            size = layer.weights * BYTES[self.form.dtype]
            names_each = is_mixture and self.form.format is Format.PLAIN
            return size + names_each * layer.columns * EXPERT_MATRICES * TENSOR_ENTRY
        if is_mixture:
            return self._bytes_of_experts(layer)
        numbers = layer.rows * layer.columns
        name = planned_name(layer.block, layer.kind)
        kind = self._mixture.type_of(name, self._row(layer))
        return bytes_of(kind, numbers) + (layer.weights - numbers) * _VECTOR

    def _bytes_of_experts(self, layer: LayerSummary) -> int:
        """Return the bytes of the quantized experts of a block, and of their router."""
        hidden, experts = self.model.hidden_size, layer.columns
        width = _expert_width(layer.rows, hidden)
        matrix = width * hidden
        # The router is not rounded, and neither are biases.
        size = experts * (layer.rows - EXPERT_MATRICES * matrix) * _VECTOR
        parts = {"ffn_gate_exps": hidden, "ffn_up_exps": hidden}
        if self._removes_from_experts:
            width = self._row_of_neurons(width, is_filled=False)
        for part, row in (parts | {"ffn_down_exps": width}).items():
            kind = self._mixture.type_of(f"blk.{layer.block}.{part}.weight", row)
            size += bytes_of(kind, experts * matrix)
        return size

    def _row(self, layer: LayerSummary) -> int:
        """Return a length that divides into the same blocks as the pruned row."""
        if layer.is_experts:  # most rows of their matrices are so long
            return self.model.hidden_size
        nothing = self.pruning.removes_nothing
        kinds = () if nothing else COUPLINGS.get(self.pruning.structure, ())
        if layer.coupling not in kinds:
            return layer.columns
        if layer.coupling == Coupling.HEADS:
            return layer.columns // self._groups.get(layer.name, 1)
        is_filled = not is_shared_expert(layer.kind)
        return self._row_of_neurons(layer.columns, is_filled=is_filled)

    def _row_of_neurons(self, width: int, *, is_filled: bool) -> int:
        """Return a divisor of the pruned width; zeros may fill it to whole blocks."""
        multiple = self.pruning.width_multiple or self.needed_multiple
        row = math.gcd(width, math.lcm(multiple, EXPERT_WIDTH_MULTIPLE))
        return BLOCK if is_filled and width % BLOCK == 0 and row % BLOCK else row


def _expert_width(weights: int, hidden: int) -> int:
    """Return the neurons of an expert with so many weights.

    Among these is a row of the router. All may have biases, as in GPT-OSS.
    """
    biased, rest = divmod(weights - 2 * hidden - 1, EXPERT_MATRICES * hidden + 2)
    return (weights - hidden) // (EXPERT_MATRICES * hidden) if rest else biased


def quantized_formats(model: ModelSummary) -> tuple[FileDtype, ...]:
    """Return the number formats of few bits that suit a model, the longest first."""
    return (*FOR_ANY_MODEL, *[FileDtype.MXFP4_MOE] * model.has_mxfp4_experts)


@lru_cache(maxsize=64)
def planned_file(
    model: ModelSummary,
    form: FileForm,
    pruning: PruningConfig,
    tokens: int | None = None,
) -> PlannedFile:
    """Return the file of a pruned model, and the same object when asked again.

    Its sums over all layers take milliseconds, and a window needs several of them
    whenever it shows a plan.
    """
    return PlannedFile(model, form, pruning, tokens)
