"""Read the config of a model, and find its weight files and what is in them.

Only the standard library is used and a few kilobytes are read.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from surgeon_engine.api.model_info.gguf_header import SOURCES, open_model
from surgeon_engine.api.model_info.quantization import (
    CONFIG,
    MODELOPT_FILE,
    Quantization,
)
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.reading import LIMIT, read_text
from surgeon_engine.base.sentences import say

GGUF_FILE = "model.gguf"  # the model in a folder of GGUF files
INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"
_PICKLED = say("Pickle files can run code when opened: convert them to safetensors.")
_MAX_HEADER = 100_000_000  # bytes; the maximum of the format
_MAX_CONFIG = 10_000_000  # bytes; the longest have some hundred thousand
_MAX_AXES, _MAX_WIDTH = 8, 1 << 40  # limits of a tensor's shape
_ADAPTER = "adapter_config.json"
_INCOMPLETE = say("The download may be incomplete: download this file again.")
# A folder may hold the same weights again, such as in consolidated.safetensors.
_MAIN_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLES = (".bin", ".pt", ".pth")
_NOT_A_HEADER = (
    *(struct.error, ValueError, LookupError, TypeError, AttributeError),
    RecursionError,
)


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
        raise ModelError("{folder} has no config.json.", SOURCES, folder=folder)
    options = _read_object(path)
    if not options.get(CONFIG) and (folder / MODELOPT_FILE).is_file():
        settings = _read_object(folder / MODELOPT_FILE).get("quantization")
        if isinstance(settings, dict):
            options[CONFIG] = settings | {"quant_method": "modelopt"}
    return options


def gguf_of(folder: Path) -> Path | None:
    """Return the GGUF file in a folder that holds no checkpoint; None: there is none.

    Of several it is that which an export names so.
    """
    if (folder / "config.json").exists():
        return None
    if (folder / GGUF_FILE).is_file():
        return folder / GGUF_FILE
    found = [path for path in folder.glob("*.gguf") if path.is_file()]
    return found[0] if len(found) == 1 else None


def _adapter_error(folder: Path) -> ModelError:
    """Return the error for an adapter, which transformers would add to the model."""
    return ModelError(
        "{folder} holds an adapter ({adapter}), such as a LoRA. Surgeon prunes "
        "whole models.",
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
        folder=folder,
        adapter=_ADAPTER,
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a folder that hold the model's weights.

    Raises:
        ModelError: The index of the weights is not a JSON object.
    """
    names = [path.name for path in folder.glob("*.safetensors")]
    return tuple(folder / name for name in select_weights(names, _indexed(folder)))


def _indexed(folder: Path) -> frozenset[str]:
    """Return the names in the index of a folder, if it has one.

    Raises:
        ModelError: It is not a JSON object.
    """
    path = folder / INDEX
    # The index of a mixture is long: it names each tensor of each expert.
    return indexed_files(_read_object(path, LIMIT)) if path.is_file() else frozenset()


def select_weights(names: Iterable[str], indexed: Collection[str]) -> list[str]:
    """Return the safetensors files that hold a model's weights, sorted.

    `indexed` are the names in the index of the weights.
    """
    names = sorted(names)
    main = [x for x in names if _MAIN_WEIGHTS.fullmatch(x) or x in indexed]
    return main or names


def indexed_files(index: Mapping[str, Any]) -> frozenset[str]:
    """Return the names in an index of the weights, which need not be numbered."""
    shards = index.get("weight_map")
    names = map(str, shards.values()) if isinstance(shards, dict) else ["nothing"]
    return frozenset(names)


