"""Shrink the layers of a stock model to the widths of a compact checkpoint.

Surgeon copies this file, unchanged, into every compact checkpoint. The modeling file of
the checkpoint derives its classes from `Shrunk` and the stock model's classes. Only
torch and transformers are needed.

The entry `pruned` of the checkpoint's config describes the widths:

    "pruned": {
      "blocks": "model.layers",
      "groups": [{"kind": "heads", "module": "self_attn",
                  "consumer": "self_attn.o_proj",
                  "producers": ["self_attn.q_proj", ...],
                  "left": {"0": [2, 4], "3": [0, 4]}},
                 {"kind": "neurons", ...}, {"kind": "experts", ...},
                 {"kind": "expert_neurons", ...}],
      "layers": {"model.layers.0.mlp.up_proj": {"weight": [700, 400],
                                                "gathers": true, "scatters_to": 0}}
    }

`left` has the remaining and the original number of groups of each block that has lost
some; without any, the whole module is removed. `parameters` of groups are tensors with
entries for each group along a dimension, beside the linear layers; `counts` are
attributes of modules that count groups or their features. `layers` are layers with
removed inputs or outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

# Attributes of attention modules that count heads, or features of all heads.
_COUNTS = (
    "num_heads",
    "n_heads",
    "num_attention_heads",
    "num_key_value_heads",
    "num_kv_heads",
    "kv_heads",
    "n_head",
    "kv_dim",
    "all_head_size",
    "split_size",
    "embed_dim",
)


class CompactLinear(nn.Module):
    """A linear layer that finds its inputs or the places of its outputs by index lists.

    Removed outputs are zero. There is no list where all features are kept, or where the
    neighboring layers have removed the same features. A plain layer inside holds the
    weights, so that adapters and quantizers find and replace it.
    """

    kept_inputs: Tensor | None
    kept_outputs: Tensor | None

    def __init__(self, stock: Any, spec: Mapping[str, Any]) -> None:
        super().__init__()
        rows, columns = spec["weight"]
        self.outputs = spec["scatters_to"]
        self.linear = _linear(stock, rows, columns)
        inputs = _indices(columns) if spec["gathers"] else None
        outputs = _indices(rows) if spec["scatters_to"] else None
        self.register_buffer("kept_inputs", inputs)
        self.register_buffer("kept_outputs", outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ... x inputs to ... x outputs, with the sizes of the stock layer."""
        if self.kept_inputs is not None:
            x = x.index_select(-1, self.kept_inputs)
        y = self.linear(x)
        if self.kept_outputs is None:
            return y
        full = y.new_zeros(*y.shape[:-1], self.outputs)
        return full.index_copy_(-1, self.kept_outputs, y)


