"""Locate and check a model source: the demo, a folder, a GGUF file, or a Hub model.

All checks that need only names, headers and the config are made here, before any weight
is read.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig, PretrainedConfig

from surgeon_engine.api.model_info.files import (
    count_numbers,
    find_weight_files,
    gguf_of,
    read_options,
    weight_files,
)
from surgeon_engine.api.model_info.gguf_header import (
    SOURCES,
    check_lists,
    read_gguf_header,
)
from surgeon_engine.api.model_info.header import MAX_SIZES, check_model_kind
from surgeon_engine.api.model_info.quantization import Quantization, quantization_of
from surgeon_engine.api.model_info.source_names import (
    DEMO,
    HubName,
    hub_name,
    is_hub_source,
    parse_hub_source,
)
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.path_problems import unusable
from surgeon_engine.base.reading import open_regular
from surgeon_engine.base.sentences import Sentence, say
from surgeon_engine.model.classes import model_class
from surgeon_engine.model.gguf_config import config_of
from surgeon_engine.model.gguf_llama import LlamaFile, llama_file
from surgeon_engine.model.gguf_parsing import parsed_once

# Errors that transformers raises for files that it cannot read.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    ZeroDivisionError,
    OverflowError,
    AssertionError,
    RecursionError,
    struct.error,
    SafetensorError,
    StrictDataclassError,
)

_DEMO = Path(str(files("surgeon_resources"))) / "demo"
# Files that libraries read without asking what they are.
_READ_WHOLE = (".json", ".jinja", ".model", ".txt", ".tiktoken")
TEMPLATES = "additional_chat_templates"  # a folder inside a model's folder
_MAX_LABELS = 1_000_000  # transformers makes a name for each
_POSITIONS = "max_position_embeddings"
_WINDOW = "sliding_window"  # not checked by kinds of models that do not know it
INCOMPLETE_FILES = say(
    "The files may be incomplete or from another model: download them again."
)
_DOWNLOAD_AGAIN = say("Download the model's files again.")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The location of a model's files."""

    name: str  # display name
    folder: Path
    gguf_file: str | None = None  # its name inside `folder`
    quantization: Quantization | None = None  # how a folder's weights are quantized

    @property
    def is_bundled(self) -> bool:
        """Whether the model comes with Surgeon, so that its files can be trusted."""
        return self.folder == _DEMO

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        if self.gguf_file:
            return (self.folder / self.gguf_file,)
        return weight_files(self.folder)

    @property
    def arguments(self) -> dict[str, object]:
        """Keyword arguments for `from_pretrained`, besides the folder."""
        # Without an answer transformers asks on the terminal whether to run code.
        arguments: dict[str, object] = {
            "local_files_only": True,
            "trust_remote_code": False,
        }
        if self.gguf_file:
            arguments["gguf_file"] = self.gguf_file
        return arguments


def locate(source: str) -> ModelSource:
    """Return the files that `source` names, after checking their headers.

    Raises:
        ModelError: A file is missing or damaged.
    """
    if source == DEMO:
        return _checked_folder(ModelSource("Demo", _DEMO))
    if is_hub_source(source):
        return _checked_folder(_cached(source))
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        name = path.resolve().name
        if gguf := gguf_of(path):
            return replace(_checked_gguf(gguf), name=name)
        return _checked_folder(ModelSource(name, path))
    if os.path.isfile(path):
        return _checked_gguf(path)
    hub_source = parse_hub_source(source)
    hint = SOURCES
    if hub_source:
        hint = say(
            "If it is a model of the Hugging Face Hub, write {name}.", name=hub_source
        )
    if os.path.lexists(path):
        raise ModelError(
            "{path} is neither a folder nor a regular file.", SOURCES, path=path
        )
    raise ModelError("There is no model at {path}.", hint, path=path)


def read_model_config(source: ModelSource) -> PretrainedConfig:
    """Read the transformers config of a model and check that it can be pruned.

    Raises:
        ModelError: The architecture is unknown, is not a decoder, is a mixture of
            experts, or is quantized in a way that Surgeon does not read.
    """
    config = _unchecked_config(source)
    options = config.to_dict()
    options["is_encoder_decoder"] = config.is_encoder_decoder
    options["pruned"] = hasattr(config, "pruned") or None
    architectures = config.architectures or [model_class(config).__name__]
    check_model_kind(source.name, map(str, architectures), options)
    model_class(config)  # raises
    _check_sizes(source.name, config)
    return config


def read_generation_config(source: ModelSource) -> GenerationConfig | None:
    """Read the options of a model for writing text; None: they have no file of JSON.

    Raises:
        ValueError: They contradict each other.
    """
    if source.gguf_file:
        return None
    with suppress(OSError):
        return GenerationConfig.from_pretrained(source.folder, local_files_only=True)
    return None


def vocabulary_size(source: ModelSource) -> int:
    """Return how many tokens a model has embeddings of, by its config.

    Raises:
        ModelError: The config cannot be read.
    """
    return int(_unchecked_config(source).get_text_config().vocab_size)


