"""Fetches a model of the Hub into its cache, as a process with the name as argument.

A process of its own because a download in a library can only be ended by ending the
process. It says what it will fetch, and fetches it; how much has arrived is seen at the
files (by `download.py`). When its input ends, its owner is gone and it ends too.

The library gives up what had arrived of a file when it is interrupted, so the bytes are
gathered here, in `<blob>.incomplete` as its earlier versions did, and go on from where
they were. A complete file is checked against the hash that the Hub states and moved to
where the library looks for it; the library then makes the snapshot of it by itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from surgeon_engine.api.errors import DownloadError, ModelError
from surgeon_engine.api.model_info.header import (
    MAIN_WEIGHTS,
    check_has_weights,
    check_model_kind,
    read_options,
)
from surgeon_engine.api.model_info.source_names import INDEX, HubName, hub_name
from surgeon_engine.hub.errors import refused
from surgeon_engine.hub.messages import Fetched, Message, Planned, WantedFile, Working

_CONFIG = "config.json"
# Beside the weights: configs, and whatever tokenizers are made of.
_SMALL = re.compile(
    r"[\w.-]*(config|tokenizer|special_tokens_map|added_tokens|vocab|merges|"
    r"chat_template|spiece|sentencepiece|index)[\w.-]*\.(json|txt|model|jinja)"
)
# By default the library writes 10 MB at a time: a slow line would seem to stand still,
# and as much would be lost each time that the process is ended.
_BYTES_AT_A_TIME = 64 * 1024
_HASHED_AT_A_TIME = 64 * 2**20  # bytes that are hashed between two signs of life


@dataclass(frozen=True, slots=True)
class _File:
    """A file on the Hub."""

    name: str
    size: int
    blob: Path
    sha256: str  # empty: not stated


def main() -> int:
    """Fetch the model that the command line names; 0 if it is there."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    constants.DOWNLOAD_CHUNK_SIZE = _BYTES_AT_A_TIME
    name = hub_name(sys.argv[1])
    assert name is not None
    try:
        _say(Fetched(str(_fetch(name))))
    except Exception as error:  # noqa: BLE001 (told in words, or raised again)
        host = constants.ENDPOINT
        _say(refused(error, name, host=host, has_token=get_token() is not None))
        return 1
    return 0


def wanted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Of the files of a model those that are needed, the weights last.

    Raises:
        ModelError: there are no weights that can be used.
    """
    names = sorted(name for name in names if "/" not in name)
    weights = [name for name in names if MAIN_WEIGHTS.fullmatch(name)]
    weights = weights or [name for name in names if name.endswith(".safetensors")]
    small = [name for name in names if _SMALL.fullmatch(name)]
    if not weights and any(name.endswith(".gguf") for name in names):
        raise ModelError(
            "It holds .gguf files only.",
            "Download the one you want in a browser, and open that.",
        )
    if not weights or _CONFIG not in small:
        check_has_weights("It", names)
    small.sort(key=lambda name: name not in (_CONFIG, INDEX))
    return (*small, *weights)


def _fetch(name: HubName) -> Path:
    """The folder of the snapshot, with all that is needed in it."""
    info = HfApi().model_info(
        name.repo, revision=name.revision or None, files_metadata=True
    )
    commit, siblings = info.sha, {file.rfilename: file for file in info.siblings or ()}
    if commit is None:
        raise DownloadError(f"{name.display_name} is empty.", "Choose another model.")
    try:
        names = wanted_names(siblings)
    except ModelError as error:
        message = error.message.removeprefix("It ")
        raise ModelError(f"{name.display_name} {message}", error.hint) from error
    files = [_file(name, siblings[each]) for each in names]
    _say(
        Planned(
            tuple(
                WantedFile(f.name, f.size, str(f.blob), str(_partial(f))) for f in files
            ),
            str(name.cache_folder),
        )
    )
    path = Path()
    for file in files:
        _say(Working(file.name))
        _gather(name, commit, file)
        # Finds the bytes where it would have put them, and adds the name.
        revision = name.revision or "main"
        path = Path(hf_hub_download(name.repo, file.name, revision=revision))
        if file.name == _CONFIG:
            _check_before_download(name, path.parent)
    return path.parent


def _check_before_download(name: HubName, folder: Path) -> None:
    """Before the weights come: what would be refused when they are there."""
    options = read_options(folder)
    if architectures := options.get("architectures"):
        check_model_kind(name.display_name, map(str, architectures), options)


def _file(name: HubName, sibling: RepoSibling) -> _File:
    """The Hub names a file's bytes by their hash, which is the name of the blob too."""
    sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
    digest = sha256 or sibling.blob_id or ""
    return _File(
        sibling.rfilename,
        sibling.size or 0,
        name.cache_folder / "blobs" / digest,
        sha256,
    )


def _partial(file: _File) -> Path:
    return file.blob.with_name(f"{file.blob.name}.incomplete")


def _gather(name: HubName, commit: str, file: _File) -> None:
    """Let all bytes of a file be in the cache.

    Raises:
        DownloadError: they are others than those that the Hub has named.
    """
    if file.blob.exists():
        return
    partial = _partial(file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(name.repo, file.name, revision=commit)
    location = get_hf_file_metadata(url).location
    headers = build_hf_headers()
    if _is_elsewhere(location, url):
        headers.pop("authorization", None)  # other servers must not see the token
    with partial.open("ab", buffering=0) as out:
        if out.tell() > file.size:
            out.truncate(0)
        http_get(
            location,
            out,
            resume_size=out.tell(),
            headers=headers,
            expected_size=file.size,
        )
    if file.sha256 and _sha256(partial, file.name) != file.sha256:
        partial.unlink()
        raise DownloadError(
            f"{file.name} has arrived damaged.",
            "It was deleted; the download can be resumed, and fetches it again.",
        )
    partial.replace(file.blob)


def _is_elsewhere(location: str, url: str) -> bool:
    """Whether the bytes come from another server."""
    return location.split("/")[:3] != url.split("/")[:3]


def _sha256(path: Path, name: str) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_HASHED_AT_A_TIME):
            digest.update(part)
            _say(Working(name))
    return digest.hexdigest()


def _say(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
