"""Download a model of the Hub into its cache: a process with the name as its argument.

It is a process so that it can be stopped at any moment, by killing it. It reports which
files it downloads; `download.py` measures their sizes on the disk.

The cache has the layout of the Hub's own programs, which find the model there.
They discard a partly downloaded file, and they build paths from what the server says.
So this module downloads the bytes itself: into `<digest>.incomplete`, where the next
process resumes, and checks them against the digest before the file gets its name. One
process at a time does so. A path has no part that the server chose, other than digits
of a digest and the plain name of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
import msgspec
from filelock import FileLock, Timeout
from huggingface_hub import constants, get_token

from surgeon_engine.api.model_info.files import (
    INDEX,
    check_has_weights,
    check_indexed,
    indexed_files,
    read_options,
    select_weights,
)
from surgeon_engine.api.model_info.header import check_options
from surgeon_engine.api.model_info.source_names import HubName, hub_name
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.errors import DownloadError, ModelError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.sentences import say
from surgeon_engine.hub.errors import describe_failure
from surgeon_engine.hub.http_client import open_url, read_json
from surgeon_engine.hub.messages import (
    DownloadMessage,
    Fetched,
    HubFile,
    Planned,
    Working,
)
from surgeon_engine.runtime.json_streams import JsonOutput, exit_with_parent

_CONFIG = "config.json"
# Configs, the files of tokenizers, and the card, which states the license.
_SMALL_FILES = re.compile(
    r"[\w.-]*(config|tokenizer|special_tokens_map|added_tokens|vocab|merges|"
    r"chat_template|spiece|sentencepiece|tekken|index)[\w.-]*\.(json|txt|model|jinja)|"
    r"README\.md"
)
_WEIGHTS = re.compile(r"\w[\w.+ -]*\.safetensors")
_CHUNK_BYTES = 64 * 1024  # lost each time the process is killed
_HASH_CHUNK_BYTES = 64 * 2**20
_SHA1_DIGITS = 40
_WAIT_S = 1.0  # between two signs of life

_Send = Callable[[DownloadMessage], None]
_Sha1 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{40}\Z")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Size = Annotated[int, msgspec.Meta(ge=0)]


class _LargeFile(msgspec.Struct):
    """A file that the Hub keeps outside of git, as it describes it."""

    sha256: _Sha256


class _Sibling(msgspec.Struct, rename={"blob_id": "blobId"}):
    """A file of a model, as the Hub describes it."""

    rfilename: str
    size: _Size
    blob_id: _Sha1  # git's hash of the file, or of the LFS pointer to a large file
    lfs: _LargeFile | None = None


class _Repository(msgspec.Struct):
    """A model, as the Hub describes it."""

    sha: _Sha1 | None = None  # the commit; None: there is none yet
    siblings: tuple[_Sibling, ...] = ()


def main() -> int:
    """Download the model that the command line names; return the exit code."""
    exit_with_parent()
    send = JsonOutput().write
    name = hub_name(sys.argv[1])
    assert name is not None
    result = fetch(name, send)
    send(result)
    return int(isinstance(result, Refused))


def fetch(name: HubName, send: _Send) -> Fetched | Refused:
    """Download the missing files of a model; report what is planned and at work."""
    try:
        return Fetched(str(_fetch(name, send)))
    except Exception as error:  # noqa: BLE001 (described, or raised again)
        host, has_token = constants.ENDPOINT, get_token() is not None
        return Refused.by(describe_failure(error, name, host=host, has_token=has_token))


def select_files(
    model: str, names: Iterable[str], indexed: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the files of a model that are needed, the weights last.

    Each is a plain name without folders. `indexed` are the names in the index of the
    weights.

    Raises:
        ModelError: There are no supported weights, or the index names others.
    """
    names = sorted(name for name in names if "/" not in name)
    weights = select_weights(filter(_WEIGHTS.fullmatch, names), indexed)
    small = [name for name in names if _SMALL_FILES.fullmatch(name)]
    if not weights and any(name.endswith(".gguf") for name in names):
        raise ModelError(
            "{model} holds .gguf files only.",
            "Download the one you want in a browser, and open that.",
            model=model,
        )
    if not weights or _CONFIG not in small:
        check_has_weights(model, names)
    check_indexed(model, indexed, weights, say("Choose another model."))
    small.sort(key=lambda name: name not in (_CONFIG, INDEX))
    return (*small, *weights)


