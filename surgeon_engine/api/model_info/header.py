"""Read the facts about a model from its config and the headers of its files.

Only the standard library is used and a few kilobytes are read, so that the window can
describe a model before the engine is ready. Kinds of model that cannot be pruned are
detected here, with the engine's messages; all other checks are made by the engine.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from surgeon_engine.api.model_info.files import (
    count_numbers,
    find_weight_files,
    gguf_of,
    read_options,
)
from surgeon_engine.api.model_info.gguf_header import (
    SOURCES,
    open_model,
    read_gguf_header,
)
from surgeon_engine.api.model_info.quantization import quantization_of
from surgeon_engine.api.model_info.source_names import DEMO, hub_name, is_hub_source
from surgeon_engine.base.errors import EngineError, ModelError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import Text

# The plan in the folder of a pruned checkpoint. It is in the format of safetensors, but
# programs such as vLLM load every file with that suffix as weights.
PLAN_FILE = "kept.indices"

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# The number formats of GGUF files by their numbers; (): 0, or a number not in use.
_NAMES = """
    () F16 Q4_0 Q4_1 () () () Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M
    Q5_K_S Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M
    IQ2_S IQ2_M IQ4_XS IQ1_M BF16 () () () TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0
"""
FILE_TYPES = {n: name.strip("()") for n, name in enumerate(_NAMES.split())}
# The names under which configs state how many experts a token has.
EXPERTS_PER_TOKEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_k",
    "moe_topk",
    "top_k_experts",
    "top_k",
)
# Sizes in configs beyond which a model would take hours or the whole memory to build.
MAX_SIZES = {
    "num_hidden_layers": 1_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 10_000_000,
    "num_attention_heads": 100_000,
    "vocab_size": 100_000_000,
    "max_position_embeddings": 1_000_000_000,
}
_DECODER = re.compile(r"ForCausalLM|LMHead|Decoder$")
# A language model and others.
_OF_PARTS = re.compile(
    "ForConditionalGeneration|ForVisionText2Text|ForProteinText2Text|^NemotronH_"
)
# The template follows the lists of the tokenizer, which have up to so many bytes.
_TEMPLATE_KEY, _MAX_TOKENIZER_BYTES = b"tokenizer.chat_template", 32_000_000
_BLOCKS = ("num_hidden_layers", "n_layer", "num_layers")
_HIDDEN_SIZE = ("hidden_size", "n_embd", "d_model")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
_SHARED_SIZE = ("shared_expert_intermediate_size", "shared_intermediate_size")
_DENSE_BLOCKS = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
_INTERVAL = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval")
_MAX_EXPERTS = 100_000


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts from the files of a model; unknown ones are empty or 0."""

    name: str
    architecture: str = ""
    parameters: int = 0
    blocks: int = 0
    hidden_size: int = 0
    vocabulary: int = 0
    longest_window: int = 0
    dtype: str = ""
    file_bytes: int = 0
    experts: int = 0  # per block
    problem: Text = ""  # why it cannot be pruned
    hint: Text = ""


@dataclass(frozen=True, slots=True)
class MixtureSizes:
    """The sizes of the mixtures of experts in a decoder."""

    experts: int  # per block
    chosen: int  # experts per token
    intermediate_size: int  # width of an expert
    shared_size: int = 0  # width of the MLP beside them, which all tokens use
    dense_blocks: int = 0  # blocks before the first mixture
    interval: int = 1  # from one block with a mixture to the next

    def is_in(self, block: int) -> bool:
        """Return whether a block has a mixture in place of an MLP."""
        return block >= self.dense_blocks and (block + 1) % self.interval == 0


@dataclass(frozen=True, slots=True)
class DecoderSizes:
    """The sizes in a config from which the shapes of a decoder's layers follow."""

    blocks: int
    hidden_size: int
    intermediate_size: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    mixture: MixtureSizes | None = None  # None: it has no experts


def model_facts(source: str) -> ModelFacts | None:
    """Return the facts about the model that `source` names; None if it is missing."""
    name = hub_name(source)
    if name is not None:
        return None if name.snapshot is None else _facts(name.short, name.snapshot)
    if is_hub_source(source):
        return None
    if source == DEMO:
        return _facts("Demo", Path(str(files("surgeon_resources"))) / "demo")
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        folder = path.resolve().name
        if gguf := gguf_of(path):
            return replace(_gguf_facts(gguf), name=folder)
        return _facts(folder, path)
    if os.path.isfile(path):
        return _gguf_facts(path)
    return None


