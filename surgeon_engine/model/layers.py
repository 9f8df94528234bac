"""Find the decoder blocks of a model and their prunable linear layers.

    W   R x C      weight: a row is an output feature, a column an input feature
        R x (C+1)  if the layer has a bias, which is the last column

The rules do not depend on the model family: the blocks are the longest list of modules
with linear layers in the language model that is not inside another such list, and each
linear layer in a block is prunable. Towers for images and sound stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.experts import Experts, experts_of, neuron_entries
from surgeon_engine.model.families import family_of
from surgeon_engine.runtime.hidden_store import Budget, HiddenStore

LINEAR = (nn.Linear, Conv1D)
# Names of modules that read images or sound, which GIT has in its language model.
_TOWER = re.compile(r"(vision|visual|image|audio|speech)_")


@dataclass(frozen=True, slots=True, eq=False)
class PrunableLayer:
    """A linear layer of a decoder block, whose weight is read and written as W."""

    name: str  # full name in the model
    block: int  # index of its decoder block
    kind: str  # its name inside the block
    # Or GPT-2's Conv1D, which has the same attributes; of experts the stacked weights.
    module: nn.Linear

    @property
    def has_bias(self) -> bool:
        """Whether W has a last column for the bias."""
        return self.module.bias is not None

    @property
    def rows(self) -> int:
        """R, the number of output features."""
        return int(self.matrix.shape[0])

    @property
    def columns(self) -> int:
        """C, the number of input features, without the bias."""
        return int(self.matrix.shape[1])

    @property
    def weights(self) -> int:
        """Number of weights in W, the bias included."""
        return self.rows * (self.columns + self.has_bias)

    def weight(self) -> Tensor:
        """Return a copy of W in float32: R x C or R x (C+1)."""
        W = self.matrix.float()
        if self.has_bias:
            W = torch.cat([W, self.module.bias.float().unsqueeze(1)], dim=1)
        return W.clone()

    def write(self, W: Tensor) -> None:
        """Set the layer's weight to W, which has the shape that `weight` returns."""
        with torch.no_grad():
            self.matrix.copy_(W[:, : self.columns])
            if self.has_bias:
                self.module.bias.copy_(W[:, self.columns])

    def parameters(self) -> list[nn.Parameter]:
        """Return its weight and, if it has one, its bias."""
        return list(self.module.parameters())

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.matrix.device

    def mask_of(self, column: Tensor) -> Tensor:
        """Return the mask of W that marks whole columns."""
        return column.expand(self.rows, -1)

    def count(self, mask: Tensor) -> int:
        """Return how many weights a mask of W marks."""
        return int(mask.sum())

    def remaining(self, mask: Tensor) -> tuple[int, int, int]:
        """Return the weights, rows and columns that are left beside a mask of W."""
        column_is_removed = mask[:, : self.columns].all(dim=0)  # not of the bias
        return (
            self.weights - int(mask.sum()),
            self.rows - int(mask.all(dim=1).sum()),
            self.columns - int(column_is_removed.sum()),
        )

    def zero(self, mask: Tensor) -> None:
        """Set the weights of a mask of W to zero."""
        with torch.no_grad():
            for tensor, removed in self.masked_parameters(mask):
                tensor.masked_fill_(removed, 0)

    def inputs(self, a: Tensor) -> Tensor:
        """Return inputs as rows in float32, with a 1 appended if there is a bias."""
        a = a.detach().flatten(0, -2).float()
        if self.has_bias:
            a = torch.cat([a, a.new_ones(len(a), 1)], dim=1)
        return a

    def masked_parameters(self, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the parameters with the part of a mask of W that belongs to each."""
        of_weight = mask[:, : self.columns]
        is_transposed = isinstance(self.module, Conv1D)
        yield self.module.weight, of_weight.T if is_transposed else of_weight
        if self.has_bias:
            yield self.module.bias, mask[:, self.columns]

    @property
    def matrix(self) -> Tensor:
        """The weight itself as R x C, without a bias; Conv1D stores it transposed."""
        weight = self.module.weight
        return weight.T if isinstance(self.module, Conv1D) else weight


@dataclass(frozen=True, slots=True, eq=False)
class ExpertsLayer(PrunableLayer):
    """The experts of a block with their part of the router; each is a column of W.

    W itself is never made: the weights of an expert are slices of several tensors. A
    mask has a row for each neuron and a last one for the other weights of an expert.
    """

    experts: Experts
    # A module, the name of its tensor, the dimension, entries of each expert.
    parts: tuple[tuple[nn.Module, str, int, int], ...]

    @property
    @override
    def has_bias(self) -> bool:
        return False

    @property
    @override
    def rows(self) -> int:
        """The number of weights of one expert."""
        return sum(x.numel() for x, _, _ in self._tensors()) // self.columns

    @property
    @override
    def columns(self) -> int:
        """The number of experts."""
        tensor, dimension, entries = next(self._tensors())
        return tensor.shape[dimension] // entries

    @property
    @override
    def device(self) -> torch.device:
        return next(self._tensors())[0].device

    @override
    def parameters(self) -> list[nn.Parameter]:
        tensors = (tensor for tensor, _, _ in self._tensors())
        return [x for x in tensors if isinstance(x, nn.Parameter)]

    @property
    def neurons(self) -> int:
        """The number of neurons of each expert; 0: their place is not known."""
        found = neuron_entries(self.module).get("down_proj")
        return 0 if found is None else len(found[1])

    @property
    def weights_per_neuron(self) -> int:
        """The number of weights of a neuron of one expert."""
        names = neuron_entries(self.module)
        total = sum(getattr(self.module, name).numel() for name in names)
        return int(total) // (self.neurons * self.columns) if names else 0

    @override
    def mask_of(self, column: Tensor) -> Tensor:
        return column.expand(self.neurons + 1, -1)

    @override
    def count(self, mask: Tensor) -> int:
        each = self.weights_per_neuron
        others = self.rows - each * self.neurons
        return each * int(mask[:-1].sum()) + others * int(mask[-1].sum())

    @override
    def remaining(self, mask: Tensor) -> tuple[int, int, int]:
        left = int((~mask[-1]).sum())
        weights = self.weights - self.count(mask)
        return weights, weights // max(1, left), left

    @override
    def masked_parameters(self, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        # Buffers stay as they are: a removed expert is not chosen whatever they hold.
        with_neurons = neuron_entries(self.module)
        for module, name, dimension, entries in self.parts:
            tensor = getattr(module, name)
            if not isinstance(tensor, nn.Parameter):
                continue
            after = [1] * (tensor.ndim - 1 - dimension)
            if module is self.module and name in with_neurons:
                axis, neuron = with_neurons[name]
                removed = mask[neuron.to(mask.device)].T  # experts x entries
                after[axis - 1] = len(neuron)
            else:
                removed = mask[-1].repeat_interleave(entries)
            removed = removed.to(tensor.device).reshape(-1, *after)
            yield tensor, removed.expand_as(tensor)

    @torch.no_grad()
    def sort_neurons(self, order: Tensor) -> None:
        """Bring the neurons of each expert into an order: experts x neurons.

        The experts compute the same as before.
        """
        for name, (dimension, neuron) in neuron_entries(self.module).items():
            tensor = getattr(self.module, name)
            places = neuron.argsort(stable=True).view(self.neurons, -1)
            for expert, of_expert in enumerate(order):
                source = torch.empty_like(neuron)
                source[places] = places[of_expert.cpu()]
                own, source = tensor[expert], source.to(tensor.device)
                own.copy_(own.index_select(dimension - 1, source))

    def _tensors(self) -> Iterator[tuple[Tensor, int, int]]:
        for module, name, dimension, entries in self.parts:
            yield getattr(module, name), dimension, entries


class KeptWeights:
    """A copy of some parameters on the host, in files where its memory is short.

    As a context manager it restores them at the end of the block, any number of times.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, in_files: bool = False
    ) -> None:
        """Copy parameters.

        With `in_files`, all copies are in files, however much memory is free.
        """
        self._parameters = list(parameters)
        budget = Budget(0, 0) if in_files else None
        self._store = HiddenStore(torch.device("cpu"), budget)
        self._values = [self._store.keep(x.detach()) for x in self._parameters]

    @classmethod
    def of(cls, layers: Iterable[PrunableLayer]) -> KeptWeights:
        """Return a copy of the weights and biases of some layers."""
        return cls(p for layer in layers for p in layer.parameters())

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.put_back()

    def values(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return each parameter with its copy."""
        return zip(self._parameters, self._values, strict=True)

    def put_back(self) -> None:
        """Restore the copied parameters."""
        with torch.no_grad():
            for parameter, value in self.values():
                parameter.copy_(value)


def body_of(model: PreTrainedModel) -> nn.Module:
    """Return the language model without its head, and without towers for images."""
    body: nn.Module = model
    while isinstance(body, PreTrainedModel):
        inner = _decoder_of(body)  # OPT's is inside its base model
        if inner is body:
            break
        body = inner
    return body


def language_model_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the innermost part that has the body and a head for its tokens.

    It runs on text alone, where a model that reads images may need one as a whole.
    """
    found, inner = model, model
    for name in filter(None, body_path(model).split(".")):
        inner = getattr(inner, name)
        is_model = isinstance(inner, PreTrainedModel)
        if is_model and inner.get_output_embeddings() is not None:
            found = inner
    return found


def _decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the decoder inside a model; the model itself if there is none."""
    found: nn.Module = model.get_decoder()
    if isinstance(found, nn.Linear):  # so does ModernBERT call its head
        found = model.base_model
    return getattr(model, "model", model) if found is model else found


def is_tower(name: str) -> bool:
    """Return whether a module belongs to a tower, which reads images or sound."""
    return bool(_TOWER.search(name))


def body_path(model: PreTrainedModel) -> str:
    """Return the name of the language model in the model; empty: it is the whole."""
    body = body_of(model)
    return next(name for name, module in model.named_modules() if module is body)


def body_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the parameters that a run may change: no embeddings, no head."""
    body = body_of(model)
    fixed = {
        id(parameter)
        for module in body.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    return [p for p in body.parameters() if id(p) not in fixed and p.numel()]


def blocks_path(model: PreTrainedModel) -> str:
    """Return the name of the list of decoder blocks.

    Raises:
        ModelError: The model has no decoder blocks.
    """
    prefix, _ = _named_blocks(model)
    return prefix


def head_size(config: PretrainedConfig) -> int:
    """Return the number of features of a head."""
    stated = getattr(config, "head_dim", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def find_blocks(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """Return the decoder blocks in order.

    Raises:
        ModelError: The model has no decoder blocks.
    """
    _, blocks = _named_blocks(model)
    return tuple(blocks)


def prunable_layers(model: PreTrainedModel) -> tuple[PrunableLayer, ...]:
    """Return the linear layers and the experts of all blocks, in the modules' order.

    Raises:
        ModelError: The model has no decoder blocks.
    """
    prefix, blocks = _named_blocks(model)
    experts = {
        each.module: each
        for each in experts_of(model)
        if not _TOWER.search(each.module.removeprefix(prefix))
    }
    skipped = {each.router for each in experts.values()}
    skipped.add(family_of(model.config.model_type).uncalled)
    found: list[PrunableLayer] = []
    for index, block in enumerate(blocks):
        for kind, module in block.named_modules():
            name = f"{prefix}.{index}.{kind}"
            if name in experts:
                found.append(_experts_layer(model, experts[name], index, kind))
            elif isinstance(module, LINEAR) and skipped.isdisjoint((name, kind)):
                found.append(PrunableLayer(name, index, kind, module))
    return tuple(found)


def linear_layers(layers: Iterable[PrunableLayer]) -> tuple[PrunableLayer, ...]:
    """Return the layers that have one matrix."""
    return tuple(x for x in layers if not isinstance(x, ExpertsLayer))


def _experts_layer(
    model: PreTrainedModel, experts: Experts, index: int, kind: str
) -> ExpertsLayer:
    parts = tuple(
        (
            model.get_submodule(x.module),
            x.name.rpartition(".")[2],
            x.dimension,
            x.entries,
        )
        for x in experts.tensors
    )
    module: Any = model.get_submodule(experts.module)
    return ExpertsLayer(experts.module, index, kind, module, experts, parts)


def _named_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    path = body_path(model)
    lists = [
        (name, module)
        for name, module in body_of(model).named_modules(prefix=path)
        if isinstance(module, nn.ModuleList)
        and all(map(_has_linear, module))
        and not _TOWER.search(name.removeprefix(path))
    ]
    if not lists:
        raise ModelError(
            "{model_type} has no decoder blocks with linear layers.",
            "Choose a decoder-only language model.",
            model_type=type(model).__name__,
        )
    names = [f"{name}." for name, _ in lists]
    # A list inside another, such as the experts of a block, is not the list of blocks.
    outer = [
        named for named in lists if not any(named[0].startswith(name) for name in names)
    ]
    return max(outer, key=lambda named: len(named[1]))


def _has_linear(block: nn.Module) -> bool:
    return any(isinstance(module, LINEAR) for module in block.modules())
