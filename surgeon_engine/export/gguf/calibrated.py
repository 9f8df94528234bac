"""Quantize the matrices of a model by the inputs of its layers on calibration text.

Most types need no more than the importance of each column (`importances.py`):
llama.cpp's quantizers weight errors by it.

For types with one scale for each block, errors are fed forward. Block after block of
the model, A is measured on inputs that the quantized blocks before it compute; then the
quantized weights take the place of the block's own while it computes the next inputs.
Where plain rounding, or rounding by importances, has the smaller error of the output on
some rows of a matrix, it is kept instead. `expert_rounding.py` rounds experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.curvature.sums import CovarianceSums
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.error_feedback import (
    SUPPORTED,
    best_rounding,
    inverse_factor,
    round_with_feedback,
)
from surgeon_engine.export.gguf.expert_rounding import ExpertInputs, round_experts
from surgeon_engine.export.gguf.importances import importances
from surgeon_engine.export.gguf.mixtures import weights_of
from surgeon_engine.export.gguf.quantizer import dequantize
from surgeon_engine.export.gguf.tensors import FileTensor, check_range, encode
from surgeon_engine.model.block_runner import BlockRunner, hooked
from surgeon_engine.model.experts import has_common_form
from surgeon_engine.model.layers import (
    ExpertsLayer,
    KeptWeights,
    PrunableLayer,
    linear_layers,
)
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.offload import on_device
from surgeon_engine.planning.gguf_types import Mixture, TensorType
from surgeon_engine.runtime.hidden_store import HiddenStore


def encoded(
    tensors: Sequence[FileTensor],
    mixture: Mixture,
    loaded: LoadedModel,
    squares: Mapping[str, Tensor],
    calibration: Calibration | None,
) -> Iterator[np.ndarray]:
    """Yield the file's data of each tensor, in order.

    Args:
        tensors: the tensors of a block follow each other.
        mixture: decides about their types.
        loaded: the pruned model; it computes the same afterwards.
        squares: from `mean_squares`; empty: all columns are equally important.
        calibration: None: errors are not fed forward.
    """
    feeds = calibration is not None and mixture.base in SUPPORTED
    if calibration is None or not feeds:
        for each in tensors:
            kind, weights = each.type(mixture), importances(each, squares)
            yield encode(each.name, each.tensor(), kind, weights)
        return
    with HiddenStore(loaded.device) as store:
        quantizer = _BlockQuantizer(loaded, calibration, store)
        done: dict[str, np.ndarray] = {}
        for each in tensors:
            if each.block is None:
                yield encode(each.name, each.tensor(), each.type(mixture))
                continue
            if each.name not in done:
                of_block = [x for x in tensors if x.block == each.block]
                done = quantizer.quantize(of_block, mixture, squares)
            yield done.pop(each.name)


class _BlockQuantizer:
    """The blocks of a model in order, on inputs of quantized ones."""

    def __init__(
        self, loaded: LoadedModel, calibration: Calibration, store: HiddenStore
    ) -> None:
        self._loaded, self._calibration, self._store = loaded, calibration, store
        self._index = 0
        batches = list(calibration.windows.split(calibration.batch))
        self._runner = BlockRunner(
            loaded.model,
            loaded.blocks,
            batches,
            store=store,
            hint=say("Choose Q6_K, Q5_K_M, Q4_K_M or 16 bits."),
        )
        self._hidden = [store.keep(x) for x in self._runner.embedded()]

    @torch.no_grad()
    def quantize(
        self,
        tensors: Sequence[FileTensor],
        mixture: Mixture,
        squares: Mapping[str, Tensor],
    ) -> dict[str, np.ndarray]:
        """Return the file's data of the tensors of the next block, by name."""
        names = {each.layer for each in tensors}
        all_layers = linear_layers(self._loaded.layers)
        # Blocks that were removed as a whole are passed over: they change nothing.
        self._index = next(x.block for x in all_layers if x.name in names)
        layers = {x.name: x for x in all_layers if x.block == self._index}
        experts = self._experts()
        block = self._loaded.blocks[self._index]
        changed = (*layers.values(), *(x.layer for x in experts.values()))
        with on_device(block, changes=True), KeptWeights.of(changed):
            found = self._covariances(list(layers.values()), experts.values())
            factors, result = _Factors(found), {}
            for each in tensors:
                kind, weights = each.type(mixture), importances(each, squares)
                of_experts = experts.get(each.layer.rpartition(".")[0])
                whole = None  # the weights in the model
                is_matrix = weights is not None and len(each.shape) == 2
                if is_matrix and each.layer in layers:
                    whole = layers[each.layer].matrix
                elif weights is not None and of_experts is not None:
                    whole = weights_of(each.name, of_experts.layer.module)
                if weights is None or whole is None or kind not in SUPPORTED:
                    blocks = encode(each.name, each.tensor(), kind, weights)
                elif of_experts is not None:
                    blocks = round_experts(each, kind, weights, of_experts)
                else:
                    blocks = _best_rounding(each, kind, weights, factors)
                result[each.name] = blocks
                if whole is not None:  # the model computes with the file's weights
                    values = torch.from_numpy(dequantize(blocks, kind))
                    source = TensorSlice(whole, each.source.kept)
                    replace(each, source=source).put(values)
            self._run(keep=True)
        for inputs in experts.values():
            inputs.release()
        self._calibration.step()
        return result

    def _experts(self) -> dict[str, ExpertInputs]:
        """Return the experts of the block whose inner states are known, by name."""
        return {
            x.name: ExpertInputs(x, self._store)
            for x in self._loaded.layers
            if isinstance(x, ExpertsLayer)
            and x.block == self._index
            and has_common_form(x.module)
        }

    def _covariances(
        self, layers: Sequence[PrunableLayer], experts: Iterable[ExpertInputs]
    ) -> dict[str, Tensor]:
        """Return A of the layers of the block, without the part of a bias.

        `experts` keep their inputs.
        """
        sums = CovarianceSums(layers, backward=False)
        with hooked([*sums.hooks(), *(x.hook() for x in experts)]):
            self._run(keep=False, after=sums.end_batch)
        found = sums.means(tokens=self._calibration.windows.numel())
        return {name: x.A for name, x in found.items() if x.A is not None}

    def _run(self, *, keep: bool, after: Callable[[], None] = lambda: None) -> None:
        for number, hidden in enumerate(self._hidden):
            self._calibration.check()
            output = self._runner.run(self._index, hidden, number)
            after()
            if keep:
                hidden.copy_(output)


class _Factors:
    """A of the layers of a block, and U of each A that differs."""

    def __init__(self, covariances: Mapping[str, Tensor]) -> None:
        self._A = covariances
        self._U: dict[int, Tensor] = {}  # by the id of A

    def of(self, each: FileTensor) -> tuple[Tensor, Tensor]:
        """Return A and U of a tensor; layers that read the same input share them."""
        whole = self._A[each.layer]
        A = each.columns_of(whole)
        if id(whole) not in self._U:
            self._U[id(whole)] = inverse_factor(A)
        return A, self._U[id(whole)]


def _best_rounding(
    each: FileTensor, kind: TensorType, weights: np.ndarray, factors: _Factors
) -> np.ndarray:
    """Return a matrix rounded with errors fed forward, or in a better way."""
    A, U = factors.of(each)
    tensor = each.tensor()
    check_range(each.name, tensor, kind)
    W = tensor.float().to(A.device)
    fed = round_with_feedback(W, U, kind, weights)
    return best_rounding(W, fed, A, kind, weights)
