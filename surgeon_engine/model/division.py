"""Divide the layers of an attention or MLP among its heads or neurons, or say why not.

The model states its numbers of heads; shapes and other parameters of the module show
whether they belong together as a rule in `families.py` says.

Mixers with a state of fixed size have heads, too. A gated delta rule is divided by the
heads of its keys; each has some heads of values, with their gates and with channels of
the convolution. A group of a Mamba 2 mixer has the heads that share the vectors B and
C, which write to the state and read from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig

from surgeon_engine.api.config.pruning import Coupling, display_name
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.known_layers import PARAMETERS
from surgeon_engine.model.layers import LINEAR, PrunableLayer
from surgeon_engine.model.rules import CouplingRule, Part, ProducerRows

_NORM_OF_EACH_HEAD = re.compile(r"(q|k|v|qk|query|key|value)_")  # prefix of its name


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A rule, and the module of a block that has its layers."""

    rule: CouplingRule
    path: str  # name of the module inside the block; "": the block itself
    module: Any
    layers: Mapping[str, PrunableLayer]  # layers of the block, by their names inside it
    config: PretrainedConfig

    def name(self, layer: str) -> str:
        """Return the name inside the block of a layer of the rule."""
        return f"{self.path}.{layer}" if self.path else layer

    def layer(self, name: str) -> PrunableLayer:
        """Return a layer of the rule."""
        return self.layers[self.name(name)]

    @property
    def consumer(self) -> PrunableLayer:
        """The consumer of the rule."""
        return self.layer(self.rule.consumer)


@dataclass(frozen=True, slots=True)
class Division:
    """The number of groups, and the number of rows of each part in one group."""

    groups: int
    rows: Mapping[Part, int]
    cached: int = 0  # numbers that a token adds to the keys and values of the module


def heads_of(match: Match) -> Division:
    """Divide an attention among its key and value heads.

    Raises:
        PruningError: Its heads depend on each other.
    """
    consumer = match.consumer
    heads, shared = _head_counts(match)
    if not heads:
        raise PruningError(
            "The model does not state how many heads feed {consumer}.",
            consumer=consumer.name,
        )
    if heads % shared or consumer.columns % heads:
        raise PruningError(
            "The {columns:,} columns of {consumer} cannot be divided into {heads} "
            "heads with {shared} key and value heads.",
            columns=consumer.columns,
            consumer=consumer.name,
            heads=heads,
            shared=shared,
        )
    if shared == 1:
        raise PruningError(
            "All {heads} query heads of a block share one key and value head, and "
            "the last group of a block is always kept: there are no heads to "
            "remove.",
            heads=heads,
        )
    size = consumer.columns // heads
    _check_not_read_elsewhere(match)
    _check_heads_are_separate(match, size, {heads, shared})
    queries = heads // shared
    rows = {
        Part.HEAD: queries,
        Part.QUERY: queries * size,
        Part.KEY: size,
        Part.VALUE: size,
        Part.GATE: queries * _gate_size(match, heads, size),
    }
    return Division(shared, rows, shared * 2 * size)


def latent_heads_of(match: Match) -> Division:
    """Divide an attention with latent keys and values among its heads.

    Raises:
        PruningError: They depend on each other.
    """
    module = match.module
    heads, size = int(module.num_heads), int(module.v_head_dim)
    _check_heads_are_separate(match, size, {heads})
    rows = {
        Part.QUERY: int(module.qk_head_dim),
        Part.KEY: int(module.qk_nope_head_dim),
        Part.VALUE: size,
    }
    return Division(
        heads, rows, int(module.kv_lora_rank) + int(module.qk_rope_head_dim)
    )


def delta_heads_of(match: Match) -> Division:
    """Divide a gated delta rule among the heads of its keys.

    Raises:
        PruningError: They depend on each other.
    """
    module = match.module
    keys, values = int(module.num_k_heads), int(module.num_v_heads)
    _check_several(keys, match)
    _check_heads_are_separate(match, int(module.head_v_dim), {keys, values})
    heads = values // keys
    rows = {
        Part.QUERY: int(module.head_k_dim),
        Part.KEY: int(module.head_k_dim),
        Part.VALUE: heads * int(module.head_v_dim),
        Part.GATE: heads * int(module.head_v_dim),
        Part.HEAD: heads,
    }
    return Division(keys, rows)


