"""Load a model with its tokenizer and its prunable layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.config.run import ModelConfig, Offload
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.model import offload
from surgeon_engine.model.block_loading import has_own_blocks, load_in_blocks
from surgeon_engine.model.block_runner import share_chain
from surgeon_engine.model.classes import model_class
from surgeon_engine.model.experts import has_experts, hide_removed_experts
from surgeon_engine.model.gguf_parsing import parsed_once
from surgeon_engine.model.identity import FileStamp, check_same, identity_of, stamps_of
from surgeon_engine.model.inspect import InspectedSource, inspect_source
from surgeon_engine.model.layers import PrunableLayer, find_blocks, prunable_layers
from surgeon_engine.model.quantized_files import (
    plain_arguments,
    plain_tensors,
    transposed_weights,
)
from surgeon_engine.model.sinks import fuse_sinks
from surgeon_engine.model.source import (
    INCOMPLETE_FILES,
    UNREADABLE,
    ModelSource,
    first_line,
    own_reading,
    read_model_config,
)
from surgeon_engine.model.stored_tensors import stored_dtypes
from surgeon_engine.model.tokenizer import kept_tokenizer, tokenizer_problem
from surgeon_engine.planning.constants import HOST_SHARE
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.failures import is_out_of_memory

# Options of a config that change the outputs of a model, not its numbers.
_PLAIN_OUTPUTS = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A loaded model that can be pruned."""

    source: ModelSource
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None  # None: the folder has none
    stored: torch.dtype | None  # dtype in the original's files; None: quantized
    tokenizer_problem: str = ""  # why there is no tokenizer
    files: tuple[FileStamp, ...] = ()  # files that were read
    # By the names of the tensors in the original's files.
    stored_dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    # The numbers of its tokens in the files, ascending; None: it has all of them.
    kept_tokens: Tensor | None = None

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The decoder blocks in order."""
        return find_blocks(self.model)

    @cached_property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The linear layers and the experts of all blocks."""
        return prunable_layers(self.model)

    @property
    def identity(self) -> dict[str, str]:
        """The SHA-256 of each file that was read, by its name.

        Raises:
            ModelError: A file has changed since.
        """
        return identity_of(self.files)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device


def load_model(
    config: ModelConfig,
    inspected: InspectedSource | None = None,
    *,
    with_tokenizer: bool = True,
) -> LoadedModel:
    """Load the model that `config` names, frozen, in evaluation mode, on its device.

    With `inspected`, the result of `inspect_source(config)`, the model is not located
    and checked again.

    Raises:
        ModelError: it cannot be found, read or pruned.
    """
    with parsed_once():
        inspected = inspected or inspect_source(config)
        source, stored = inspected.source, inspected.stored
        files = stamps_of(source)
        problem = "It was not loaded."
        if with_tokenizer:
            problem = ranks.agree(lambda: tokenizer_problem(source))
        tokenizer = None if problem else kept_tokenizer(source)
        loaded = _load(config, source, tokenizer, stored)
        dtypes = stored_dtypes(source)
    return replace(loaded, tokenizer_problem=problem, files=files, stored_dtypes=dtypes)


def load_original(config: ModelConfig, pruned: LoadedModel) -> LoadedModel:
    """Load the model that `config` names, from which `pruned` was made.

    On an accelerator its blocks are offloaded: each is needed a few times, and there is
    seldom room for both models. What both have in common besides is there once.

    Raises:
        ModelError: it cannot be read again, or is another one now.
    """
    if stamps_of(pruned.source) != pruned.files:
        check_same(pruned.identity, identity_of(stamps_of(pruned.source)))
    if pruned.device.type != "cpu":
        config = replace(config, offload=Offload.ON)
    with parsed_once():
        tokenizer = pruned.tokenizer
        if pruned.kept_tokens is not None:
            tokenizer = kept_tokenizer(pruned.source)
        original = _load(config, pruned.source, tokenizer, pruned.stored)
    _share(original, pruned)
    share_chain(pruned.model, original.model, original.blocks)
    return original


def _share(original: LoadedModel, pruned: LoadedModel) -> None:
    """Let the original share equal weights outside the blocks with the pruned model."""
    of_blocks = {id(p) for block in original.blocks for p in block.parameters()}
    others = dict(pruned.model.named_parameters())
    for name, parameter in original.model.named_parameters():
        other = others.get(name)
        if id(parameter) in of_blocks or other is None:
            continue
        if parameter.dtype == other.dtype and torch.equal(parameter, other):
            offload.set_data(parameter, other.data)


