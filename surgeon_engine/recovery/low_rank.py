"""Train low-rank adapters of the layers instead of their weights (LoRA).

    W   R x C        the weight of a layer; it stays
    B A R x r, r x C the adapter
    M   R x C        mask of the weights that remain

The layer computes with W + M * (B A), which becomes its weight at the end (Hu et al.,
arXiv 2106.09685). Layers without removed weights need no M, and never compute B A.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.weight_training import WeightTraining, masks_of
from surgeon_engine.runtime import ranks

_ADAPTER = "default"  # the name that peft gives to an adapter


class LowRankTraining(WeightTraining):
    """Adapters of all layers that are not protected, between `start` and `finish`."""

    def __init__(self, state: PruningState) -> None:
        super().__init__([], {})
        self._model, self._blocks = state.loaded.model, state.loaded.blocks
        self._rank = state.config.recovery.lora_rank
        self._seed = state.config.calibration.seed
        self._masks = masks_of(state)
        protect = state.config.pruning.protect
        self._layers = [
            layer
            for layer in state.loaded.layers
            if layer.module.weight.numel() and not any_matches((layer,), protect)
        ]
        self._adapters: dict[str, Any] = {}  # peft's layers, by the name of the layer

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
            mask = self._masks.get(id(layer.module.weight))
            if mask is not None:
                adapter.forward = _masked_forward(adapter, mask)
        device = self._model.device
        self.train(
            getattr(adapter, part)[_ADAPTER].float().to(device).weight
            for adapter in self._adapters.values()
            for part in ("lora_A", "lora_B")
        )
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.copy_(ranks.passed_on(parameter.detach(), 0))
        super().start()

    @override
    @torch.no_grad()
    def finish(self) -> None:
        super().finish()
        for layer in self._layers:
            if (adapter := self._adapters.get(layer.name)) is None:
                continue
            base = adapter.get_base_layer()
            mask = self._masks.get(id(base.weight))
            with on_device(self._blocks[layer.block], changes=True):
                update = adapter.get_delta_weight(_ADAPTER)
                if mask is not None:
                    update = update * mask.to(update.device)
                base.weight.add_(update)
            self._model.set_submodule(layer.name, base)
            vars(adapter).pop("forward", None)  # holds the mask, and the adapter itself
        if self._adapters:
            del self._model.peft_config  # else the next adapters would be a second set
        self._adapters = {}


def _masked_forward(adapter: Any, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the forward of a layer with the masked update of its adapter."""
    layer = adapter.get_base_layer()
    is_transposed = isinstance(layer, Conv1D)

    def forward(x: Tensor) -> Tensor:
        update = adapter.get_delta_weight(_ADAPTER)
        W = layer.weight + mask.to(update.device) * update
        return torch.nn.functional.linear(x, W.T if is_transposed else W, layer.bias)

    return forward
