"""A hostile or broken server writes nothing outside the cache, and ends in a sentence.

The bytes are fetched in this process; one test does the same by a whole download.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.base.errors import (
    DownloadError,
    EngineError,
    ModelError,
    TemporaryDownloadError,
)
from surgeon_engine.hub.download import download_model
from surgeon_engine.hub.errors import describe_failure
from surgeon_engine.hub.fetch_process import _fetch
from surgeon_engine.hub.http_client import _redirected
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.fake_hub import COMMIT, TOKEN, FakeHub, used_hub

SOURCE = "hf://someone/tiny"
WEIGHTS = "model.safetensors"
UP = "../../../../../evil"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
FILES = {"config.json": json.dumps(CONFIG).encode(), WEIGHTS: b"abc" * 100_000}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with used_hub(monkeypatch, tmp_path / "a" / "b" / "hf") as hub:
        hub.models["someone/tiny"] = dict(FILES)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def written(tmp_path) -> Callable[[], set[str]]:
    """Return a function that gives the files in the cache of the model.

    It checks that there are none elsewhere but locks, and no link that leads out of the
    cache.
    """

    def find() -> set[str]:
        cache = hub_name(SOURCE).cache_folder
        locks = cache.parent / ".locks" / cache.name
        paths = (path for path in tmp_path.rglob("*") if path.parent != locks)
        found = [path for path in paths if not path.is_dir()]
        assert all(path.resolve().is_relative_to(cache) for path in found)
        return {str(path.relative_to(cache)) for path in found}

    return find


@pytest.fixture(scope="module", autouse=True)
def plain_client():
    """Use the client of the library, as a process for downloads does.

    One for all tests: to make it takes longer than most of them.
    """
    set_client_factory(default_client_factory)


def fetch() -> Path:
    return _fetch(hub_name(SOURCE), lambda message: None)


def sentence_of(error: Exception) -> str:
    failed = describe_failure(
        error, hub_name(SOURCE), host=constants.ENDPOINT, has_token=True
    )
    assert failed.message.endswith(".") and failed.hint.endswith(".")
    assert "Traceback" not in failed.message
    return failed.message


def of_model(**changed: object) -> Callable[[dict], dict]:
    """Change the server's description of the model."""
    return lambda found: found | changed


def of_files(**changed: object) -> Callable[[dict], dict]:
    """Change the server's description of each file."""

    def describe(found: dict) -> dict:
        return found | {"siblings": [each | changed for each in found["siblings"]]}

    return describe


def test_files_of_an_honest_server_are_in_the_cache(hub, written):
    folder = fetch()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert hub_name(SOURCE).snapshot == folder
    kinds = {path.split("/")[0] for path in written()}
    assert kinds == {"blobs", "snapshots", "refs"}
    assert len(written()) == 2 + 2 + 1
    assert hub.tokens == {TOKEN}


DIGESTS = [UP, "/tmp/evil", "", "A" * 40, "a" * 39, "a" * 41, "a" * 39 + "\n", "\0", 7]
DESCRIPTIONS = {
    **{f"blob {x!r}": of_files(blobId=x) for x in [*DIGESTS, None]},
    **{f"sha256 {x!r}": of_files(lfs={"sha256": x}) for x in [*DIGESTS, None]},
    **{f"commit {x!r}": of_model(sha=x) for x in DIGESTS},
    **{f"size {x!r}": of_files(size=x) for x in (None, -1, 1.5, "9", [], 1e400)},
    **{f"name {x!r}": of_files(rfilename=x) for x in (None, 7, ["config.json"])},
    "large file is a number": of_files(lfs=7),
    "files are an object": of_model(siblings={}),
    "files are numbers": of_model(siblings=[1, 2]),
    "list": lambda found: [found],
    "null": lambda found: None,
    "empty": lambda found: b"",
    "page": lambda found: b"<!doctype html><title>Log in</title>",
    "no text": lambda found: b"\xff\xfe\0",
    "cut off": lambda found: json.dumps(found).encode()[:-9],
    "nested": lambda found: b"[" * 100_000,
    "nested in a file": lambda found: b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_invalid_description_is_refused(hub, written, kind):
    hub.describes = DESCRIPTIONS[kind]
    with pytest.raises(DownloadError) as error:
        fetch()
    assert "give a valid answer" in sentence_of(error.value)
    assert written() == set()


NAMES = (UP, f"{UP}.safetensors", "/tmp/evil.safetensors", "..\\evil.safetensors")
NAMES += ("C:evil.safetensors", ".safetensors", "..", "a\0.safetensors", "a\n.json")


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leads_elsewhere_is_not_fetched(hub, written, name):
    hub.models["someone/tiny"] = {"config.json": FILES["config.json"], name: b"evil"}
    with pytest.raises(ModelError, match="someone/tiny"):
        fetch()
    assert written() == set()
    hub.models["someone/tiny"] = {**FILES, name: b"evil"}
    assert {path.name for path in fetch().iterdir()} == set(FILES)
    assert name not in hub.sent


def test_headers_do_not_name_files(hub, written):
    hub.headers = {"ETag": f'"{UP}"', "X-Repo-Commit": UP, "X-Linked-Etag": UP}
    assert fetch().name == COMMIT
    assert written()


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("file:///etc/passwd", "begins with file:, not with http:, https:"),
        ("ftp://127.0.0.1/evil", "begins with ftp:"),
        ("data:,evil", "begins with data:"),
        ("http://hub:port/", "an address that is not valid"),
        (f"/someone/tiny/resolve/{COMMIT}/config.json", "more than 5 times"),
    ],
)
def test_redirect_that_leads_nowhere_good_is_refused(hub, written, location, sentence):
    hub.redirects["config.json"] = location
    with pytest.raises(DownloadError) as error:
        fetch()
    assert sentence in sentence_of(error.value)
    assert not any(path.startswith("snapshots") for path in written())