def _load(
    config: ModelConfig,
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase | None,
    stored: torch.dtype | None,
) -> LoadedModel:
    """Load the weights of a model that has been checked."""
    device = devices.choose(config.device)
    try:
        model, found = _read(source, config, device, stored)
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            "The weights of {source} cannot be loaded: {reason:clause}.",
            INCOMPLETE_FILES,
            source=source.name,
            reason=first_line(error),
        ) from error
    _check_complete(source.name, found)
    _check_finite(source.name, model)
    for each in (model.config, model.config.get_text_config()):
        for option, value in _PLAIN_OUTPUTS.items():
            setattr(each, option, value)
    if hasattr(model, "hf_quantizer"):
        # The weights are dequantized by now; without this the model cannot be saved.
        model.hf_quantizer.remove_quantization_config(model)
    model.requires_grad_(False)
    model.eval()
    hide_removed_experts(model)
    fuse_sinks(model)
    blocks = find_blocks(model)
    if config.offload is Offload.ON:
        in_files = _stays_in_files(model, device)
        offload.OffloadedBlocks(model, blocks, device, in_files=in_files)
    else:
        model.to(device)
    return LoadedModel(source, model, tokenizer, stored)


def _stays_in_files(model: PreTrainedModel, device: torch.device) -> bool:
    """Return whether the weights of offloaded blocks are in files, not in memory."""
    size = sum(devices.size_on_host(p, device) for p in model.parameters())
    is_short = size > HOST_SHARE * devices.free_host_memory()
    return device.type == "cpu" or is_short


def _read(
    source: ModelSource,
    model_config: ModelConfig,
    device: torch.device,
    stored: torch.dtype | None,
) -> tuple[PreTrainedModel, Any]:
    """Return a model with its weights, and the loading info of transformers."""
    config, dtype = read_model_config(source), devices.dtype_of(model_config.dtype)
    if model_config.offload is Offload.ON and not source.gguf_file:
        with torch.device("meta"):
            empty = model_class(config)._from_config(config, dtype=dtype)
        # Otherwise weights are the files themselves, which the system maps into memory.
        is_computed = stored is not dtype or has_experts(empty)
        is_short = is_computed and _stays_in_files(empty, device)
        if is_short and has_own_blocks(empty):
            return load_in_blocks(source, config, empty)
    arguments = {
        "dtype": dtype,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # `_check_complete` names them
    }
    read = model_class(config).from_pretrained
    if own := own_reading(source):
        return read(None, state_dict=dict(own.tensors), config=config, **arguments)
    if source.gguf_file:
        arguments["config"] = config
    if source.quantization is None:
        return read(source.folder, **arguments, **source.arguments)
    arguments |= plain_arguments(config, source)
    with torch.device("meta"):
        transposed = transposed_weights(model_class(config)._from_config(config))
    with plain_tensors(source, transposed) as tensors:
        return read(None, state_dict=tensors, **arguments)


def _check_complete(name: str, found: dict[str, Any]) -> None:
    """Check that no tensor is missing, which transformers would initialize randomly."""
    for key, problem in (
        ("missing_keys", say("missing")),
        ("mismatched_keys", say("of another shape")),
    ):
        keys: list[Any] = sorted(found.get(key) or ())
        if keys:
            raise ModelError(
                "The files of {name} do not match its config: {count:,} tensors "
                "are {problem}, such as {first}.",
                INCOMPLETE_FILES,
                name=name,
                count=len(keys),
                problem=problem,
                first=keys[0] if isinstance(keys[0], str) else keys[0][0],
            )


def _check_finite(name: str, model: PreTrainedModel) -> None:
    """Check that no weight is NaN or infinite; one pass over them."""
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.numel():
            lowest, highest = parameter.aminmax()  # NaN if one number is
            if not (lowest.isfinite() and highest.isfinite()):
                count = int((~parameter.isfinite()).sum())
                raise ModelError(
                    "{count:,} of {parameter:,} weights of {key} in {name} are "
                    "not finite (NaN or infinite).",
                    "The files may be damaged: download them again.",
                    count=count,
                    parameter=parameter.numel(),
                    key=key,
                    name=name,
                )