class NoAttention(nn.Module):
    """Stands for a removed attention: adds nothing to the residual stream.

    It keeps its place in the cache, which counts the tokens of each layer.
    """

    def __init__(self, layer: int | None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return zeros for the hidden states, and no attention weights."""
        cache = _cache_in(*args, *kwargs.values())
        if self.layer is not None and cache is not None:
            nothing = hidden_states.new_zeros(*hidden_states.shape[:-1], 1)
            nothing = nothing.unsqueeze(1)  # batch x 1 head x length x 1 feature
            cache.update(nothing, nothing, self.layer)
        return torch.zeros_like(hidden_states), None


class NoMixer(nn.Module):
    """Stands for a removed mixer with a state: adds nothing to the residual stream.

    It keeps its place in the cache, which counts the tokens of each layer since
    transformers 5.25.
    """

    def __init__(self, layer: int | None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return zeros for the hidden states."""
        cache = _cache_in(*args, *kwargs.values())
        layers = getattr(cache, "layers", None)
        if self.layer is not None and layers is not None:
            place = layers[self.layer]
            if hasattr(place, "cumulative_length_linear"):
                batch, length, _ = hidden_states.shape
                nothing = hidden_states.new_zeros(batch, 1, length)  # 1 channel
                for state in range(place.number_of_states):
                    place.update_conv_state(nothing, state, conv_kernel_size=1)
        return torch.zeros_like(hidden_states)


class NoOutput(nn.Module):
    """Stands for a removed MLP or a last layer: adds nothing."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return zeros for the hidden states."""
        return torch.zeros_like(hidden_states)


class _OwnConfig:
    """The config as seen by one block, with the widths of that block."""

    def __init__(self, config: Any, widths: Mapping[str, int]) -> None:
        self._config, self._widths = config, widths

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_widths" not in own:  # while it is being copied
            raise AttributeError(name)
        widths = own["_widths"]
        return widths[name] if name in widths else getattr(own["_config"], name)


class Shrunk:
    """A stock model, whose class follows this one, with the widths in its config."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        shrink(self, config)

    def initialize_weights(self) -> None:
        """Set the buffers, too, that no file holds and that a whole model sets."""
        super().initialize_weights()  # type: ignore[misc]
        for module in self.modules():  # type: ignore[attr-defined]
            if isinstance(module, PreTrainedModel):
                module._init_weights(module)


def shrink(model: Any, config: Any) -> None:
    """Shrink the layers of a stock model to the widths in `config`."""
    pruned = config.pruned
    for spec in pruned.get("groups", ()):
        blocks = model.get_submodule(_within(model, pruned["blocks"]))
        for index, (left, groups) in spec["left"].items():
            if left:
                shrink_groups(blocks[int(index)], spec, left, groups)
            else:
                remove_groups(blocks[int(index)], spec)
    for name, spec in pruned.get("layers", {}).items():
        path = _within(model, name)
        model.set_submodule(path, _compact_layer(model.get_submodule(path), spec))
    for name, columns in pruned.get("shared_inputs", {}).items():
        gather_once(model.get_submodule(_within(model, name)), columns)


def shrink_groups(block: Any, spec: Mapping[str, Any], left: int, groups: int) -> None:
    """Resize a block to `left` of its `groups`, without weights."""
    if spec["kind"] not in ("experts", "expert_neurons"):
        _resize(block, spec["consumer"], inputs=lambda n: n * left // groups)
    for name in spec["producers"]:
        _resize(block, name, outputs=lambda n: n * left // groups)
    for name, dimension in spec.get("parameters", {}).items():
        _resize_parameter(block, name, dimension, lambda n: n * left // groups)
    if "counts" in spec:
        for counted in spec["counts"]:
            path, _, name = counted.rpartition(".")
            module = block.get_submodule(".".join(filter(None, (spec["module"], path))))
            if hasattr(module, name):
                setattr(module, name, getattr(module, name) * left // groups)
    elif spec["kind"] == "heads":
        _keep_heads(block.get_submodule(spec["module"]), spec, left, groups)


def remove_groups(block: Any, spec: Mapping[str, Any]) -> None:
    """Replace the attention or the MLP of a block by a module that adds nothing."""
    name = spec["module"]
    if not name:  # the block itself has its layers
        for producer in spec["producers"]:
            block.set_submodule(producer, nn.Identity())
        block.set_submodule(spec["consumer"], NoOutput())
    elif spec["kind"] == "heads":
        stock = block.get_submodule(name)
        layer = getattr(stock, "layer_idx", getattr(stock, "layer_id", None))
        stands_in = NoMixer if "counts" in spec else NoAttention
        block.set_submodule(name, stands_in(layer))
    else:
        block.set_submodule(name, NoOutput())


def gather_once(module: Any, columns: int) -> None:
    """Make `module` gather the inputs that all its layers read once for all of them."""
    module.register_buffer("kept_inputs", _indices(columns))

    # The hook reads the indices of its argument, so that copies use their own.
    def gather(
        reader: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        if args:
            args = (args[0].index_select(-1, reader.kept_inputs), *args[1:])
        else:
            hidden = kwargs["hidden_states"].index_select(-1, reader.kept_inputs)
            kwargs = kwargs | {"hidden_states": hidden}
        return args, kwargs

    module.register_forward_pre_hook(gather, with_kwargs=True)


def _cache_in(*arguments: Any) -> Any:
    """Return the cache among the arguments: its name differs between models."""
    return next((x for x in arguments if hasattr(x, "get_seq_length")), None)


def _keep_heads(
    attention: Any, spec: Mapping[str, Any], left: int, groups: int
) -> None:
    for module in attention.modules():
        for name in _COUNTS:
            if isinstance(getattr(module, name, None), int):
                setattr(module, name, getattr(module, name) * left // groups)
    for parent, name, norms in _lists(attention):
        setattr(parent, name, norms[: len(norms) * left // groups])
    if spec.get("reads_config"):
        widths = {
            name: getattr(attention.config, name) * left // groups
            for name in ("num_attention_heads", "num_key_value_heads")
        }
        attention.config = _OwnConfig(attention.config, widths)
    if spec.get("has_slopes"):
        _select_slopes(attention, left, groups)


def _select_slopes(attention: Any, left: int, groups: int) -> None:
    """Select the ALiBi slopes of the remaining heads."""
    attention.register_buffer("kept_heads", _indices(left))

    def select(
        reader: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        kwargs, kept = dict(kwargs), reader.kept_heads
        alibi, mask = kwargs.get("alibi"), kwargs.get("attention_mask")
        if alibi is not None and alibi.ndim == 4:
            kwargs["alibi"] = alibi.index_select(1, kept)
        elif alibi is not None:  # batch * heads x 1 x length
            by_head = alibi.unflatten(0, (-1, groups))
            by_head = by_head.index_select(1, kept)
            kwargs["alibi"] = by_head.flatten(0, 1)
        if mask is not None and mask.ndim == 4 and mask.shape[1] == groups > 1:
            kwargs["attention_mask"] = mask.index_select(1, kept)
        return args, kwargs

    attention.register_forward_pre_hook(select, with_kwargs=True)


def _lists(attention: Any) -> Iterator[tuple[nn.Module, str, nn.ModuleList]]:
    """Yield lists with a module for each head, such as norms."""
    for parent in tuple(attention.modules()):
        for name, child in tuple(parent.named_children()):
            if isinstance(child, nn.ModuleList):
                yield parent, name, child


def _resize(block: Any, name: str, inputs: Any = int, outputs: Any = int) -> None:
    """Change the numbers of inputs and outputs of a layer; its weights are empty."""
    layer = block.get_submodule(name)
    is_conv = hasattr(layer, "nf")  # GPT-2's Conv1D, whose weight is transposed
    rows, columns = layer.weight.shape[::-1] if is_conv else layer.weight.shape
    rows, columns = outputs(rows), inputs(columns)
    if is_conv:
        layer.nf, layer.nx = rows, columns
        layer.weight = _empty(layer.weight, columns, rows)
    else:
        layer.out_features, layer.in_features = rows, columns
        layer.weight = _empty(layer.weight, rows, columns)
    if layer.bias is not None:
        layer.bias = _empty(layer.bias, rows)


def _resize_parameter(block: Any, path: str, dimension: int, entries: Any) -> None:
    """Change the number of entries of a parameter or buffer along a dimension."""
    path, _, name = path.rpartition(".")
    module = block.get_submodule(path)
    old = getattr(module, name)
    shape = list(old.shape)
    shape[dimension] = entries(shape[dimension])
    new = _empty(old, *shape)
    setattr(module, name, new.data if name in module._buffers else new)
    if isinstance(module, nn.Conv1d):  # each channel has a filter of its own
        module.in_channels = module.out_channels = module.groups = len(new)


def _within(model: Any, path: str) -> str:
    """Convert a path of the whole model to one in `model`, which may be its body."""
    body = f"{model.base_model_prefix}."
    is_whole = hasattr(model, model.base_model_prefix)
    return path if is_whole else path.removeprefix(body)


def _compact_layer(stock: Any, spec: Mapping[str, Any]) -> nn.Module:
    """Return a layer without weights for the remaining rows and columns of `stock`."""
    if spec["gathers"] or spec["scatters_to"]:
        return CompactLinear(stock, spec)
    return _linear(stock, *spec["weight"])


def _linear(stock: Any, rows: int, columns: int) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False, device="meta")
    layer.in_features, layer.out_features = columns, rows
    layer.weight = _empty(stock.weight, rows, columns)
    if stock.bias is not None:
        layer.bias = _empty(stock.bias, rows)
    return layer


def _empty(like: Tensor, *shape: int) -> nn.Parameter:
    return nn.Parameter(like.new_empty(shape), like.requires_grad)


def _indices(count: int) -> Tensor:
    # On the default device: some programs load parameters alone onto another one later.
    return torch.zeros(count, dtype=torch.int64)
