"""The tensors of a GGUF file: the values, their order and their types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.export.gguf.quantizer import quantize
from surgeon_engine.planning.gguf_types import Mixture, TensorType, bytes_of

_Q8_0_STEPS = 127  # on each side of zero; the step size is a float16


@dataclass(frozen=True, slots=True, eq=False)
class FileTensor:
    """A tensor of the GGUF file."""

    name: str
    source: TensorSlice
    # Name of its module in the model; for stacked experts, the name of their tensor.
    layer: str = ""
    is_float32: bool = False  # whatever the number format is
    added_rows: int = 0  # zeros after each part of the rows
    row_parts: int = 1
    added_columns: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the file."""
        rows, *columns = self.source.shape
        added = self.added_rows * self.row_parts
        return (rows + added, *(n + self.added_columns for n in columns))

    def tensor(self) -> Tensor:
        """Return the values in the order of the file."""
        tensor = self.source.tensor()
        if self.shape == self.source.shape:
            return tensor
        filled = tensor.new_zeros(self.shape)
        self._selected(filled).copy_(tensor.unflatten(0, (self.row_parts, -1)))
        return filled

    def _selected(self, values: Tensor) -> Tensor:
        """Return the values that are not added: parts x rows of a part x columns."""
        rows, *columns = self.source.shape
        parts = values.unflatten(0, (self.row_parts, -1))
        of_part = rows // self.row_parts
        return parts[(slice(None), slice(of_part), *(slice(n) for n in columns))]

    @property
    def block(self) -> int | None:
        """Index of its decoder block; None if it is in none."""
        first, *others = self.name.split(".")
        return int(others[0]) if first == "blk" else None

    def columns_of(self, values: Tensor) -> Tensor:
        """Return the values of the columns in the file, from the values of all columns.

        `values` has a number for each column, or for each pair of columns. Entries
        after the last column are left out; added columns get 0.
        """
        last = self.source.whole.ndim - 1
        kept = self.source.kept[last] if len(self.source.kept) > last else None
        for dimension in range(values.ndim):
            values = values.narrow(dimension, 0, self.source.whole.shape[last])
            if kept is not None:
                values = values.index_select(dimension, kept.to(values.device))
        return functional.pad(values, (0, self.added_columns) * values.ndim)

    def mean_squares(self, values: Tensor) -> Tensor:
        """Return the mean squares of the columns in the file, one row for each expert.

        `values` has one for each column of a matrix, or such a row for each expert.
        """
        if values.ndim == 1:
            return self.columns_of(values).unsqueeze(0)
        kept = self.source.kept[0] if self.source.kept else None
        if kept is not None:
            values = values.index_select(0, kept.to(values.device))
        return torch.stack([self.columns_of(row) for row in values])

    def put(self, values: Tensor) -> None:
        """Write values in the order of the file back; the inverse of `tensor`."""
        values = self._selected(values).flatten(0, 1)
        self.source.put(values.to(self.source.whole.device))

    def type(self, mixture: Mixture) -> TensorType:
        """Return the type: float32, or the mixture's type for matrices."""
        if self.is_float32:
            return TensorType.F32
        return mixture.type_of(self.name, self.shape[-1])

    def bytes(self, mixture: Mixture) -> int:
        """Return the size of the tensor in the file."""
        return bytes_of(self.type(mixture), int(np.prod(self.shape)))


def encode(
    name: str, tensor: Tensor, kind: TensorType, importances: np.ndarray | None = None
) -> np.ndarray:
    """Return the bytes or numbers of a tensor as they are in the file.

    Args:
        name: tensor name, for messages.
        tensor: the values in the order of the file.
        kind: their type in the file.
        importances: one for each column, for types with blocks; several matrices have
            a row each. None: all are equal.

    Raises:
        ExportError: A weight is too large for the type, or llama.cpp's quantizers are
            needed and not installed.
    """
    if kind is TensorType.F32:
        return tensor.float().numpy()
    if kind is TensorType.BF16:  # numpy has no bfloat16: pass its bits
        return tensor.bfloat16().view(torch.int16).numpy()
    check_range(name, tensor, kind)
    if kind is TensorType.F16:
        return tensor.half().numpy()
    if importances is not None and importances.ndim == 2:
        pairs = zip(tensor, importances, strict=True)
        return np.stack([quantize(x.float().numpy(), kind, y) for x, y in pairs])
    return quantize(tensor.float().numpy(), kind, importances)


def check_range(name: str, tensor: Tensor, kind: TensorType) -> None:
    """Check that float16, or blocks with a scale in float16, can hold a tensor.

    Raises:
        ExportError: A weight is too large.
    """
    largest = float(tensor.abs().max())
    steps = _Q8_0_STEPS if kind is TensorType.Q8_0 else 1
    has_half = kind is not TensorType.MXFP4  # whose scales are powers of two
    if has_half and torch.tensor(largest / steps).half().isinf():
        raise ExportError(
            "{name} has weights up to {largest:.3g}, too large for float16.",
            "Choose bfloat16.",
            name=name,
            largest=largest,
        )