def local_path(source: str) -> Path | None:
    """Return the path of `source`; None if it is missing or part of Surgeon."""
    if source == DEMO:
        return None
    if is_hub_source(source):
        name = hub_name(source)
        return None if name is None else name.snapshot
    return Path(os.path.expanduser(source)).absolute()


def has_chat_template(source: str) -> bool | None:
    """Return whether the files of a model show a template for chats.

    None if they are missing or cannot be read.
    """
    path = local_path(source)
    if path is None:
        return None
    try:
        if path.is_dir():
            path = gguf_of(path) or path
        if not path.is_dir():
            with open_model(path) as file:
                return _TEMPLATE_KEY in file.read(_MAX_TOKENIZER_BYTES)
        if (path / "chat_template.jinja").is_file():
            return True
        return '"chat_template"' in read_text(path / "tokenizer_config.json")
    except (EngineError, OSError):
        return None


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the kind of a model whose config states its architecture.

    Raises:
        ModelError: The model cannot be pruned.
    """
    if architectures := _architectures(options):
        check_model_kind(name, architectures, options)


def check_model_kind(
    name: str, architectures: Iterable[str], options: Mapping[str, Any]
) -> None:
    """Check that a model is a decoder, with weights that can be read.

    Raises:
        ModelError: The model is of another kind.
    """
    architectures = tuple(architectures)
    has_parts = any(
        name.endswith("_config") and value for name, value in options.items()
    )
    is_decoder = any(map(_DECODER.search, architectures)) or (
        has_parts and any(map(_OF_PARTS.search, architectures))
    )
    if options.get("is_encoder_decoder") or not is_decoder:
        raise ModelError(
            "{name} is not a decoder-only language model (its architecture is "
            "{architectures}).",
            "Choose a model that continues text. The names of many end in "
            "ForCausalLM or ForConditionalGeneration.",
            name=name,
            architectures=", ".join(architectures),
        )
    if options.get("pruned") is not None:
        raise ModelError(
            "{name} is a compact checkpoint: it has been pruned already.",
            "Prune the original further, or export its run in the masked format and "
            "choose that.",
            name=name,
        )
    quantization_of(name, options)


def _facts(name: str, folder: Path) -> ModelFacts:
    """Return the facts about the model in a folder, or those before a problem."""
    facts = ModelFacts(name)
    try:
        options = read_options(folder)
        facts = config_facts(name, options)
        check_options(name, options)
        how = quantization_of(name, options)
        counts: Counter[str] = Counter()
        size = 0
        for path in find_weight_files(folder):
            size += path.stat().st_size
            counts.update(count_numbers(path, how))
        (most_common, _), *_ = counts.most_common(1) or [("", 0)]
        dtype = DTYPES.get(most_common, most_common)
        return replace(
            facts,
            parameters=counts.total(),
            dtype=dtype if how is None else how.label,
            file_bytes=size,
        )
    except ModelError as error:
        return replace(facts, problem=error.message, hint=error.hint)
    except OSError as error:
        return replace(facts, problem=unreadable(folder, error), hint=SOURCES)


def config_facts(name: str, options: Mapping[str, Any]) -> ModelFacts:
    """Return the facts that a config states."""
    merged = _text_options(options)
    architectures = _architectures(options) or [str(options.get("model_type", ""))]
    mixture = _mixture_sizes(merged)
    return ModelFacts(
        name=name,
        architecture=architectures[0],
        blocks=_number(merged, *_BLOCKS),
        hidden_size=_number(merged, *_HIDDEN_SIZE),
        vocabulary=_number(merged, "vocab_size"),
        longest_window=max(
            0, _number(merged, "max_position_embeddings", "n_positions")
        ),
        experts=0 if mixture is None else mixture.experts,
    )


def decoder_sizes(options: Mapping[str, Any]) -> DecoderSizes | None:
    """Return the sizes that a config states; None if one is missing or absurd."""
    merged = _text_options(options)
    hidden = _number(merged, *_HIDDEN_SIZE)
    heads = _number(merged, "num_attention_heads", "n_head", "num_heads")
    sizes = DecoderSizes(
        blocks=_number(merged, *_BLOCKS),
        hidden_size=hidden,
        intermediate_size=_number(
            merged, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"
        )
        or 4 * hidden,
        heads=heads,
        key_value_heads=_number(merged, "num_key_value_heads", "num_kv_heads") or heads,
        head_size=_number(merged, "head_dim") or hidden // max(1, heads),
        vocabulary=_number(merged, "vocab_size"),
        mixture=_mixture_sizes(merged),
    )
    limits = (
        (sizes.blocks, "num_hidden_layers"),
        (sizes.hidden_size, "hidden_size"),
        (sizes.intermediate_size, "intermediate_size"),
        (sizes.heads, "num_attention_heads"),
        (sizes.key_value_heads, "num_attention_heads"),
        (sizes.head_size, "hidden_size"),
        (sizes.vocabulary, "vocab_size"),
    )
    is_usual = all(1 <= size <= MAX_SIZES[option] for size, option in limits)
    return sizes if is_usual else None


def _mixture_sizes(options: Mapping[str, Any]) -> MixtureSizes | None:
    """Return the sizes of the experts of a config; None: no block has any."""
    experts = _number(options, *_EXPERTS)
    chosen = _number(options, *EXPERTS_PER_TOKEN)
    width = _number(options, "moe_intermediate_size", "intermediate_size")
    is_usual = 1 < experts <= _MAX_EXPERTS and width <= MAX_SIZES["intermediate_size"]
    if not is_usual or not 1 <= chosen <= experts:
        return None
    shared = _number(options, *_SHARED_SIZE) or _number(options, *_SHARED) * width
    sizes = MixtureSizes(
        experts,
        chosen,
        width,
        min(max(0, shared), MAX_SIZES["intermediate_size"]),
        max(0, _number(options, *_DENSE_BLOCKS)),
        max(1, _number(options, *_INTERVAL)),
    )
    dense = _listed_dense_blocks(options)
    blocks = range(min(_number(options, *_BLOCKS), MAX_SIZES["num_hidden_layers"]))
    is_dense = blocks and all(x in dense or not sizes.is_in(x) for x in blocks)
    kinds = options.get("layers_block_type")  # an option of Nemotron H
    lacks_experts = isinstance(kinds, list) and "moe" not in kinds
    return None if is_dense or lacks_experts else sizes


def _listed_dense_blocks(options: Mapping[str, Any]) -> list[Any]:
    """Return the blocks that a config lists as blocks without experts."""
    numbers, kinds = options.get("mlp_only_layers"), options.get("mlp_layer_types")
    found = [*numbers] if isinstance(numbers, list) else []
    if isinstance(kinds, list):
        found += [n for n, kind in enumerate(kinds) if kind == "dense"]
    return found


def _text_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options; the text part of a model with several overrides them."""
    text_options = options.get("text_config")
    return {**options, **text_options} if isinstance(text_options, dict) else options


def _architectures(options: Mapping[str, Any]) -> list[str]:
    stated = options.get("architectures")
    return [*map(str, stated)] if isinstance(stated, list) else []


def _gguf_facts(path: Path) -> ModelFacts:
    facts = ModelFacts(path.stem, file_bytes=path.stat().st_size)
    try:
        header = read_gguf_header(path)
    except ModelError as error:
        return replace(facts, problem=error.message, hint=error.hint)
    kind = str(header.get("general.architecture", ""))
    dtype = FILE_TYPES.get(_number(header, "general.file_type"), "")
    return replace(
        facts,
        dtype=DTYPES.get(dtype, dtype),
        architecture=f"{kind} (GGUF)" if kind else "GGUF",
        blocks=_number(header, f"{kind}.block_count"),
        hidden_size=_number(header, f"{kind}.embedding_length"),
        vocabulary=_number(header, f"{kind}.vocab_size"),
        longest_window=_number(header, f"{kind}.context_length"),
        experts=_number(header, f"{kind}.expert_count"),
    )


def _number(options: Mapping[str, Any], *names: str) -> int:
    """Return the first of these options that is a whole number, or 0."""
    for name in names:
        value = options.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
