"""Write the tokenizer of a model beside its weights.

Its files are copied unchanged, because transformers would save another class name and
omit files that other programs read; only code of others is left out. With fewer tokens,
tokenizer.json is written anew, and tokens in other files are renumbered.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from surgeon_engine.model.gguf_tokenizer import (
    HEADER_FILE,
    Entry,
    tokenizer_entries,
    write_header,
)
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.vocabulary.config_ids import NewNumbers, renumbered
from surgeon_engine.model.vocabulary.trimmed import trimmed_entries

_TOKENIZER, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_ADDED = "added_tokens.json"
# Files with the names of tokens, or with the numbers of some of them.
_BESIDE = (
    _CONFIG,
    _ADDED,
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    # Files of models that read images or sound, too.
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
# Files with all tokens.
_VOCABULARIES = (
    _TOKENIZER,
    "tekken.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    HEADER_FILE,
)
_TEMPLATES = "additional_chat_templates"
_CODE = "auto_map"  # names code of others
_DECODER = "added_tokens_decoder"  # names of tokens by number
# Keys that describe how transformers loaded a tokenizer on this machine.
_LOADING_KEYS = ("is_local", "local_files_only", "gguf_file", "trust_remote_code")


def write_tokenizer(loaded: LoadedModel, folder: Path) -> None:
    """Write the tokenizer of a model, if it has one, into `folder`.

    transformers saves the tokenizer of a GGUF file; its entries are kept beside it.
    """
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        return
    if loaded.source.gguf_file is not None or not _copy_files(loaded, folder):
        _save_tokenizer(tokenizer, loaded, folder)
    entries = header_entries(loaded)
    if entries is not None and not (folder / HEADER_FILE).exists():
        write_header(entries, folder / HEADER_FILE)


def header_entries(loaded: LoadedModel) -> tuple[Entry, ...] | None:
    """Return the entries of a GGUF header for the tokenizer.

    None if the original was no GGUF file, or is no longer there.
    """
    path = loaded.source.folder / (loaded.source.gguf_file or HEADER_FILE)
    if not path.is_file():
        return None
    entries = tokenizer_entries(path)
    if loaded.kept_tokens is None:
        return entries
    return trimmed_entries(entries, loaded.kept_tokens.tolist())


def _copy_files(loaded: LoadedModel, folder: Path) -> bool:
    """Copy the files of a tokenizer; return whether there are any."""
    assert loaded.tokenizer is not None
    source, tokenizer = loaded.source.folder, loaded.tokenizer
    names = {*_BESIDE, *_VOCABULARIES, *tokenizer.vocab_files_names.values()}
    if loaded.kept_tokens is not None:
        names = {*_BESIDE}
    existing = [name for name in sorted(names) if (source / name).is_file()]
    for name in existing:
        shutil.copyfile(source / name, folder / name)
    _remove_key(folder / _CONFIG, _CODE)
    for path in (source / _TEMPLATES).glob("*.jinja"):
        if path.is_file():
            (folder / _TEMPLATES).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / _TEMPLATES / path.name)
    if loaded.kept_tokens is None:
        return bool(existing)
    numbers = NewNumbers(loaded.kept_tokens.tolist())
    for name in existing:
        if name.endswith(".json"):
            _renumber_file(folder / name, numbers)
    if _CONFIG not in existing:
        return False
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    backend.save(str(folder / _TOKENIZER))
    return True


def _renumber_file(path: Path, numbers: NewNumbers) -> None:
    """Renumber the tokens in a JSON file; one without any stays as it is."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if path.name == _ADDED:
        changed = {x: numbers.of(n) for x, n in values.items() if numbers.holds(n)}
    else:
        changed = renumbered(values, numbers)
    if decoder := changed.get(_DECODER):
        pairs = ((int(number), token) for number, token in decoder.items())
        changed[_DECODER] = {
            str(numbers.of(number)): token
            for number, token in pairs
            if numbers.holds(number)
        }
    if changed != values:
        text = json.dumps(changed, indent=2, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


def _save_tokenizer(
    tokenizer: PreTrainedTokenizerBase, loaded: LoadedModel, folder: Path
) -> None:
    """Save a tokenizer so that transformers 4 loads it, too."""
    tokenizer.save_pretrained(folder)
    path = folder / _CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in (_CODE, *_LOADING_KEYS):
        config.pop(name, None)
    if config.get("tokenizer_class") == "TokenizersBackend":  # new in transformers 5
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    text = loaded.model.config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)
    if longest and config.get("model_max_length", 0) > longest:
        config["model_max_length"] = longest
    _write_json(config, path)


def _remove_key(path: Path, name: str) -> None:
    """Remove a key of a JSON object; a file without it stays as it is."""
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop(name, None) is not None:
        _write_json(config, path)


def _write_json(value: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
