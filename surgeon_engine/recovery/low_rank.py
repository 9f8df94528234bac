"""Train low-rank adapters of the layers instead of their weights (LoRA).

    W   R x C        the weight of a layer; it stays
    B A R x r, r x C the adapter
    M   R x C        mask of the weights that remain

The layer computes with W + M * (B A), which becomes its weight at the end (Hu et al.,
arXiv 2106.09685). Where M consists of whole rows and columns, the removed rows of B and
columns of A are masked, so that neither M nor B A is needed. Layers without removed
weights need no M.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer, linear_layers
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.weight_training import WeightTraining

_ADAPTER = "default"  # the name that peft gives to an adapter


class LowRankTraining(WeightTraining):
    """Adapters of all layers that are not protected, between `start` and `finish`."""

    def __init__(self, state: PruningState) -> None:
        super().__init__([], {})
        self._model, self._blocks = state.loaded.model, state.loaded.blocks
        self._rank = state.config.recovery.lora_rank
        self._seed = state.config.calibration.seed
        # The remaining weights of pruned layers, by name.
        self._remaining = {
            layer.name: _Remaining.of(zeros, layer, state.loaded.device)
            for unit in state.units
            for layer, zeros in unit.zeros(state.removed[unit.measured.name])
            if not isinstance(layer, ExpertsLayer) and zeros.any()
        }
        protect = state.config.pruning.protect
        self._layers = [
            layer
            for layer in linear_layers(state.loaded.layers)
            if layer.module.weight.numel() and not any_matches((layer,), protect)
        ]
        self._adapters: dict[str, Any] = {}  # peft's layers, by the name of the layer
        self._is_judged = False

    @override
    def start(self) -> None:
        from peft import LoraConfig, inject_adapter_in_model  # slow to import

        config = LoraConfig(
            r=self._rank,
            lora_alpha=self._rank,
            target_modules=[layer.name for layer in self._layers],
            fan_in_fan_out=isinstance(self._layers[0].module, Conv1D),
        )
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            inject_adapter_in_model(config, self._model)
        for layer in self._layers:
            adapter: Any = self._model.get_submodule(layer.name)
            self._adapters[layer.name] = adapter
            remaining = self._remaining.get(layer.name)
            adapter.forward = _forward_of(adapter, remaining, lambda: self._is_judged)
        device = self._model.device
        self.train(
            getattr(adapter, part)[_ADAPTER].float().to(device).weight
            for adapter in self._adapters.values()
            for part in ("lora_A", "lora_B")
        )
        super().start()

    @override
    @contextmanager
    def as_written(self) -> Iterator[None]:
        self._is_judged = True
        try:
            yield
        finally:
            self._is_judged = False

    @override
    @torch.no_grad()
    def finish(self) -> None:
        super().finish()
        for layer in self._layers:
            if (adapter := self._adapters.get(layer.name)) is None:
                continue
            base = adapter.get_base_layer()
            with on_device(self._blocks[layer.block], changes=True):
                update = adapter.get_delta_weight(_ADAPTER)
                if (remaining := self._remaining.get(layer.name)) is not None:
                    update = remaining.masked(update, base)
                base.weight.add_(update)
            self._model.set_submodule(layer.name, base)
            vars(adapter).pop("forward", None)  # holds the adapter itself
        if self._adapters:
            del self._model.peft_config  # else the next adapters would be a second set
        self._adapters = {}


@dataclass(frozen=True, slots=True, eq=False)
class _Remaining:
    """The remaining weights of a layer."""

    rows: Tensor  # R, bool
    columns: Tensor  # C, bool
    mask: Tensor | None  # R x C, bool; None: all of these rows and columns

    @classmethod
    def of(
        cls, zeros: Tensor, layer: PrunableLayer, device: torch.device
    ) -> _Remaining:
        """Return the weights that a mask of removed ones leaves, without the bias."""
        kept = ~zeros[:, : layer.columns]
        rows, columns = kept.any(dim=1), kept.any(dim=0)
        is_whole = torch.equal(kept, rows.unsqueeze(1) & columns)
        mask = None if is_whole else kept.to(layer.module.weight.device)
        return cls(rows.to(device), columns.to(device), mask)

    def masked(self, update: Tensor, layer: Any) -> Tensor:
        """Return an update of the layer's weight, as the layer holds it."""
        mask = self.mask
        if mask is None:
            mask = self.rows.unsqueeze(1) & self.columns
        mask = mask.T if isinstance(layer, Conv1D) else mask
        return update * mask.to(update.device)


def _forward_of(
    adapter: Any, remaining: _Remaining | None, is_judged: Callable[[], bool]
) -> Callable[[Tensor], Tensor]:
    """Return the forward of a layer with its adapter.

    A forward of peft casts inputs to float32, so it moves more memory than products do.

    Args:
        adapter: The layer of peft.
        remaining: Remaining weights of the layer; None: all of them.
        is_judged: Returns whether the layer computes with the weight that it gets at
            the end, where 16 bits round the sum.
    """
    layer = adapter.get_base_layer()
    A, B = (part[_ADAPTER] for part in (adapter.lora_A, adapter.lora_B))
    is_masked = remaining is not None and remaining.mask is not None

    def plain(x: Tensor) -> Tensor:
        rows, x = x.shape[:-1], x.flatten(0, -2)
        y = layer(x)
        x = x if torch.is_autocast_enabled(x.device.type) else x.to(A.weight.dtype)
        narrow, wide = A.weight, B.weight
        if remaining is not None:
            # Masks of A and B, and not of x, which the layers that read it share.
            narrow = narrow * remaining.columns
            wide = wide * remaining.rows.unsqueeze(1)
        x = functional.linear(x, narrow).to(y.dtype)
        y.addmm_(x, wide.to(y.dtype).T)  # no other tensor of this size
        return y.unflatten(0, rows)

    def merged() -> Tensor:
        update = adapter.get_delta_weight(_ADAPTER)
        if remaining is not None:
            update = remaining.masked(update, layer)
        return layer.weight + update

    def forward(x: Tensor) -> Tensor:
        if is_judged() and layer.weight.dtype != A.weight.dtype:
            with torch.autocast(x.device.type, enabled=False):  # as at the end
                W = merged().to(layer.weight.dtype)
        elif is_masked:
            W = merged()
        else:
            return plain(x)
        W = W.T if isinstance(layer, Conv1D) else W
        return functional.linear(x, W, layer.bias)

    return forward
