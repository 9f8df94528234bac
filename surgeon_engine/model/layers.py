"""The decoder blocks of a model, and the linear layers in them that can be pruned.

    W   R x C      weight: a row is an output feature, a column an input feature
        R x (C+1)  where the layer has a bias, which is the last column

Nothing here knows a model family by name: the blocks are the longest list of modules
that hold linear layers and lies in no other such list, and each linear layer in a block
is prunable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from surgeon_engine.api.errors import ModelError

LINEAR = (nn.Linear, Conv1D)


@dataclass(frozen=True, slots=True, eq=False)
class PrunableLayer:
    """One linear layer of a decoder block; reads and writes its weight as W."""

    name: str  # full name in the model
    block: int  # index of its decoder block
    kind: str  # its name inside the block
    module: nn.Linear  # or GPT-2's Conv1D, which has the same attributes

    @property
    def has_bias(self) -> bool:
        """Whether W has a last column for the bias."""
        return self.module.bias is not None

    @property
    def rows(self) -> int:
        """R, the output features."""
        return int(self._matrix.shape[0])

    @property
    def columns(self) -> int:
        """C, the input features; the bias is not one of them."""
        return int(self._matrix.shape[1])

    @property
    def weights(self) -> int:
        """How many numbers W holds, the bias included."""
        return self.rows * (self.columns + self.has_bias)

    def weight(self) -> Tensor:
        """A copy of W in float64, R x C or R x (C+1)."""
        W = self._matrix.double()
        if self.has_bias:
            W = torch.cat([W, self.module.bias.double().unsqueeze(1)], dim=1)
        return W.clone()

    def write(self, W: Tensor) -> None:
        """Make W, in the shape that `weight` gives, the layer's weight."""
        with torch.no_grad():
            self._matrix.copy_(W[:, : self.columns])
            if self.has_bias:
                self.module.bias.copy_(W[:, self.columns])

    @property
    def _matrix(self) -> Tensor:
        """R x C; Conv1D stores its weight the other way round."""
        weight = self.module.weight
        return weight.T if isinstance(self.module, Conv1D) else weight


class KeptWeights:
    """The weights of some layers as they are, on the host, to be put back.

    As a context, any number of times, it undoes what is written to them meanwhile.
    """

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self._parameters = [p for layer in layers for p in layer.module.parameters()]
        self._values = [
            parameter.detach().to("cpu", copy=True) for parameter in self._parameters
        ]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.put_back()

    def put_back(self) -> None:
        """Undo whatever was written to the layers since."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._values, strict=True):
                parameter.copy_(value)


def blocks_path(model: PreTrainedModel) -> str:
    """The name of the list of decoder blocks.

    Raises:
        ModelError: there is none.
    """
    prefix, _ = _named_blocks(model)
    return prefix


def find_blocks(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """The decoder blocks, first to last.

    Raises:
        ModelError: there are none.
    """
    _, blocks = _named_blocks(model)
    return tuple(blocks)


def prunable_layers(model: PreTrainedModel) -> tuple[PrunableLayer, ...]:
    """Every linear layer of every block, in the order of the model's modules.

    Raises:
        ModelError: there are none.
    """
    prefix, blocks = _named_blocks(model)
    return tuple(
        PrunableLayer(f"{prefix}.{index}.{kind}", index, kind, module)
        for index, block in enumerate(blocks)
        for kind, module in block.named_modules()
        if isinstance(module, LINEAR)
    )


def _named_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and all(map(_has_linear, module))
    ]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no decoder blocks with linear layers.",
            "Choose a decoder-only language model.",
        )
    names = [f"{name}." for name, _ in lists]
    # A list inside another (the experts of a block) is no list of blocks.
    outer = [
        named for named in lists if not any(named[0].startswith(name) for name in names)
    ]
    return max(outer, key=lambda named: len(named[1]))


def _has_linear(block: nn.Module) -> bool:
    return any(isinstance(module, LINEAR) for module in block.modules())