def mamba_groups_of(match: Match) -> Division:
    """Divide a Mamba 2 mixer among its groups of heads.

    Raises:
        PruningError: They depend on each other.
    """
    module = match.module
    heads, groups = int(module.num_heads), int(module.n_groups)
    values = int(module.intermediate_size)
    _check_norm_of_each_group(match)
    _check_several(groups, match)
    for name, buffer in module.named_buffers():
        if buffer.numel() > 1:
            raise _features_error(match.name(name), buffer.numel())
    _check_heads_are_separate(match, values // groups, {heads, groups})
    rows = {
        Part.GATE: values // groups,
        Part.VALUE: values // groups,
        Part.STATE: int(module.ssm_state_size),
        Part.HEAD: heads // groups,
    }
    return Division(groups, rows)


def _check_norm_of_each_group(match: Match) -> None:
    """Check that the norm of the output, if there is one, spans a single group."""
    module = match.module
    norm, values = getattr(module, "norm", None), int(module.intermediate_size)
    if not hasattr(norm, "weight"):
        return
    size = int(getattr(norm, "group_size", values))
    if module.n_groups == 1 or size * module.n_groups != values:
        raise _joint_norm_error(match.name("norm"), size, int(module.head_dim))


def _check_several(groups: int, match: Match) -> None:
    if groups < 2:
        raise PruningError(
            "All heads of {module} are one group, and the last group of a block is "
            "always kept: there are no heads to remove.",
            module=match.path,
        )


def _head_counts(match: Match) -> tuple[int, int]:
    """Return the numbers of query heads, and of key and value heads, of a block.

    Blocks may differ: the size of a head, if a module states it, decides.
    """
    heads = _stated_number(match, "num_heads", "num_attention_heads")
    names = ("num_key_value_heads", "num_kv_heads", "kv_heads")
    shared = _stated_number(match, *names)
    size = getattr(match.module, "head_dim", None)
    keys = [rows.layer for rows in match.rule.producers if rows.parts == (Part.KEY,)]
    if keys and isinstance(size, int):
        consumer = match.consumer
        key = match.layer(keys[0])
        if consumer.columns % size == key.rows % size == 0:
            return consumer.columns // size, key.rows // size
    return heads, shared or heads


def _gate_size(match: Match, heads: int, size: int) -> int:
    """Return how many rows of a layer for gates a query head has: one or its size."""
    for rows in match.rule.producers:
        layer = match.layer(rows.layer)
        if rows.parts == (Part.GATE,) and layer.rows == heads:
            return 1
    return size


def _check_not_read_elsewhere(match: Match) -> None:
    """Check that no later block reads the keys and values of this one."""
    writes = getattr(match.module, "store_full_length_kv", None)
    readers = getattr(match.config, "num_kv_shared_layers", None)
    if writes if readers is None else readers and writes is not False:
        raise PruningError(
            "Later blocks read the keys and values that feed {consumer}: without "
            "one head they would change.",
            consumer=match.consumer.name,
        )


def neurons_of(match: Match) -> Division:
    """Divide an MLP among its neurons.

    Raises:
        PruningError: Its neurons depend on each other.
    """
    neurons = match.consumer.columns
    if match.path:
        if getattr(match.module, "activation_sparsity", 0):
            raise PruningError(
                "MLPs of this architecture keep the neurons with the largest values: "
                "without one neuron others would change."
            )
        _check_no_joint_norm(match, 1, Coupling.NEURONS)
        _check_neuron_parameters(match, neurons)
    return Division(neurons, {Part.GATE: 1, Part.UP: 1})


def _stated_number(match: Match, *names: str) -> int:
    """Return the first of `names` that the module or else the config states, or 0."""
    for owner in (match.module, match.config):
        for name in names:
            try:
                value = getattr(owner, name, None)
            except RuntimeError:
                continue  # the config has a value for each block
            if isinstance(value, int):
                return value
    return 0


def own_parameters(match: Match) -> Iterator[tuple[ProducerRows, nn.Parameter]]:
    """Yield the parameters of a module whose entries belong to its groups."""
    parameters = dict(match.module.named_parameters())
    for rows in (*match.rule.parameters, *PARAMETERS) if match.path else ():
        if rows.layer in parameters:
            yield rows, parameters[rows.layer]


def _check_heads_are_separate(match: Match, size: int, heads: set[int]) -> None:
    """Check that no norm spans several heads, and no unknown parameter is of one.

    The weight of a norm that all heads share may have the length of their number: it is
    as long as a head is wide. A head has `size` features; `heads` are the numbers of
    heads of all kinds.
    """
    _check_no_joint_norm(match, size, Coupling.HEADS)
    features = {count * size for count in heads}
    for path, module, name, parameter in _other_parameters(match):
        is_norm = "norm" in type(module).__name__.lower()
        is_shared = path != match.path and parameter.ndim == 1 and is_norm
        if is_shared and len(parameter) <= size:
            continue
        for count in parameter.shape:
            if count in heads:
                raise _parameters_error(f"{path}.{name}", count, Coupling.HEADS)
            if count in features:
                raise _features_error(f"{path}.{name}", count)


def _check_neuron_parameters(match: Match, neurons: int) -> None:
    """Check that no unknown parameters belong to single neurons.

    A norm without parameters normalizes all neurons together.
    """
    for path, module in _other_modules(match):
        if _has_no_weight(module):
            raise PruningError(
                "{path} normalizes all neurons together: without one the others "
                "would change.",
                path=path,
            )
    for path, _, name, parameter in _other_parameters(match):
        if neurons in parameter.shape:
            raise _parameters_error(f"{path}.{name}", neurons, Coupling.NEURONS)


def _features_error(path: str, count: int) -> PruningError:
    """Return the error for unknown parameters of the features of all heads."""
    return PruningError(
        "{path} has parameters for each of {count:,} features of the heads, "
        "which cannot be removed with them.",
        path=path,
        count=count,
    )


def _parameters_error(path: str, count: int, kind: Coupling) -> PruningError:
    return PruningError(
        "{path} has parameters for each of {count:,} {kind}, which cannot be "
        "removed with them.",
        path=path,
        count=count,
        kind=display_name(kind),
    )


def _check_no_joint_norm(match: Match, size: int, kind: Coupling) -> None:
    """Check that no norm spans several groups, which would depend on each other.

    A norm without a weight normalizes each head if it is of queries, keys or values.
    """
    known = _known_parameters(match)
    for path, module in _other_modules(match):
        weight = getattr(module, "weight", None)
        width = 0
        if f"{path}.weight" in known:
            continue
        if isinstance(weight, Tensor) and weight.ndim:
            width = weight.shape[-1]
        elif kind is Coupling.HEADS and _has_no_weight(module):
            name = path.rpartition(".")[2]
            if not _NORM_OF_EACH_HEAD.match(name):
                width = match.consumer.columns
        if width > size:
            if kind is Coupling.HEADS:
                raise _joint_norm_error(path, width, size)
            raise PruningError(
                "{path} normalizes {width:,} neurons together: without one the "
                "others would change.",
                path=path,
                width=width,
            )


def _joint_norm_error(path: str, width: int, size: int) -> PruningError:
    """Return the error for a norm of `width` features, though a head has `size`."""
    return PruningError(
        "{path} normalizes {width:,} features together, not the {size:,} "
        "of one head alone: without one head the others would change.",
        path=path,
        width=width,
        size=size,
    )


def _has_no_weight(module: nn.Module) -> bool:
    """Return whether a module is a norm without parameters."""
    is_norm = "norm" in type(module).__name__.lower()
    return is_norm and not [*module.parameters(), *module.children()]


def _other_parameters(
    match: Match,
) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield the parameters that no rule divides, with paths."""
    known = _known_parameters(match)
    for path, module in _other_modules(match):
        for name, parameter in module.named_parameters(recurse=False):
            if ".".join(filter(None, (path, name))) not in known:
                yield path, module, name, parameter


def _known_parameters(match: Match) -> set[str]:
    """Return the names inside the block of parameters that a rule names."""
    own = [rows.layer for rows, _ in own_parameters(match)]
    return {match.name(name) for name in (*own, *match.rule.whole)}


def _other_modules(match: Match) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of an attention or MLP other than linear layers, with paths.

    Modules beside a consumer in a module of its own are left out: they read its output.
    """
    behind = match.rule.consumer.rpartition(".")[0] or "-"
    for name, module in match.module.named_modules():
        if not (isinstance(module, LINEAR) or f"{name}.".startswith(f"{behind}.")):
            yield ".".join(filter(None, (match.path, name))), module
