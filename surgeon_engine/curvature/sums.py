"""Sums over activations and gradients of the layers of a block, batch by batch.

Their hooks are registered for the length of the forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.curvature.measured import Gate, GateGradients, KroneckerFactors
from surgeon_engine.curvature.routed import NeuronSums, RoutedTokens, unused_error
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.shares import Batches, add_sums


class CovarianceSums:
    """Sums of a'a and dy'dy of layers."""

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        *,
        backward: bool,  # whether a backward follows; if not, there is no G
    ) -> None:
        self._layers = layers
        self._backward = backward
        self._A: dict[str, Tensor] = {}  # by the first layer that read the input
        self._G: dict[str, Tensor] = {}
        self._reads_like: dict[str, str] = {}  # layer -> first layer of its input
        # Held until the batch ends, so that no other input can get the same id.
        self._inputs: dict[tuple[int, bool], tuple[Tensor, str]] = {}

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register hooks that add up activations and gradients of the layers."""
        for layer in self._layers:
            yield layer.module.register_forward_hook(partial(self._add, layer))

    def end_batch(self) -> None:
        """Release the inputs of a batch."""
        self._inputs.clear()

    def add_up(self, device: torch.device) -> None:
        """Add the sums of all processes, on `device`."""
        self._reads_like = ranks.agree(lambda: self._reads_like)
        add_sums(self._A, device)
        add_sums(self._G, device)

    def means(self, tokens: int) -> dict[str, KroneckerFactors]:
        """Return the mean over tokens, by layer; layers with the same input share A.

        Call it once: the sums are divided in place.

        Raises:
            CurvatureError: nothing passed through a layer, or no gradient came back.
        """
        for total in (*self._A.values(), *self._G.values()):
            total.div_(tokens)
        result = {}
        for layer in self._layers:
            A = self._A.get(self._reads_like.get(layer.name, ""))
            G = self._G.get(layer.name)
            if A is None or (self._backward and G is None):
                raise unused_error(layer.name)
            result[layer.name] = KroneckerFactors(A, G)
        return result

    def _add(
        self,
        layer: PrunableLayer,
        _: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        a, name = inputs[0], layer.name
        key = (id(a), layer.has_bias)
        if key not in self._inputs:
            self._inputs[key] = a, name
            _add_product(self._A, name, layer.inputs(a))
        self._reads_like[name] = self._inputs[key][1]
        if output.requires_grad:
            output.register_hook(
                lambda dy: _add_product(self._G, name, dy.flatten(0, -2).float())
            )


class GateSums:
    """The gate gradients of layers."""

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        kinds: Collection[Gate],
        batches: Batches,
        draws: int,  # backwards of a batch
    ) -> None:
        self._layers, self._kinds = layers, kinds
        self._batches, self._draws = batches, draws
        # For each batch and draw: windows x features.
        self._rows: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
        self._columns: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
        self._squares: dict[str, Tensor] = {}  # sums for single weights
        self._routed = RoutedTokens(layers)
        length = batches.windows.shape[1]
        self._neurons = NeuronSums(layers if Gate.NEURONS in kinds else (), length)

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register hooks that collect the gradients of the layers."""
        yield from self._neurons.hooks()
        for layer in self._layers:
            if isinstance(layer, ExpertsLayer):
                yield layer.module.register_forward_pre_hook(
                    partial(self._hook_chosen_experts, layer)
                )
                yield layer.module.register_forward_hook(
                    partial(self._hook_all_experts, layer)
                )
            else:
                yield layer.module.register_forward_hook(partial(self._hook, layer))

    def gates(self, device: torch.device) -> dict[str, GateGradients]:
        """Return the gradients of all windows, from all processes.

        Raises:
            CurvatureError: no gradient came back to a layer.
        """
        add_sums(self._squares, device)
        routed, neurons = self._routed.of_all(device), self._neurons.of_all(device)
        tokens = self._batches.windows.numel() * self._draws
        return {
            layer.name: GateGradients(
                tokens,
                self._joined(layer, self._rows) if Gate.ROWS in self._kinds else None,
                self._joined(layer, self._columns)
                if Gate.COLUMNS in self._kinds
                else None,
                self._squares_of(layer) if Gate.WEIGHTS in self._kinds else None,
                routed.get(layer.name),
                neurons.get(layer.name),
            )
            for layer in self._layers
        }

    def _joined(
        self, layer: PrunableLayer, gradients: dict[str, list[Tensor]]
    ) -> Tensor:
        """Return the gradients of all windows: windows x features, for each draw."""
        parts = gradients[layer.name]
        if not parts and len(self._batches):
            raise unused_error(layer.name)
        batches = range(0, len(parts), self._draws)
        by_batch = [torch.stack(parts[n : n + self._draws], 1) for n in batches]
        return self._batches.joined(by_batch).flatten(0, 1)

    def _squares_of(self, layer: PrunableLayer) -> Tensor:
        if layer.name not in self._squares:
            raise unused_error(layer.name)
        return self._squares[layer.name]

    def _hook(
        self,
        layer: PrunableLayer,
        _: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        if output.requires_grad:
            a, y = inputs[0].detach(), output.detach()
            output.register_hook(lambda dy: self._add(layer, a, y, dy))

    def _hook_all_experts(
        self,
        layer: ExpertsLayer,
        _: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        """Collect gradients where each expert gets all tokens, as in Llama 4.

        `output` is experts * tokens x hidden.
        """
        if len(inputs) != 1 or not output.requires_grad:
            return
        self._routed.add(layer, inputs)
        y = output.detach()

        def add(gradient: Tensor) -> None:
            of_token = (
                (y.float() * gradient.float()).sum(dim=-1).view(layer.columns, -1)
            )
            self._add_of_tokens(layer, of_token.T)

        output.register_hook(add)

    def _hook_chosen_experts(
        self, layer: ExpertsLayer, _: nn.Module, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...] | None:
        """Collect the gradients of the weights of the experts' outputs.

        `inputs` are hidden states, tokens x hidden; the experts chosen for each token,
        and their weights, both tokens x chosen.
        """
        if len(inputs) != 3 or not inputs[2].requires_grad:
            return None
        hidden, index, weights = inputs
        self._routed.add(layer, inputs)
        used = weights.view_as(weights)  # nothing else reads it
        used.register_hook(
            lambda gradient: self._add_experts(layer, index, weights, gradient)
        )
        return hidden, index, used

    def _add_experts(
        self, layer: ExpertsLayer, index: Tensor, weights: Tensor, gradient: Tensor
    ) -> None:
        """Add the gradients of a batch by the gates of the chosen experts."""
        of_chosen = weights.detach().float() * gradient.float()
        of_token = of_chosen.new_zeros(len(of_chosen), layer.columns)
        self._add_of_tokens(layer, of_token.scatter_add_(1, index, of_chosen))

    def _add_of_tokens(self, layer: ExpertsLayer, gradients: Tensor) -> None:
        """Add gradients of a batch: tokens x experts."""
        length = self._batches.windows.shape[1]
        of_window = gradients.reshape(-1, length, layer.columns).sum(dim=1)
        self._columns[layer.name].append(of_window)

    def _add(self, layer: PrunableLayer, a: Tensor, y: Tensor, dy: Tensor) -> None:
        """Add the gradients of a batch: a, y, dy are windows x length x features.

        Some models join the first two dimensions.
        """
        length = self._batches.windows.shape[1]
        a, y, dy = (x.float().reshape(-1, length, x.shape[-1]) for x in (a, y, dy))
        if Gate.ROWS in self._kinds:
            self._rows[layer.name].append((dy * y).sum(dim=1))
        if Gate.COLUMNS in self._kinds:
            W = layer.matrix.float()
            self._columns[layer.name].append(((dy @ W) * a).sum(dim=1))
        if Gate.WEIGHTS in self._kinds:
            zeros = dy.new_zeros(layer.rows, layer.columns)
            squares = self._squares.setdefault(layer.name, zeros)
            for of_window, inputs in zip(dy, a, strict=True):
                squares += (of_window.T @ inputs).square_()


def _add_product(sums: dict[str, Tensor], name: str, x: Tensor) -> None:
    """Add x'x to the sum of that name, in float32 also where layers multiply less."""
    exact = torch.autocast(x.device.type, enabled=False)
    with exact, devices.tf32_products(x.device):
        if name in sums:
            sums[name].addmm_(x.T, x)
        else:
            sums[name] = x.T @ x
