"""Describe a model from its config and the headers of its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from surgeon_engine.api.config.pruning import Coupling, Widths
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.sources import (
    CoupledSummary,
    LayerSummary,
    ModelInspected,
    ModelSummary,
    NotLoaded,
)
from surgeon_engine.api.model_info.files import read_tensors
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.classes import model_class
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.coupling import groups_of, structure_support
from surgeon_engine.model.experts import has_experts
from surgeon_engine.model.families import family_of
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.gguf_config import check_tensors
from surgeon_engine.model.gguf_parsing import parsed_once
from surgeon_engine.model.layers import (
    PrunableLayer,
    blocks_path,
    body_of,
    find_blocks,
    head_size,
    language_model_of,
    prunable_layers,
)
from surgeon_engine.model.sinks import heads_of, score_heads
from surgeon_engine.model.source import (
    INCOMPLETE_FILES,
    UNREADABLE,
    ModelSource,
    first_line,
    locate,
    own_reading,
    read_generation_config,
    read_model_config,
)
from surgeon_engine.model.stored_tensors import has_mxfp4, held_numbers, stored_dtype
from surgeon_engine.model.tokenizer import no_tokenizer, tokenizer_bytes
from surgeon_engine.model.vocabulary.dimensions import parameters_per_token
from surgeon_engine.runtime import devices

_MAX_RATIO = 2  # parameters per number in the files


@dataclass(frozen=True, slots=True)
class InspectedSource:
    """The files of a model that can be pruned, and its summary from their headers."""

    source: ModelSource
    stored: torch.dtype | None  # dtype of the weights in the files; None: quantized
    summary: ModelSummary


def inspect_source(config: ModelConfig) -> InspectedSource:
    """Find the files of the model and describe it without reading its weights.

    Raises:
        ModelError: it cannot be found, read or pruned.
    """
    source, summary = locate(config.source), inspect_model(config).model
    stored = getattr(torch, summary.dtype) if summary.dtype else None
    return InspectedSource(source, stored, summary)


def describe_files(config: ModelConfig) -> ModelInspected:
    """Describe the model; `inspect_model` calls this in a process of its own.

    Raises:
        ModelError: it cannot be found, read or pruned.
    """
    source = locate(config.source)
    with parsed_once():
        model_config = read_model_config(source)
        try:
            with torch.device("meta"):
                model = model_class(model_config)._from_config(model_config)
            if source.gguf_file and own_reading(source) is None:
                check_tensors(source.weight_files[0], model)
        except UNREADABLE as error:
            raise ModelError(
                "transformers cannot build {source}: {reason:clause}.",
                "Choose a decoder-only model that transformers knows.",
                source=source.name,
                reason=first_line(error),
            ) from error
        _check_runs_alone(model, source)
        stored = stored_dtype(source)
        _check_numbers(model, source)
    _check_generation(source)
    return ModelInspected(describe(model, source, stored))


def _check_runs_alone(model: PreTrainedModel, source: ModelSource) -> None:
    """Check that a model does not read the keys and values of another one."""
    if "shared_kv_states" in signature(model.forward).parameters:
        raise ModelError(
            "{source} drafts tokens for another model, whose keys and values it "
            "reads: it cannot run alone.",
            "Choose a model that continues text.",
            source=source.name,
        )


def _check_numbers(model: PreTrainedModel, source: ModelSource) -> None:
    """Check that the files hold about as many numbers as the model has parameters.

    transformers would draw the others at random, which may take hours. Where a few are
    missing, the loading of the model says which.
    """
    needed = sum(parameter.numel() for parameter in model.parameters())
    held = held_numbers(source)
    if needed > _MAX_RATIO * held:
        raise ModelError(
            "The files of {source} do not match its config: they hold {held:,} "
            "numbers, and the model has {needed:,} parameters.",
            INCOMPLETE_FILES,
            source=source.name,
            held=held,
            needed=needed,
        )


def _check_generation(source: ModelSource) -> None:
    """Check that transformers can read the options for writing text, if any."""
    try:
        read_generation_config(source)
    except UNREADABLE as error:
        raise ModelError(
            "{file} of {source} cannot be used: {reason:clause}.",
            "Download this file again, or delete it: a model can be pruned without it.",
            file=GENERATION_CONFIG_NAME,
            source=source.name,
            reason=first_line(error),
        ) from error


def _cache_width(
    config: PretrainedConfig,
    coupled: Sequence[CoupledGroups],
    layers: Sequence[PrunableLayer],
) -> int:
    """Return how many numbers a token adds to the keys and values of all blocks.

    In a block that stays whole, the names of its layers decide; in a model, the config.
    """
    known = {each.consumer.block for each in coupled if each.kind is Coupling.HEADS}
    if known:
        whole = [
            layer.rows
            for layer in layers
            if layer.block not in known
            and layer.kind.rpartition(".")[2] in ("k_proj", "v_proj")
        ]
        return sum(each.cached for each in coupled) + sum(whole)
    shared = getattr(config, "num_kv_shared_layers", 0) or 0  # the last ones
    own = config.num_hidden_layers - shared
    configs = getattr(config, "per_layer_config", None) or [config] * own
    return 2 * sum(map(_key_width, configs[:own]))


def _key_width(config: PretrainedConfig) -> int:
    """Return the width of the keys of a block; 0: it has no attention."""
    names = ("num_key_value_heads", "num_attention_heads")
    count = next((x for name in names if (x := getattr(config, name, None))), 0)
    # Falcon's new architecture has groups of heads, whatever this setting says.
    is_grouped = getattr(config, "new_decoder_architecture", False)
    if getattr(config, "multi_query", False) and not is_grouped:
        count = 1
    return int(count) * head_size(config) if count else 0


def _window_blocks(config: PretrainedConfig) -> tuple[int, ...]:
    """Return the blocks whose attention has a sliding window.

    Only the blocks that the config lists: programs ignore a window of all blocks, as in
    the first Mistral.
    """
    kinds = getattr(config, "layer_types", None) or ()
    return tuple(n for n, kind in enumerate(kinds) if kind == "sliding_attention")


def _gguf_widths(model: PreTrainedModel) -> Widths | None:
    """Return whether blocks of a GGUF file may differ; None: there is no such file."""
    architectures = family_of(model.config.get_text_config().model_type).gguf
    if not architectures:
        return None
    is_free = any(each.own_widths for each in architectures)
    # No architecture has a number of experts for each block.
    return Widths.FREE if is_free and not has_experts(model) else Widths.SAME


def _not_loaded(model: PreTrainedModel, source: ModelSource) -> NotLoaded | None:
    """Return weights in files that a model leaves out; None: there are none.

    Its class ignores them, or they are of blocks that its config does not count.
    """
    if source.gguf_file:
        return None
    patterns = [re.compile(x) for x in model._keys_to_ignore_on_load_unexpected or ()]
    numbered = re.compile(rf"{re.escape(blocks_path(model))}\.(\d+)\.")
    count = len(find_blocks(model))

    def is_left_out(name: str) -> bool:
        block = numbered.match(name)
        is_beyond = block is not None and int(block[1]) >= count
        return is_beyond or any(x.search(name) for x in patterns)

    sizes = {
        name: size
        for path in source.weight_files
        for name, (_, size) in read_tensors(path).items()
        if name.endswith(".weight") and is_left_out(name)
    }
    parts = tuple(dict.fromkeys(map(_module_of, sizes)))
    return NotLoaded(parts, sum(sizes.values())) if parts else None


def _other_parameters(model: PreTrainedModel) -> int:
    """Return how many parameters are outside the language model."""
    if model.config.get_text_config() is model.config:
        return 0
    head = language_model_of(model).get_output_embeddings()
    parts = (body_of(model), head)
    inside = {id(p) for part in parts if part is not None for p in part.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in inside)


def _token_parameters(model: PreTrainedModel) -> int:
    """Return the parameters that a model loses with a token; 0: it has to keep all."""
    try:
        return parameters_per_token(model)
    except ModelError:
        return 0


def _module_of(name: str) -> str:
    """Return the first module in a name, or the block if it is numbered."""
    found = re.match(r"model(\.[^.\d]+)*\.\d+", name)
    return found[0] if found else name.partition(".")[0]


def _neurons_of(groups: CoupledGroups | None) -> tuple[int, int]:
    """Return the number of neurons of each expert, and the weights of one."""
    if groups is None:
        return 0, 0
    return groups.groups, groups.weights_per_group // groups.consumer.columns


def describe(
    model: PreTrainedModel, source: ModelSource, stored: torch.dtype | None = None
) -> ModelSummary:
    """Describe `model`, which may be without weights (on the meta device)."""
    layers = prunable_layers(model)
    inner = {x.consumer.name: x for x in groups_of(Coupling.EXPERT_NEURONS, model)}
    kinds = [kind for kind in Coupling if kind is not Coupling.EXPERT_NEURONS]
    coupled = [each for kind in kinds for each in groups_of(kind, model)]
    couplings = {each.consumer.name: each.kind.value for each in coupled}
    config = model.config.get_text_config()
    window_blocks = _window_blocks(config)
    return ModelSummary(
        name=source.name,
        source=str(source.folder / (source.gguf_file or "")),
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        prunable=sum(layer.weights for layer in layers),
        blocks=len(find_blocks(model)),
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        longest_window=max(0, getattr(config, "max_position_embeddings", None) or 0),
        file_bytes=sum(path.stat().st_size for path in source.weight_files),
        layers=tuple(
            LayerSummary(
                layer.name,
                layer.block,
                layer.kind,
                layer.rows,
                layer.columns,
                layer.weights,
                couplings.get(layer.name, ""),
            )
            for layer in layers
        ),
        structures=structure_support(model),
        dtype="" if stored is None else devices.name_of(stored),
        coupled=tuple(
            CoupledSummary(
                each.kind,
                (each.consumer.name, *(p.layer.name for p in each.producers)),
                each.groups,
                each.least,
                each.classes,
                each.chosen,
                *_neurons_of(inner.get(each.consumer.name)),
            )
            for each in coupled
        ),
        cache_width=_cache_width(config, coupled, layers),
        window_blocks=window_blocks,
        attention_window=config.sliding_window if window_blocks else 0,
        gguf_widths=_gguf_widths(model),
        fills_shared=any(x.counts_shared for x in family_of(config.model_type).gguf),
        tokenizer_bytes=tokenizer_bytes(source),
        tokenizer_problem=no_tokenizer(source),
        not_loaded=_not_loaded(model, source),
        other_parameters=_other_parameters(model),
        token_parameters=_token_parameters(model),
        has_mxfp4=has_mxfp4(source),
        heads=heads_of(model),
        score_heads=score_heads(model),
    )
