"""Read the facts about a model from its config and the headers of its files.

Only the standard library is used and a few kilobytes are read, so that the window can
describe a model before the engine is ready. Kinds of model that cannot be pruned are
detected here, with the engine's messages; all other checks are made by the engine.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from surgeon_engine.api.model_info.gguf_header import read_gguf_header
from surgeon_engine.api.model_info.quantization import (
    CONFIG,
    MODELOPT_FILE,
    quantization_of,
)
from surgeon_engine.api.model_info.safetensors_header import (
    check_is_file,
    count_numbers,
)
from surgeon_engine.api.model_info.source_names import (
    DEMO,
    INDEX,
    hub_name,
    is_hub_source,
)
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import Text, say

# The plan in the folder of a pruned checkpoint. It is in the format of safetensors, but
# programs such as vLLM load every file with that suffix as weights.
PLAN_FILE = "kept.indices"
_PICKLED = say("Pickle files can run code when opened: convert them to safetensors.")
SOURCES = say(
    "Choose a folder with config.json and .safetensors files, or a .gguf file."
)

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# Sizes in configs beyond which a model would take hours or the whole memory to build.
MAX_SIZES = {
    "num_hidden_layers": 1_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 10_000_000,
    "num_attention_heads": 100_000,
    "vocab_size": 100_000_000,
    "max_position_embeddings": 1_000_000_000,
}
_MAX_CONFIG = 10_000_000  # bytes; the longest have some hundred thousand
_ADAPTER = "adapter_config.json"
_DECODER = re.compile(r"ForCausalLM|LMHeadModel|ForConditionalGeneration|Decoder$")
_EXPERTS = re.compile(r"(num|n)_((local|routed)_)?experts|moe_num_experts")
# A folder may hold the same weights again, such as in consolidated.safetensors.
MAIN_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_BLOCK_TYPES = "layers_block_type"  # a list with the kind of each block
_PICKLES = (".bin", ".pt", ".pth")
_BLOCKS = ("num_hidden_layers", "n_layer", "num_layers")
_HIDDEN_SIZE = ("hidden_size", "n_embd", "d_model")


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
    problem: Text = ""  # why it cannot be pruned
    hint: Text = ""


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
        return _facts(path.resolve().name, path)
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


def read_options(folder: Path) -> dict[str, Any]:
    """Read config.json, and the method of quantization if another file names it.

    Raises:
        ModelError: The file is missing or is not a JSON object, or the folder holds an
            adapter.
    """
    if (folder / _ADAPTER).exists():
        raise _adapter_error(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(say("{folder} has no config.json.", folder=folder), SOURCES)
    options = _read_object(path)
    if not options.get(CONFIG) and (folder / MODELOPT_FILE).is_file():
        settings = _read_object(folder / MODELOPT_FILE).get("quantization")
        if isinstance(settings, dict):
            options[CONFIG] = settings | {"quant_method": "modelopt"}
    return options


def _adapter_error(folder: Path) -> ModelError:
    """Return the error for an adapter, which transformers would add to the model."""
    return ModelError(
        say(
            "{folder} holds an adapter ({adapter}), such as that of a LoRA. Surgeon "
            "prunes whole models.",
            folder=folder,
            adapter=_ADAPTER,
        ),
        say(
            "Merge it into its model with peft, in Python:\nfrom peft import "
            "AutoPeftModelForCausalLM\nmodel = "
            "AutoPeftModelForCausalLM.from_pretrained({folder})\n"
            'model.merge_and_unload().save_pretrained("merged")\nCopy the tokenizer\'s '
            "files into that folder too, and choose it. If the model is already "
            "merged, delete {adapter}.",
            folder=repr(str(folder)),
            adapter=_ADAPTER,
        ),
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a folder that hold the model's weights."""
    paths = sorted(folder.glob("*.safetensors"))
    main = [path for path in paths if MAIN_WEIGHTS.fullmatch(path.name)]
    return tuple(main or paths)