def _unchecked_config(source: ModelSource) -> PretrainedConfig:
    try:
        with parsed_once():
            if own := own_reading(source):
                return own.config
            if source.gguf_file:
                return config_of(source.weight_files[0])
            return AutoConfig.from_pretrained(source.folder, **source.arguments)
    except UNREADABLE as error:
        if source.gguf_file:
            raise _gguf_error(source.weight_files[0], error) from error
        raise ModelError(
            "The config of {source} cannot be used: {reason:clause}.",
            "Surgeon prunes the decoder-only models that transformers knows; it "
            "does not run code from a model's folder.",
            source=source.name,
            reason=first_line(error),
        ) from error


def own_reading(source: ModelSource) -> LlamaFile | None:
    """Return a GGUF file that transformers does not read as it is; None: it does.

    Raises:
        ModelError: Surgeon does not read it, either.
    """
    return llama_file(source.weight_files[0]) if source.gguf_file else None


def hub_model(source: str) -> HubName:
    """Return the name of a model of the Hub.

    Raises:
        ModelError: It is none.
    """
    name = hub_name(source)
    if name is None or name.is_dataset:
        raise ModelError(
            "{source} is not the name of a model on the Hugging Face Hub.",
            "Write hf://organization/name, or hf://organization/name@revision.",
            source=source,
        )
    return name


def _cached(source: str) -> ModelSource:
    """Return the files of a Hub model from the cache."""
    name = hub_model(source)
    if name.snapshot is None:
        raise ModelError(
            name.not_downloaded,
            "Download it in the window, or by: surgeon download {source}",
            source=source,
        )
    return ModelSource(name.short, name.snapshot)


def _checked_folder(source: ModelSource) -> ModelSource:
    options = read_options(source.folder)
    labels = options.get("num_labels")
    if isinstance(labels, int) and labels > _MAX_LABELS:
        raise ModelError(
            "The config of {source} has num_labels = {labels:,}; it may be at "
            "most {most:,}.",
            _DOWNLOAD_AGAIN,
            source=source.name,
            labels=labels,
            most=_MAX_LABELS,
        )
    for path in find_weight_files(source.folder):
        count_numbers(path)
    templates = source.folder.glob(f"{TEMPLATES}/*.jinja")
    for path in (*source.folder.iterdir(), *templates):
        if path.suffix in _READ_WHOLE:
            _check_regular(path)
    return replace(source, quantization=quantization_of(source.name, options))


def _check_regular(path: Path) -> None:
    """Check that libraries can read a file without waiting."""
    try:
        os.close(open_regular(path))
    except UnreadableFileError as error:
        raise ModelError(error.message, _DOWNLOAD_AGAIN) from error


def _checked_gguf(path: Path) -> ModelSource:
    check_lists(path)
    return ModelSource(path.stem, path.parent, path.name)


def _gguf_error(path: Path, error: Exception) -> ModelError:
    """Return why transformers cannot read a GGUF file.

    Raises:
        ModelError: The header is damaged.
    """
    architecture = read_gguf_header(path).get("general.architecture")
    if not isinstance(architecture, str):
        reason = say("its header names no architecture")
    elif isinstance(error.__context__, UnicodeDecodeError):
        reason = say("its header has a name that is not UTF-8 text")
    else:
        reason = first_line(error)
    return ModelError(
        unusable(path.name, reason),
        "If the download may be incomplete, download the file again. Surgeon "
        "reads the GGUF architectures that transformers knows.",
    )


def _check_sizes(name: str, config: PretrainedConfig) -> None:
    """Check sizes that would take hours or the whole memory to build."""
    text = config.get_text_config()
    if getattr(text, "hidden_size", None) is None:
        raise ModelError(
            "The config of {name} states no hidden_size: its blocks are not those "
            "of a usual decoder.",
            "Choose a model that continues text.",
            name=name,
        )
    for option, most in (MAX_SIZES | {_WINDOW: None}).items():
        try:
            size = getattr(text, option, None)
        except RuntimeError as error:  # it stands in `per_layer_config`
            if _differs_by_design(type(text), option):
                continue
            raise ModelError(
                "The layers of {name} differ in {option}, and transformers has no "
                "such model.",
                "If another program has pruned it, choose the original.",
                name=name,
                option=option,
            ) from error
        # Some models have a list of sizes, one for each layer.
        is_list = isinstance(size, list) and option != _WINDOW
        if not (is_list or isinstance(size, int | None)):
            raise ModelError(
                "The config of {name} has {option} = {size}, which is no whole number.",
                _DOWNLOAD_AGAIN,
                name=name,
                option=option,
                size=repr(str(size)[:100]),
            )
        if option == _POSITIONS and size == -1:
            continue  # there is no limit, as in XLNet
        if isinstance(size, int) and most and not 1 <= size <= most:
            raise ModelError(
                "The config of {name} has {option} = {size:,}; it must be from 1 "
                "to {most:,}.",
                _DOWNLOAD_AGAIN,
                name=name,
                option=option,
                size=size,
                most=most,
            )


def _differs_by_design(kind: type[PretrainedConfig], option: str) -> bool:
    """Return whether all models of a type have layers that differ in a size."""
    try:
        getattr(kind(), option, None)
    except RuntimeError:
        return True
    return False


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message.

    For an invalid config it is the last line: the first names only a function.
    """
    if error.args and isinstance(error.args[0], Sentence):
        return error.args[0]
    lines = (str(error).strip() or type(error).__name__).splitlines()
    line = lines[-1 if isinstance(error, StrictDataclassError) else 0]
    return line.strip().rstrip(".")
