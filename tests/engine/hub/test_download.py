"""A model of the Hub is fetched with progress, can be cancelled and goes on later.

Against a Hub on the loopback. What has arrived is never fetched again, and what stands
in the way is a sentence.
"""

from __future__ import annotations

import errno
import json
import queue
import shutil
import threading
from collections import namedtuple

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import DownloadError, ModelError
from surgeon_engine.api.messages.commands import Cancel, DownloadModel, InspectModel
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.cli.main import main
from surgeon_engine.hub.download import download_model
from surgeon_engine.hub.errors import refused as in_words
from surgeon_engine.hub.fetch_process import wanted_names
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.model.source import locate
from surgeon_engine.runtime.run_context import RunCancelled, RunContext
from surgeon_engine.server import Engine
from tests.helpers.fake_hub import TOKEN, FakeHub
from tests.helpers.tiny_models import save_tiny_model

SOURCE = "hf://someone/tiny"
WEIGHTS = "model.safetensors"
PADDING = 400_000  # bytes; so that the weights come in many pieces


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory):
    """The files of a model, its weights made larger by numbers nobody reads."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = save_tiny_model(tmp_path_factory.mktemp("hub") / "tiny")
    weights = load_file(folder / WEIGHTS)
    weights["nobody.reads"] = torch.arange(PADDING // 4, dtype=torch.float32)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(tiny_files, tmp_path, monkeypatch):
    with FakeHub() as hub:
        hub.models["someone/tiny"] = {**tiny_files, "pytorch_model.bin": b"pickle"}
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub


@pytest.fixture
def line():
    """A session and what it has been told."""
    events = []

    def handle(envelope):
        events.append(envelope.event)

    return namedtuple("Line", "context events")(RunContext("download", handle), events)


def download(line, source=SOURCE, **options):
    options = {"waits": (0.0,)} | options
    return download_model(source, line.context, **options)


def progress(line):
    return [event for event in line.events if isinstance(event, Downloading)]


def refused(line, source=SOURCE, **options):
    with pytest.raises(DownloadError) as error:
        download(line, source, **options)
    assert error.value.hint
    return f"{error.value.message} {error.value.hint}"


def interrupted(line, hub):
    """Download slowly, and cancel once a part of the weights is there."""
    hub.pause = 0.02
    waiting = {"target": cancel_after, "args": (line, 100_000), "daemon": True}
    canceller = threading.Thread(**waiting)
    canceller.start()
    with pytest.raises(RunCancelled):
        download(line)
    canceller.join(10)
    hub.pause = 0.0


def cancel_after(line, size):
    arrived = threading.Event()
    while not arrived.wait(0.01):
        told = progress(line)
        if told and told[-1].done > size:
            arrived.set()
    line.context.handle(Cancel(run="download"))


def another_line(line):
    return line._replace(
        context=RunContext("again", lambda e: line.events.append(e.event))
    )


def test_a_download_is_told_and_can_be_pruned_afterwards(hub, line, tiny_files):
    downloaded = download(line)
    told = progress(line)
    assert told[0].done == 0
    wanted = sum(len(data) for data in tiny_files.values())
    assert downloaded.bytes == wanted
    assert downloaded.fetched == wanted
    assert max(event.done for event in told) <= wanted
    assert "pytorch_model.bin" not in hub.sent  # pickles are left where they are
    model = inspect_model(ModelConfig(source=SOURCE)).model
    assert model.name == "tiny"


def test_what_is_cached_is_found_without_a_network(hub, line, monkeypatch):
    download(line)
    hub.status = 500
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert locate(SOURCE).folder == hub_name(SOURCE).snapshot
    assert locate(f"{SOURCE}@main").folder == hub_name(SOURCE).snapshot


def test_what_is_not_there_yet_is_said_to_be_missing(hub):
    with pytest.raises(ModelError) as error:
        locate(SOURCE)
    assert "has not been downloaded" in error.value.message
    assert "surgeon download" in error.value.hint


def test_a_cancelled_download_goes_on_where_it_was(hub, line, tiny_files):
    interrupted(line, hub)
    assert hub_name(SOURCE).snapshot is None  # half a model is none
    downloaded = download(another_line(line))
    assert 0 < downloaded.fetched < downloaded.bytes - 90_000
    size = len(tiny_files[WEIGHTS])
    assert hub.sent[WEIGHTS] < size + 100_000  # what was on its way, not all again
    assert progress(line)[-1].kept > 90_000
    stored = hub_name(SOURCE).snapshot / WEIGHTS
    assert stored.read_bytes() == tiny_files[WEIGHTS]


def test_a_connection_that_is_lost_is_taken_up_again(hub, line, tiny_files):
    hub.breaks_after = 200_000
    download(line)
    assert hub.sent[WEIGHTS] < len(tiny_files[WEIGHTS]) + 100_000


def test_a_connection_that_stands_still_is_given_up_and_taken_up_again(
    hub, line, tiny_files
):
    hub.stalls_after = 200_000
    download(line, stall_seconds=2)
    warnings = [e.message for e in line.events if isinstance(e, Logged)]
    assert len(warnings) == 1
    assert "Nothing has arrived for 2 seconds" in warnings[0]
    assert hub.sent[WEIGHTS] < len(tiny_files[WEIGHTS]) + 100_000
    assert progress(line)[-1].attempt == 2


def test_bytes_that_are_not_those_the_hub_has_named_are_not_kept(hub, line):
    hub.damages = WEIGHTS
    assert "model.safetensors has arrived damaged" in refused(line)
    assert hub_name(SOURCE).snapshot is None
    hub.damages = ""
    download(another_line(line))
    assert hub_name(SOURCE).snapshot is not None


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "GatedRepo", "someone/tiny is gated: its makers ask who uses it"),
        (403, "GatedRepo", "someone/tiny is gated: its makers ask who uses it"),
        (401, "RepoNotFound", "There is no model someone/tiny at"),
        (404, "RepoNotFound", "There is no model someone/tiny at"),
        (404, "EntryNotFound", "A file of someone/tiny has gone"),
        (403, "", "to known users only, and your token is missing"),
        (451, "", "refuses to give someone/tiny (HTTP 451)"),
        (503, "", "is busy or out of order (HTTP 503)"),
    ],
)
def test_a_refusal_of_the_hub_is_a_sentence(status, code, sentence):
    headers = {"X-Error-Code": code} if code else {}
    page = httpx2.Request("GET", "https://hub/someone/tiny/resolve/main/config.json")
    response = httpx2.Response(status, headers=headers, request=page)
    with pytest.raises(HfHubHTTPError) as error:
        hf_raise_for_status(response)
    told = in_words(error.value, hub_name(SOURCE), host="https://hub", has_token=False)
    assert sentence in told.message
    assert told.hint
    assert told.may_pass is (status == 503)


def test_a_disk_that_has_become_full_is_a_sentence():
    full = OSError(errno.ENOSPC, "No space left on device")
    told = in_words(full, hub_name(SOURCE), host="https://hub", has_token=False)
    assert told.message == "The disk is full."
    assert not told.may_pass


def test_a_model_that_does_not_exist(hub, line):
    assert "There is no model someone/other" in refused(line, "hf://someone/other")


def test_a_model_that_may_be_seen_but_not_fetched_is_gated_too(hub, line):
    hub.gated_files = True
    assert "someone/tiny is gated" in refused(line)


def test_the_token_of_the_user_is_shown_to_the_hub_and_told_to_nobody(
    hub, line, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.status, hub.error_code = 403, "GatedRepo"
    told = refused(line)
    assert "your account has no access" in told
    assert TOKEN in hub.tokens
    assert TOKEN not in told + repr(line.events)


def test_a_revision_that_does_not_exist(hub, line):
    message = refused(line, f"{SOURCE}@no-such-branch")
    assert "someone/tiny has no revision no-such-branch" in message


def test_no_network(hub, line, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(line, waits=())


def test_where_nothing_can_be_reached_it_is_tried_again_and_can_be_cancelled(
    hub, line, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    tried_again = threading.Event()

    def handle(envelope):
        if isinstance(envelope.event, Logged):
            tried_again.set()
            context.handle(Cancel(run="download"))

    context = RunContext("download", handle)
    with pytest.raises(RunCancelled):
        download_model(SOURCE, context, waits=(60.0,))
    assert tried_again.is_set()


def test_the_engine_does_other_things_during_a_download(hub, line):
    hub.pause = 0.05
    answers = queue.Queue()
    engine = Engine(answers.put)
    thread = threading.Thread(target=engine.serve, daemon=True)
    thread.start()
    engine.handle(DownloadModel(run="download", source=SOURCE))
    engine.handle(InspectModel(run="inspect", model=ModelConfig()))
    seen = []
    while not any(isinstance(event, ModelDownloaded) for event in seen):
        seen.append(answers.get(timeout=20).event)
    kinds = [type(event).__name__ for event in seen]
    assert kinds.index("ModelInspected") < kinds.index("ModelDownloaded")
    engine.stop()
    thread.join(10)


def test_the_terminal_downloads_too(hub, capsys):
    assert main(["download", "someone/tiny"]) == 0
    said = capsys.readouterr().out
    assert f"{SOURCE} is in {hub_name(SOURCE).snapshot}" in said
    hub.models.clear()
    assert main(["download", "someone/other"]) == 1
    assert "There is no model someone/other" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_told_before_a_byte_is_fetched(
    hub, line, monkeypatch
):
    usage = namedtuple("Usage", "total used free")(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "has 0.0 GB left" in refused(line)
    assert WEIGHTS not in hub.sent


def test_what_would_be_refused_is_refused_before_the_weights_come(
    hub, line, tiny_files
):
    options = json.loads(tiny_files["config.json"]) | {"num_experts": 8}
    hub.models["someone/tiny"]["config.json"] = json.dumps(options).encode()
    assert "mixture of experts" in refused(line)
    assert WEIGHTS not in hub.sent


def test_pickled_weights_are_left_there(hub, line):
    del hub.models["someone/tiny"][WEIGHTS]
    assert "someone/tiny holds pickled weights only (pytorch_model" in refused(line)


def test_files_that_nobody_needs_are_not_fetched():
    names = [
        "README.md",
        ".gitattributes",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
        "merges.txt",
        "vocab.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "consolidated.safetensors",
        "onnx/model.onnx",
        "pytorch_model.bin",
    ]
    wanted = wanted_names(names)
    assert wanted[-1] == "model-00002-of-00002.safetensors"
    assert not {"README.md", "consolidated.safetensors", "onnx/model.onnx"} & {*wanted}
    assert wanted.index("merges.txt") < wanted.index("model-00001-of-00002.safetensors")


def test_files_for_another_program_are_refused():
    with pytest.raises(ModelError, match=r"\.gguf files only"):
        wanted_names(("a.gguf", "config.json"))
