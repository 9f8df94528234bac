"""Mixtures of experts: the entries of tensors that belong to an expert.

A router chooses a few experts for each token. Their weights are stacked in tensors with
an entry for each expert; the router has a row for each, and may have further numbers.
No list of families says which tensors these are: the model is built a second time, on
the meta device, with twice as many experts; larger tensors there belong to experts.

A removed expert has zeros for all of its weights. A zero row of the router would still
be chosen sometimes, so that `hide_removed_experts` takes such rows out of the choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PretrainedConfig, PreTrainedModel
from typing_extensions import override

from surgeon_engine.api.model_info.header import EXPERTS_PER_TOKEN

# The names under which configs state how many experts a block has.
EXPERT_COUNTS = re.compile(r"(num|n)_((local|routed)_)?experts|moe_num_experts")
# Attributes of modules with the number of neurons of an expert.
NEURON_COUNTS = ("intermediate_dim", "intermediate_size", "expert_dim")
# Arguments of experts in most models, and in GPT-OSS.
_CHOSEN_EXPERTS = (
    ("top_k_index", "top_k_weights"),
    ("router_indices", "routing_weights"),
)
# The functions by which routers compute logits.
_PRODUCTS = (nn.functional.linear, torch.mm, torch.matmul, Tensor.matmul, Tensor.mm)
_NEVER = -1e30  # added to the score of a removed expert


@dataclass(frozen=True, slots=True)
class ExpertTensor:
    """A parameter or buffer that is divided among the experts along a dimension."""

    name: str  # name in the model
    module: str  # module that has it
    dimension: int
    entries: int  # entries of each expert, one after another


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of one module, and the router that chooses among them."""

    module: str  # the stacked weights, by its name in the model
    router: str  # the module with a row for each expert
    tensors: tuple[ExpertTensor, ...]
    counts: tuple[str, ...]  # attributes of modules that count experts, with paths
    stated: tuple[str, ...]  # config options that count experts
    chosen: int  # experts for each token
    classes: int = 1  # equal runs of experts, among which the router chooses first
    chosen_classes: int = 1

    @property
    def parent(self) -> str:
        """The module that holds experts and router."""
        return self.module.rpartition(".")[0]

    @property
    def choice(self) -> str:
        """The module that makes the choice: the router, or a module around it."""
        prefix = f"{self.parent}." if self.parent else ""
        return prefix + self.router.removeprefix(prefix).partition(".")[0]

    def least(self, count: int) -> int:
        """Return how many of `count` experts stay: as many as a token has."""
        of_class = -(-self.chosen // self.chosen_classes)
        # The score of a class is often the sum of its two best experts' scores.
        least = self.classes * max(of_class, 2) if self.classes > 1 else self.chosen
        return min(count, least)


_FOUND: WeakKeyDictionary[PreTrainedModel, tuple[Experts, ...] | None]
_FOUND = WeakKeyDictionary()


def experts_of(model: PreTrainedModel) -> tuple[Experts, ...]:
    """Return the known experts of a model, in the order of its modules.

    The model may be without weights (on the meta device).
    """
    return _found_in(model) or ()


def has_experts(model: PreTrainedModel) -> bool:
    """Return whether a model has experts, known or not.

    A config may state experts though all of its blocks are dense. The model may be
    without weights (on the meta device).
    """
    return _found_in(model) is not None


def _found_in(model: PreTrainedModel) -> tuple[Experts, ...] | None:
    if model not in _FOUND:
        _FOUND[model] = _find(model)
    return _FOUND[model]


def _find(model: PreTrainedModel) -> tuple[Experts, ...] | None:
    """Return the known experts of a model; empty: unknown ones; None: it has none."""
    config = model.config.get_text_config()
    inside = [x for x in vars(config).values() if isinstance(x, PretrainedConfig)]
    if not any(any(_counts(each)) for each in (config, *inside)):
        return None
    stated = tuple(_counts(config))
    if not stated:  # a part of the config states it, as in DBRX
        return ()
    doubled = deepcopy(model.config)
    inner = doubled.get_text_config()
    for name in stated:
        setattr(inner, name, 2 * getattr(config, name))
    with torch.device("meta"):
        whole = _stock(type(model))._from_config(deepcopy(model.config))
        twice = _stock(type(model))._from_config(doubled)
    shapes, larger = _shapes(whole), _shapes(twice)
    if shapes == larger:
        return None
    if not _chosen(config):
        return ()
    experts = getattr(config, stated[0])
    found: dict[str, list[ExpertTensor]] = {}
    for name, (module, _) in _tensors(whole):
        if larger.get(name, shapes[name]) != shapes[name]:
            parts = _divided(shapes[name], larger[name], experts)
            if parts is None:
                return ()
            found.setdefault(module, []).append(ExpertTensor(name, module, *parts))
    stacks = [
        module
        for module, tensors in found.items()
        if any(len(shapes[x.name]) > 2 for x in tensors)
    ]
    return tuple(_grouped(config, stated, stacks, found, shapes, (whole, twice)))


def _grouped(
    config: PretrainedConfig,
    stated: tuple[str, ...],
    stacks: list[str],
    found: Mapping[str, list[ExpertTensor]],
    shapes: Mapping[str, torch.Size],
    models: tuple[nn.Module, nn.Module],
) -> Iterator[Experts]:
    """Yield the experts of each stack that has a router beside it."""
    parents = {stack: stack.rpartition(".")[0] for stack in stacks}
    for stack, parent in parents.items():
        inside = [*found[stack]]
        routers = []
        for module, tensors in found.items():
            if module in stacks or not f"{module}.".startswith(f"{parent}."):
                continue
            inside += tensors
            if any(len(shapes[x.name]) == 2 and not x.dimension for x in tensors):
                routers.append(module)
        is_table = any(
            not tensor.is_floating_point()
            for router in routers
            for tensor in models[0].get_submodule(router).buffers()
        )
        if len(routers) != 1 or is_table:  # which chooses by the number of the token
            continue
        given = _arguments(models[0].get_submodule(stack))
        if given and given not in _CHOSEN_EXPERTS:  # as in JetMoE's attention
            continue
        yield Experts(
            stack,
            routers[0],
            tuple(inside),
            tuple(_counting(parent, *models)),
            stated,
            _chosen(config),
            *_classes(config),
        )


def _arguments(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the arguments of a module beside hidden states."""
    return tuple(signature(module.forward).parameters)[1:]


def _tensors(model: nn.Module) -> Iterator[tuple[str, tuple[str, Tensor]]]:
    """Yield each parameter and buffer with its name and the module that has it."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        own = (*module._parameters.items(), *module._buffers.items())
        for name, tensor in own:
            if tensor is not None and tensor.ndim:
                yield f"{prefix}{name}", (path, tensor)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, (_, tensor) in _tensors(model)}


def _divided(
    whole: torch.Size, twice: torch.Size, experts: int
) -> tuple[int, int] | None:
    """Return the dimension that experts divide, and the entries of each expert.

    With twice as many experts it is twice as long. None: other dimensions differ, too.
    """
    pairs = enumerate(zip(whole, twice, strict=True))
    different = [n for n, (old, new) in pairs if old != new]
    if len(different) != 1:
        return None
    (dimension,) = different
    length = whole[dimension]
    if 2 * length != twice[dimension] or length % experts:
        return None
    return dimension, length // experts


def _counting(parent: str, whole: nn.Module, twice: nn.Module) -> Iterator[str]:
    """Yield the attributes of modules inside `parent` that are half as large."""
    for path, module in whole.get_submodule(parent).named_modules():
        other = twice.get_submodule(".".join(filter(None, (parent, path))))
        for name, value in vars(module).items():
            if isinstance(value, int) and 2 * value == vars(other).get(name, 0) > 0:
                yield ".".join(filter(None, (parent, path, name)))


def _counts(config: PretrainedConfig) -> Iterator[str]:
    """Yield the options of a config that state several experts."""
    for name, value in vars(config).items():
        if EXPERT_COUNTS.fullmatch(name) and isinstance(value, int) and value > 1:
            yield name


def _chosen(config: PretrainedConfig) -> int:
    """Return how many experts the router chooses for each token; 0: not known.

    HunYuan may have a list of numbers, one for each block.
    """
    for name in EXPERTS_PER_TOKEN:
        match getattr(config, name, None):
            case int(number):
                return number
            case [*numbers] if numbers:
                return max(numbers)
    return 0


def _classes(config: PretrainedConfig) -> tuple[int, int]:
    """Return how many classes of experts there are, and how many a token chooses."""
    classes = int(getattr(config, "n_group", None) or 1)
    return classes, int(getattr(config, "topk_group", None) or classes)


def _stock(cls: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return the class of transformers that a compact class derives from."""
    return next(x for x in cls.__mro__ if x.__module__.startswith("transformers."))


def has_common_form(module: Any) -> bool:
    """Return whether a module of experts has the form that most have.

    It then computes, for each token and each of its experts, what `inner_states`
    returns, times `last_weight`, times the weight of the router.
    """
    return (
        getattr(module, "has_gate", None) is not None
        and hasattr(module, "down_proj")
        and not module.has_post_expert_norm
    )


def neuron_entries(module: Any) -> dict[str, tuple[int, Tensor]]:
    """Return the parameters of a module of experts with entries for their neurons.

    Each has the dimension of these entries, and the neuron of each entry. Empty: the
    module has an unknown form.
    """
    if not (has_common_form(module) or _has_form_of_llama4(module)):
        return {}
    dimension = 1 if _is_transposed(module) else 2
    neurons = torch.arange(module.down_proj.shape[dimension], device="cpu")
    found = {"down_proj": (dimension, neurons)}
    name, is_gated = _first_layer(module)
    if is_gated:
        is_run = getattr(module, "is_concatenated", True)
        neurons = neurons.repeat(2) if is_run else neurons.repeat_interleave(2)
    found[name] = (3 - dimension, neurons)
    if getattr(module, "has_bias", False):
        found[f"{name}_bias"] = (1, neurons)
    return found


def inner_states(module: Any, expert: int, states: Tensor) -> Tensor:
    """Return the input of the last layer of an expert: tokens x neurons.

    `states` are the hidden states of its tokens: tokens x hidden.
    """
    name, is_gated = _first_layer(module)
    weight = getattr(module, name)[expert]
    found = states @ (weight if _is_transposed(module) else weight.T)
    if getattr(module, "has_bias", False):
        found = found + getattr(module, f"{name}_bias")[expert]
    if is_gated and not hasattr(module, "_apply_gate"):  # Llama 4
        gates, values = found.chunk(2, dim=-1)
        inner: Tensor = module.act_fn(gates) * values
    else:
        inner = module._apply_gate(found) if is_gated else module.act_fn(found)
    return inner


def last_weight(module: Any, expert: int) -> Tensor:
    """Return the weight of the last layer of an expert, a view: hidden x neurons."""
    weight: Tensor = module.down_proj[expert]
    return weight.T if _is_transposed(module) else weight


def _has_form_of_llama4(module: Any) -> bool:
    """Return whether a module gets all tokens once for each expert."""
    return (
        not hasattr(module, "has_gate")
        and not _arguments(module)
        and all(hasattr(module, x) for x in ("gate_up_proj", "down_proj", "act_fn"))
        and module.gate_up_proj.shape[2] == 2 * module.down_proj.shape[1]
    )


def _first_layer(module: Any) -> tuple[str, bool]:
    """Return the name of the first layer of experts, and whether it has gates."""
    is_gated = getattr(module, "has_gate", True)
    return "gate_up_proj" if is_gated else "up_proj", is_gated


def _is_transposed(module: Any) -> bool:
    return bool(getattr(module, "is_transposed", True))  # Llama 4 does not say it


def hide_removed_experts(model: PreTrainedModel) -> None:
    """Let the routers of a model never choose an expert whose row is zero.

    The model then computes the same as without these experts.
    """
    for experts in experts_of(model):
        choice = model.get_submodule(experts.choice)
        if getattr(choice, "hides_removed", False):
            continue
        choice.hides_removed = True
        mask = _RouterMask(model, experts)
        choice.register_forward_pre_hook(mask.enter)
        choice.register_forward_hook(mask.leave, always_call=True)


class _RouterMask(TorchFunctionMode):
    """Takes removed experts out of the choice of a router, while it makes that.

    Their logits become minus infinity, and numbers that are added to scores so low that
    no other score is lower.
    """

    def __init__(self, model: PreTrainedModel, experts: Experts) -> None:
        super().__init__()
        self._router = model.get_submodule(experts.router)
        row = next(x.name for x in experts.tensors if x.module == experts.router)
        self._row = row.rpartition(".")[2]
        self._removed = torch.zeros(0, dtype=torch.bool)
        # Numbers of the router beside its weight, such as a bias of the scores.
        self._scores = [
            (model.get_submodule(x.module), x.name.rpartition(".")[2])
            for x in experts.tensors
            if x.module != experts.module
        ]
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._is_active = self._has_masked = False

    def enter(self, *_: object) -> None:
        """Take the zero rows of the router out of its choice until `leave`."""
        weight = getattr(self._router, self._row).detach()
        self._removed = (weight == 0).all(dim=1)
        self._is_active = bool(self._removed.any() and not self._removed.all())
        if not self._is_active:
            return
        for module, name in self._scores:
            numbers = getattr(module, name).data
            if numbers.numel() == len(self._removed):
                self._kept.append((numbers, numbers.clone()))
                numbers.view(-1)[self._removed] = _NEVER
        self._has_masked = False
        self.__enter__()

    def leave(self, _: nn.Module, __: object, output: object) -> None:
        """Let functions compute as usual, with the numbers as they were."""
        if not self._is_active:
            return
        self._is_active = False
        self.__exit__(None, None, None)
        for numbers, before in self._kept:
            numbers.copy_(before)
        self._kept.clear()
        if output is not None and not self._has_masked:
            raise RuntimeError("The router computes its logits in an unknown way.")

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS and result.shape[-1] == len(self._removed):
            self._has_masked = True
            result = result.masked_fill(self._removed, -torch.inf)
        return result
