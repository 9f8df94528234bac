"""A dataset of a hostile server writes nothing outside the cache.

The library's own downloader, which builds paths from the server's answers, runs inside
the checks.
"""

from pathlib import Path

import pytest
from huggingface_hub import close_session, hf_hub_download
from huggingface_hub.errors import OfflineModeIsEnabled

from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration.hub_datasets import _readable_errors
from tests.helpers.fake_hub import FakeHub

NAME = hub_name("hf://someone/texts")


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    with FakeHub() as hub:
        hub.models["datasets/someone/texts"] = {"README.md": b"A text."}
        yield hub
    close_session()


def download(hub, cache):
    with _readable_errors(NAME):
        return hf_hub_download(
            NAME.repo,
            "README.md",
            repo_type="dataset",
            cache_dir=cache,
            endpoint=hub.address,
        )


def test_honest_server_is_read(hub, tmp_path):
    for _ in range(2):  # the checks are added once
        path = download(hub, tmp_path / "cache")
    assert Path(path).read_bytes() == b"A text."


@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag", "X-Repo-Commit"])
@pytest.mark.parametrize(
    "name", ["../../../../evil", "/evil", ".", "..", "a\\b", "a/../../b"]
)
def test_name_that_leads_elsewhere_is_refused(hub, tmp_path, header, name):
    hub.headers = {header: f'"{name}"' if "Tag" in header else name}
    with pytest.raises(CalibrationError, match="sent an invalid file name"):
        download(hub, tmp_path / "a" / "b" / "cache")
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in files if name != "CACHEDIR.TAG"]


@pytest.mark.parametrize(
    "etag", ['W/"8c-6WrD95JiXZalWmyM/8wvo3ELvyY"', 'W/"2af78-Uopb/DCAp9p"', "5eed"]
)
def test_usual_etags_are_accepted(hub, tmp_path, etag):
    hub.headers = {"ETag": etag}
    assert Path(download(hub, tmp_path / "cache")).read_bytes() == b"A text."


def test_new_connection_is_checked_too(hub, tmp_path):
    """The library opens a new session after an error of the connection."""
    hub.headers = {"ETag": '"../../../evil"'}
    with pytest.raises(CalibrationError), _readable_errors(NAME):
        close_session()
        hf_hub_download(
            NAME.repo,
            "README.md",
            repo_type="dataset",
            cache_dir=tmp_path / "cache",
            endpoint=hub.address,
        )


def test_offline_mode_is_named_in_the_error():
    offline = pytest.raises(CalibrationError, match="offline mode is on")
    with offline, _readable_errors(NAME):
        raise OfflineModeIsEnabled