def test_redirect_never_leaves_a_protected_connection():
    page = httpx2.URL("https://hub/config.json")
    assert str(_redirected(page, "https://cdn/x")) == "https://cdn/x"
    with pytest.raises(DownloadError, match="begins with http:, not with https:"):
        _redirected(page, "http://cdn/x")


def test_another_server_gets_no_token(hub, written):
    with FakeHub() as other:
        other.models["someone/tiny"] = FILES
        page = f"/someone/tiny/resolve/{COMMIT}/{WEIGHTS}"
        hub.redirects[WEIGHTS] = other.address + page
        assert (fetch() / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert other.sent == {WEIGHTS: len(FILES[WEIGHTS])}
    assert other.tokens == set()
    assert hub.tokens == {TOKEN}


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("damages", "was damaged"), ("endless", "has more than the {size:,} bytes")],
    ids=["other bytes", "no end"],
)
def test_file_with_other_or_more_bytes_is_refused(hub, written, name, fault, sentence):
    setattr(hub, fault, name)
    with pytest.raises(DownloadError) as error:
        fetch()
    expected = f"{name} {sentence.format(size=len(FILES[name]))}"
    assert expected in sentence_of(error.value)
    assert not any(path.endswith((name, ".incomplete")) for path in written())
    assert hub_name(SOURCE).snapshot is None


def test_description_without_an_end_is_cut_off(hub, written):
    hub.endless = "api"
    with pytest.raises(DownloadError) as error:
        fetch()
    assert "of more than 67,108,864 bytes" in sentence_of(error.value)
    assert written() == set()


def test_error_without_an_end_is_not_read(hub, written):
    hub.status, hub.endless = 404, "error"
    with pytest.raises(Exception) as error:
        fetch()
    assert "does not provide someone/tiny (HTTP 404)" in sentence_of(error.value)


def test_file_that_ends_too_early_is_tried_again(hub, written):
    hub.describes = of_files(size=400_000)
    with pytest.raises(httpx2.TransportError) as error:
        fetch()
    failed = describe_failure(
        error.value, hub_name(SOURCE), host=hub.address, has_token=False
    )
    assert isinstance(failed, TemporaryDownloadError)


def test_server_without_ranges_begins_again(hub, written):
    blobs = hub_name(SOURCE).cache_folder / "blobs"
    fetch()
    (large,) = [path for path in blobs.iterdir() if len(path.name) == 64]
    large.rename(f"{large}.incomplete")
    os.truncate(f"{large}.incomplete", 100_000)
    hub.knows_ranges = False
    assert (fetch() / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_empty_file_is_fetched(hub, written):
    hub.models["someone/tiny"]["merges.txt"] = b""
    assert (fetch() / "merges.txt").read_bytes() == b""


def test_complete_bytes_without_a_name_are_not_fetched_again(hub, written):
    fetch()
    for path in (hub_name(SOURCE).cache_folder / "blobs").iterdir():
        path.rename(f"{path}.incomplete")
    hub.sent.clear()
    assert {path.name: path.read_bytes() for path in fetch().iterdir()} == FILES
    assert hub.sent == {}


@pytest.mark.slow
def test_download_from_a_hostile_server_ends_in_a_sentence(hub, written):
    hub.describes = of_files(blobId=UP, lfs=None)
    events = []
    context = RunContext("download", events.append)
    with pytest.raises(EngineError, match="give a valid answer") as error:
        download_model(SOURCE, context, retry_delays_s=())
    assert error.value.hint
    assert written() == set()