def find_weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the weight files of a folder, each of which can be opened.

    Raises:
        ModelError: The folder has none, one is no file, or the index names others.
    """
    paths = weight_files(folder)
    if not paths:
        check_has_weights(str(folder), (path.name for path in folder.iterdir()))
    for path in paths:
        check_is_file(path)
    if (folder / INDEX).is_file():
        _check_index(folder)
    return paths


def _check_index(folder: Path) -> None:
    """Check that the index of the weights names safetensors files of the folder.

    Raises:
        ModelError: It names something else.
    """
    shards = _read_object(folder / INDEX).get("weight_map")
    names = map(str, shards.values()) if isinstance(shards, dict) else ["nothing"]
    for name in sorted(set(names)):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                say(
                    "{index} names {name}, which is no .safetensors file of the "
                    "folder.",
                    index=INDEX,
                    name=repr(name),
                ),
                _PICKLED,
            )
        if not (folder / name).is_file():
            raise ModelError(
                say(
                    "{folder} has no {name}, which {index} names.",
                    folder=folder,
                    name=name,
                    index=INDEX,
                ),
                say("The download may be incomplete: download this file again."),
            )


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        ModelError: It is not a JSON object, or is nested too deeply.
    """
    try:
        options = json.loads(read_text(path, _MAX_CONFIG))
        if not isinstance(options, dict):
            raise ValueError(say("it is not a JSON object"))
    except RecursionError as error:
        raise _not_json_error(path, say("it is nested too deeply")) from error
    except UnreadableFileError as error:
        raise ModelError(
            error.message, say("Download the model's files again.")
        ) from error
    except ValueError as error:
        raise _not_json_error(path, str(error)) from error
    return options


def _not_json_error(path: Path, reason: str) -> ModelError:
    message = say(
        "{path} is not valid JSON: {reason:clause}.", path=path, reason=reason
    )
    return ModelError(message, say("Download the model's files again."))


def check_has_weights(where: str, names: Iterable[str]) -> None:
    """Raise the error for a folder without safetensors files.

    Raises:
        ModelError: Always; it says whether there are pickled weights.
    """
    pickled = sorted(name for name in names if name.endswith(_PICKLES))
    if pickled:
        raise ModelError(
            say(
                "{where} holds pickled weights only ({file}).",
                where=where,
                file=pickled[0],
            ),
            _PICKLED,
        )
    raise ModelError(say("{where} has no .safetensors file.", where=where), SOURCES)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the kind of a model whose config states its architecture.

    Raises:
        ModelError: The model cannot be pruned.
    """
    if architectures := _architectures(options):
        check_model_kind(name, architectures, options)
    parts = [options, *(part for part in options.values() if isinstance(part, dict))]
    if any("moe" not in part.get(_BLOCK_TYPES, "moe") for part in parts):
        return  # Nemotron-H states a number of experts although no block has any
    if not options.get("is_moe", True):
        return  # so does Doge
    for option, value in (item for part in parts for item in part.items()):
        if _EXPERTS.fullmatch(str(option)) and isinstance(value, int) and value > 1:
            raise experts_error(name)


def experts_error(name: str) -> ModelError:
    """Return the error for a model with experts."""
    return ModelError(
        say("{name} is a mixture of experts.", name=name),
        say("Surgeon prunes dense models; choose one without experts."),
    )


def check_model_kind(
    name: str, architectures: Iterable[str], options: Mapping[str, Any]
) -> None:
    """Check that a model is a decoder, with weights that can be read.

    Raises:
        ModelError: The model is of another kind.
    """
    architectures = tuple(architectures)
    is_decoder = any(map(_DECODER.search, architectures))
    if options.get("is_encoder_decoder") or not is_decoder:
        raise ModelError(
            say(
                "{name} is not a decoder-only language model (its architecture is "
                "{architectures}).",
                name=name,
                architectures=", ".join(architectures),
            ),
            say(
                "Choose a model that continues text. The names of many end in "
                "ForCausalLM or ForConditionalGeneration."
            ),
        )
    if options.get("pruned") is not None:
        raise ModelError(
            say(
                "{name} is a compact checkpoint: it has been pruned already.", name=name
            ),
            say(
                "Prune the original further, or export its run in the masked format "
                "and choose that."
            ),
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
        problem = f"{folder} cannot be read: {error.strerror}."
        return replace(facts, problem=problem, hint=SOURCES)


def config_facts(name: str, options: Mapping[str, Any]) -> ModelFacts:
    """Return the facts that a config states."""
    merged = _text_options(options)
    architectures = _architectures(options) or [str(options.get("model_type", ""))]
    return ModelFacts(
        name=name,
        architecture=architectures[0],
        blocks=_number(merged, *_BLOCKS),
        hidden_size=_number(merged, *_HIDDEN_SIZE),
        vocabulary=_number(merged, "vocab_size"),
        longest_window=_number(merged, "max_position_embeddings", "n_positions"),
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


def _text_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options with those of the text part, if the model has several."""
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
    return replace(
        facts,
        architecture=f"{kind} (GGUF)" if kind else "GGUF",
        blocks=_number(header, f"{kind}.block_count"),
        hidden_size=_number(header, f"{kind}.embedding_length"),
        vocabulary=_number(header, f"{kind}.vocab_size"),
        longest_window=_number(header, f"{kind}.context_length"),
    )


def _number(options: Mapping[str, Any], *names: str) -> int:
    """Return the first of these options that is a whole number, or 0."""
    for name in names:
        value = options.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
