"""Sums over the tokens that are routed to each expert of a layer.

The module with the experts gets all tokens, with the experts that each has chosen and
their weights. In Llama 4 it gets the tokens once for each expert, multiplied by the
weight, which is 0 if the expert is not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.curvature.measured import RoutedOutputs
from surgeon_engine.model.experts import inner_states, last_weight
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.shares import add_sums

Inputs = tuple[Tensor, ...]  # arguments of the module with the experts


class RoutedTokens:
    """The number of tokens that are routed to each expert."""

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self._counts = _zeros(layers, torch.int64)

    def add(self, layer: ExpertsLayer, inputs: Inputs) -> None:
        """Add the tokens of a batch."""
        counts = self._counts[layer.name]
        if len(inputs) == 3:
            chosen = inputs[1].flatten()
            counts += torch.bincount(chosen, minlength=len(counts)).cpu()
        else:
            is_routed = inputs[0].detach().any(dim=-1).view(len(counts), -1)
            counts += is_routed.sum(dim=1).cpu()

    def of_all(self, device: torch.device) -> dict[str, Tensor]:
        """Return the counts of all processes by layer: E, int64."""
        return _of_all(self._counts, device)


class NeuronSums:
    """The squared gate gradients of the neurons of experts, summed over windows.

    One expert is computed at a time, from the inputs of the module and the gradient of
    its output.
    """

    def __init__(self, layers: Sequence[PrunableLayer], length: int) -> None:
        """Prepare for windows of `length` tokens."""
        self._layers = [x for x in layers if isinstance(x, ExpertsLayer) and x.neurons]
        self._length = length
        self._squares: dict[str, Tensor] = {}

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register hooks that collect the gradients of the layers."""
        for layer in self._layers:
            yield layer.module.register_forward_hook(partial(self._hook, layer))

    def of_all(self, device: torch.device) -> dict[str, Tensor]:
        """Return the sums of all processes by layer: experts x neurons."""
        for layer in self._layers:  # a process may have no windows
            zeros = torch.zeros(layer.columns, layer.neurons, device=device)
            self._squares.setdefault(layer.name, zeros)
        add_sums(self._squares, device)
        return self._squares

    def _hook(
        self, layer: ExpertsLayer, _: nn.Module, inputs: Inputs, output: Tensor
    ) -> None:
        if output.requires_grad:
            given = tuple(x.detach() for x in inputs)
            output.register_hook(lambda dy: self._add(layer, given, dy))

    @torch.no_grad()
    def _add(self, layer: ExpertsLayer, inputs: Inputs, dy: Tensor) -> None:
        module, count = layer.module, layer.columns
        squares = self._squares.setdefault(
            layer.name, torch.zeros(count, layer.neurons, device=dy.device)
        )
        hidden, dy = inputs[0].flatten(0, -2), dy.flatten(0, -2)
        tokens = len(hidden) if len(inputs) == 3 else len(hidden) // count
        for expert, of_expert in enumerate(squares):
            factor: Tensor | None = None  # the weight of the router, of each token
            if len(inputs) == 3:
                token, place = torch.where(inputs[1] == expert)
                states, gradient = hidden[token], dy[token]
                factor = inputs[2][token, place].float().unsqueeze(1)
            else:
                states = hidden.view(count, -1, hidden.shape[1])[expert]
                gradient = dy.view(count, *states.shape)[expert]
                token = torch.arange(tokens, device=states.device)
            inner = inner_states(module, expert, states)
            weight = last_weight(module, expert)
            of_token = (gradient.to(weight.dtype) @ weight).float() * inner.float()
            if factor is not None:
                of_token *= factor
            sums = of_token.new_zeros(tokens // self._length, of_token.shape[1])
            sums.index_add_(0, token // self._length, of_token)
            of_expert += sums.square_().sum(dim=0)


class RoutedSums:
    """The tokens that are routed to each expert, and the norms of its outputs."""

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self._layers = [x for x in layers if isinstance(x, ExpertsLayer)]
        self._tokens = RoutedTokens(layers)
        self._norms = _zeros(layers, torch.float64)

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register hooks that count the tokens and add up the norms."""
        for layer in self._layers:
            yield layer.module.register_forward_hook(partial(self._add, layer))

    def outputs(self, device: torch.device) -> dict[str, RoutedOutputs]:
        """Return the sums of all processes by layer.

        Raises:
            CurvatureError: no token came to the experts of a layer.
        """
        tokens = self._tokens.of_all(device)
        norms = _of_all(self._norms, device)
        for name, counts in tokens.items():
            if not bool(counts.any()):
                raise unused_error(name)
        return {name: RoutedOutputs(tokens[name], norms[name]) for name in tokens}

    def _add(
        self, layer: ExpertsLayer, module: nn.Module, inputs: Inputs, output: Tensor
    ) -> None:
        """Add a batch.

        The module adds up the outputs of a token's experts, so that it runs once more
        for each of these, with a weight of 1.
        """
        self._tokens.add(layer, inputs)
        norms = self._norms[layer.name]
        if len(inputs) == 1:
            norms += _norms(output).view(len(norms), -1).sum(dim=1)
            return
        hidden, index, weights = inputs
        for one, weight in zip(index.split(1, 1), weights.split(1, 1), strict=True):
            alone = module.forward(hidden, one, torch.ones_like(weight))
            weighted = _norms(alone) * weight.flatten().double().cpu()
            norms.index_add_(0, one.flatten().cpu(), weighted)


def _zeros(layers: Sequence[PrunableLayer], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return a zero for each expert, by layer."""
    return {
        layer.name: torch.zeros(layer.columns, dtype=dtype, device="cpu")
        for layer in layers
        if isinstance(layer, ExpertsLayer)
    }


def _norms(output: Tensor) -> Tensor:
    """Return the norm for each token, float64, on the host."""
    return output.detach().flatten(0, -2).float().norm(dim=1).cpu().double()


def _of_all(sums: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the sums of all processes, on the host."""
    if ranks.size() == 1:
        return sums
    moved = {name: x.to(device) for name, x in sums.items()}
    add_sums(moved, device)
    return {name: x.cpu() for name, x in moved.items()}


def unused_error(layer: str) -> CurvatureError:
    """Return the error for a layer that no token came to."""
    return CurvatureError(
        "Nothing passed through {layer}.",
        "The model does not use this layer on plain text.",
        layer=layer,
    )
