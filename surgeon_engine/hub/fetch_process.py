"""Download a model of the Hub into its cache: a process with the name as its argument.

It is a process because a download in the library can only be stopped by killing the
process. It reports which files it downloads; `download.py` measures their sizes on the
disk.

The library discards a partly downloaded file when it is interrupted. So this module
downloads the bytes itself, into `<blob>.incomplete` as earlier versions of the library
did, and resumes there. It checks a complete file against the hash that the Hub states
and moves it to where the library expects it; the library then adds it to the snapshot.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

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
from surgeon_engine.hub.errors import describe_failure
from surgeon_engine.hub.messages import Fetched, Message, Planned, PlannedFile, Working
from surgeon_engine.runtime.json_streams import JsonOutput, exit_with_parent

_CONFIG = "config.json"
# Configs and the files of tokenizers.
_SMALL_FILES = re.compile(
    r"[\w.-]*(config|tokenizer|special_tokens_map|added_tokens|vocab|merges|"
    r"chat_template|spiece|sentencepiece|index)[\w.-]*\.(json|txt|model|jinja)"
)
# The library's default of 10 MB makes a slow connection look stalled, and loses as much
# each time the process is killed.
_CHUNK_BYTES = 64 * 1024
_HASH_CHUNK_BYTES = 64 * 2**20

_Send = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class _File:
    """A file on the Hub."""

    name: str
    size: int  # bytes
    blob: Path
    sha256: str  # empty if the Hub does not state it

    @property
    def partial(self) -> Path:
        return self.blob.with_name(f"{self.blob.name}.incomplete")


def main() -> int:
    """Download the model that the command line names; return the exit code."""
    exit_with_parent()
    send = JsonOutput().write
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    name = hub_name(sys.argv[1])
    assert name is not None
    try:
        send(Fetched(str(_fetch(name, send))))
    except Exception as error:  # noqa: BLE001 (described, or raised again)
        host, has_token = constants.ENDPOINT, get_token() is not None
        send(describe_failure(error, name, host=host, has_token=has_token))
        return 1
    return 0


def select_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return the files of a model that are needed, the weights last.

    Raises:
        ModelError: There are no supported weights.
    """
    names = sorted(name for name in names if "/" not in name)
    weights = [name for name in names if MAIN_WEIGHTS.fullmatch(name)]
    weights = weights or [name for name in names if name.endswith(".safetensors")]
    small = [name for name in names if _SMALL_FILES.fullmatch(name)]
    if not weights and any(name.endswith(".gguf") for name in names):
        raise ModelError(
            "It holds .gguf files only.",
            "Download the one you want in a browser, and open that.",
        )
    if not weights or _CONFIG not in small:
        check_has_weights("It", names)
    small.sort(key=lambda name: name not in (_CONFIG, INDEX))
    return (*small, *weights)


def _fetch(name: HubName, send: _Send) -> Path:
    """Download all files and return the folder of the snapshot."""
    info = HfApi().model_info(
        name.repo, revision=name.revision or None, files_metadata=True
    )
    commit, siblings = info.sha, {file.rfilename: file for file in info.siblings or ()}
    if commit is None:
        raise DownloadError(f"{name.display_name} is empty.", "Choose another model.")
    try:
        names = select_files(siblings)
    except ModelError as error:
        message = error.message.removeprefix("It ")
        raise ModelError(f"{name.display_name} {message}", error.hint) from error
    files = [_file(name, siblings[each]) for each in names]
    planned = tuple(
        PlannedFile(file.name, file.size, str(file.blob), str(file.partial))
        for file in files
    )
    send(Planned(planned, str(name.cache_folder)))
    path = Path()
    for file in files:
        send(Working(file.name))
        _download(name, commit, file, send)
        # The library finds the blob in its cache and adds the file to the snapshot.
        revision = name.revision or "main"
        path = Path(hf_hub_download(name.repo, file.name, revision=revision))
        if file.name == _CONFIG:
            _check_supported(name, path.parent)
    return path.parent


def _check_supported(name: HubName, folder: Path) -> None:
    """Check the config, which is downloaded first, before downloading the weights.

    Raises:
        ModelError: The model is not supported.
    """
    options = read_options(folder)
    if architectures := options.get("architectures"):
        check_model_kind(name.display_name, map(str, architectures), options)


def _file(name: HubName, sibling: RepoSibling) -> _File:
    """Return a file with the path of its blob, whose name is the hash of its bytes."""
    sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
    digest = sha256 or sibling.blob_id or ""
    return _File(
        sibling.rfilename,
        sibling.size or 0,
        name.cache_folder / "blobs" / digest,
        sha256,
    )


def _download(name: HubName, commit: str, file: _File, send: _Send) -> None:
    """Download the missing bytes of a file into the cache.

    Raises:
        DownloadError: The bytes do not match the hash.
    """
    if file.blob.exists():
        return
    file.partial.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(name.repo, file.name, revision=commit)
    location = get_hf_file_metadata(url).location
    headers = build_hf_headers()
    if not _is_same_server(location, url):
        headers.pop("authorization", None)  # other servers must not see the token
    with file.partial.open("ab", buffering=0) as out:
        if out.tell() > file.size:
            out.truncate(0)
        http_get(
            location,
            out,
            resume_size=out.tell(),
            headers=headers,
            expected_size=file.size,
        )
    if file.sha256 and _sha256(file, send) != file.sha256:
        file.partial.unlink()
        raise DownloadError(
            f"{file.name} was damaged during the download.",
            "It was deleted. Resume the download to fetch it again.",
        )
    file.partial.replace(file.blob)


def _is_same_server(location: str, url: str) -> bool:
    return location.split("/")[:3] == url.split("/")[:3]


def _sha256(file: _File, send: _Send) -> str:
    digest = hashlib.sha256()
    with file.partial.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
            send(Working(file.name))
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