def _fetch(name: HubName, send: _Send) -> Path:
    """Download all files and return the folder of the snapshot."""
    revision = name.revision or constants.DEFAULT_REVISION
    found = read_json(
        f"{constants.ENDPOINT}/api/models/{name.repo}/revision/"
        f"{quote(revision, safe='')}?blobs=true",
        _Repository,
    )
    siblings = {file.rfilename: file for file in found.siblings}
    if found.sha is None:
        raise DownloadError(
            "{name} is empty.", "Choose another model.", name=name.display_name
        )
    folder = name.cache_folder / "snapshots" / found.sha
    address = f"{constants.ENDPOINT}/{name.repo}/resolve/{found.sha}"
    indexed: Collection[str] = ()
    if INDEX in siblings:
        indexed = indexed_files(read_json(f"{address}/{INDEX}", dict[str, Any]))
    names = select_files(name.display_name, siblings, indexed)
    files = tuple(_file(name, siblings[each]) for each in names)
    send(Planned(files, str(name.cache_folder)))
    for file in files:
        send(Working(file.name))
        if not _is_linked(file.blob, folder / file.name):
            with _locked(file, send):
                _download(f"{address}/{quote(file.name)}", file, send)
                _link(file.blob, folder / file.name)
        if file.name == _CONFIG:  # before the weights
            check_options(name.display_name, read_options(folder))
    if revision != found.sha:
        reference = name.cache_folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(reference, found.sha.encode())
    return folder


def _file(name: HubName, sibling: _Sibling) -> HubFile:
    digest = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
    folder = name.cache_folder / "blobs"
    return HubFile(sibling.rfilename, sibling.size, digest, str(folder))


@contextmanager
def _locked(file: HubFile, send: _Send) -> Iterator[None]:
    """Wait until no other process downloads a file, and keep them from it."""
    file.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.lock)
    while not lock.is_locked:
        send(Working(file.name))
        with suppress(Timeout):
            lock.acquire(timeout=_WAIT_S)
    try:
        yield
    finally:
        lock.release()


def _download(url: str, file: HubFile, send: _Send) -> None:
    """Download the missing bytes of a file into the cache."""
    if file.blob.exists():
        return
    file.partial.parent.mkdir(parents=True, exist_ok=True)
    file.partial.touch()
    if file.partial.stat().st_size != file.size:
        _receive(url, file)
    if _digest(file, send) != file.digest:
        file.partial.unlink()
        raise DownloadError(
            "{file} was damaged during the download.",
            "It was deleted. Download it again.",
            file=file.name,
        )
    file.partial.replace(file.blob)


def _receive(url: str, file: HubFile) -> None:
    """Append the missing bytes to the incomplete file."""
    start = file.partial.stat().st_size
    start = start if start < file.size else 0
    with open_url(url, start) as response, file.partial.open("ab", buffering=0) as out:
        answer = response.headers.get("content-range", "")
        if not answer.startswith(f"bytes {start}-"):
            start = 0  # the server has begun again
        out.truncate(start)
        for chunk in response.iter_raw(_CHUNK_BYTES):
            start += len(chunk)
            if start > file.size:
                break
            out.write(chunk)
    if start > file.size:
        file.partial.unlink()
        raise DownloadError(
            "{file} has more than the {size:,} bytes that the server said.",
            "It was deleted. If HF_ENDPOINT names a mirror, unset it.",
            file=file.name,
            size=file.size,
        )
    if start < file.size:
        raise httpx2.RemoteProtocolError("The connection was closed too early.")


def _digest(file: HubFile, send: _Send) -> str:
    """Return the digest of the bytes, of the kind that the server has stated."""
    found = hashlib.sha256()
    if len(file.digest) == _SHA1_DIGITS:
        found = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with file.partial.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            found.update(chunk)
            send(Working(file.name))
    return found.hexdigest()


def _is_linked(blob: Path, path: Path) -> bool:
    return blob.exists() and path.exists() and path.samefile(blob)


def _link(blob: Path, path: Path) -> None:
    """Make `path` a link to a blob, or a copy of it where links are not allowed."""
    if _is_linked(blob, path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        shutil.copyfile(blob, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