def find_weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the weight files of a folder; check that each is a regular file.

    Raises:
        ModelError: The folder has none or two sets of them, one is no file, or the
            index names others.
    """
    indexed = _indexed(folder)
    names = select_weights((x.name for x in folder.glob("*.safetensors")), indexed)
    if not names:
        check_has_weights(str(folder), (path.name for path in folder.iterdir()))
    paths = tuple(folder / name for name in names)
    for path in paths:
        _check_is_file(path)
    check_indexed(str(folder), indexed, names, _INCOMPLETE)
    return paths


def _check_is_file(path: Path) -> None:
    """Check that a path is a file: opening a named pipe or a device may never end."""
    hint = say("Download this file again.")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        name, reason = path.name, error.strerror
        raise ModelError(
            "{path} is a link that leads nowhere: {why}."
            if path.is_symlink()
            else "{path} is missing: {reason:clause}.",
            hint,
            path=name,
            why=reason,
            reason=reason,
        ) from error
    if not stat.S_ISREG(mode):
        raise ModelError("{path} is not a file.", hint, path=path.name)


def check_indexed(
    where: str, indexed: Collection[str], names: Collection[str], hint: str
) -> None:
    """Check that the weights are in one file, or that an index names the files.

    `where` is the folder or the model; `hint` says what to try if a file is missing.

    Raises:
        ModelError: They are not, it names something else than files of `names`, or
            there are other weights beside them.
    """
    if not indexed and _WEIGHTS not in names:
        raise ModelError(
            "{folder} has neither {file} nor {index}, which says what is in files such "
            "as {name}.",
            hint,
            folder=where,
            file=_WEIGHTS,
            index=INDEX,
            name=min(names),
        )
    for name in sorted(indexed):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                "{index} names {name:shown}, which is no .safetensors file of the "
                "folder.",
                _PICKLED if name.endswith(_PICKLES) else hint,
                index=INDEX,
                name=name,
            )
        if name not in names:
            raise ModelError(
                "{folder} has no {name}, which {index} names.",
                hint,
                folder=where,
                name=name,
                index=INDEX,
            )
    if indexed and _WEIGHTS in names and _WEIGHTS not in indexed:
        raise ModelError(
            "{folder} has two sets of weights: {file}, and the files that {index} "
            "names.",
            "Choose another model; or move {file}, which transformers would read, or "
            "{index} elsewhere.",
            folder=where,
            file=_WEIGHTS,
            index=INDEX,
        )


def _read_object(path: Path, limit: int = _MAX_CONFIG) -> dict[str, Any]:
    """Read a JSON file of at most `limit` bytes."""
    try:
        options = json.loads(read_text(path, limit))
        if isinstance(options, dict):
            return options
        reason = say("it is not a JSON object")
    except UnreadableFileError as error:
        raise ModelError(error.message, "Download the model's files again.") from error
    except RecursionError:
        reason = say("it is nested too deeply")
    except ValueError as error:
        reason = str(error)
    raise ModelError(
        "{path} is not valid JSON: {reason:clause}.",
        "Download the model's files again.",
        path=path,
        reason=reason,
    )


def check_has_weights(where: str, names: Iterable[str]) -> None:
    """Raise the error for a folder without safetensors files.

    Raises:
        ModelError: Always; it says whether there are pickled weights.
    """
    pickled = sorted(name for name in names if name.endswith(_PICKLES))
    if pickled:
        raise ModelError(
            "{where} holds pickled weights only ({file}).",
            _PICKLED,
            where=where,
            file=pickled[0],
        )
    raise ModelError("{where} has no .safetensors file.", SOURCES, where=where)


def count_numbers(path: Path, how: Quantization | None = None) -> Counter[str]:
    """Count the numbers of each format in a safetensors file, from its header.

    A quantized weight counts as one number, in whatever tensors it is stored.

    Raises:
        ModelError: The header is damaged, or does not match the size of the file.
    """
    counts: Counter[str] = Counter()
    for name, (dtype, size) in read_tensors(path).items():
        counts[dtype] += size if how is None else how.numbers(name, dtype, size)
    return counts


def read_tensors(path: Path) -> dict[str, tuple[str, int]]:
    """Return the number format and the number of numbers of each tensor, by name.

    Raises:
        ModelError: The header is damaged, or does not match the size of the file.
    """
    with open_model(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, _MAX_HEADER):
                raise ValueError(length)
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors: dict[str, tuple[str, int]] = {}
            end = 0
            for name, entry in header.items():
                tensors[name] = str(entry["dtype"]), _size_of(entry["shape"])
                end = max(end, entry["data_offsets"][1])
            if 8 + length + end != size:
                raise ValueError(size)
        except _NOT_A_HEADER as error:
            raise damaged(path, size) from error
    return tensors


def damaged(path: Path, size: int) -> ModelError:
    """Return that the header of a file does not match its size in bytes."""
    return ModelError(
        "{path} is damaged ({size:,} bytes): its header does not match its size.",
        _INCOMPLETE,
        path=path.name,
        size=size,
    )


def _size_of(shape: list[int]) -> int:
    """Return how many numbers a tensor has."""
    is_shape = len(shape) <= _MAX_AXES and all(type(n) is int for n in shape)
    if not is_shape or not all(0 <= n < _MAX_WIDTH for n in shape):
        raise ValueError(shape)
    return math.prod(shape)
