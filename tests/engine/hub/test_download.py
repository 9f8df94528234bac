"""Downloads from a fake Hub: progress, cancellation, resumption, errors.

Data that was received is never downloaded again.
"""

import errno
import json
import queue
import shutil
import sys
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status
from safetensors.torch import load_file, save, save_file

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Cancel, DownloadModel, InspectModel
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_engine.api.model_info.files import INDEX
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.errors import (
    DownloadError,
    ModelError,
    RunCancelled,
    TemporaryDownloadError,
)
from surgeon_engine.cli.main import main
from surgeon_engine.hub import download as download_module
from surgeon_engine.hub.download import download_model
from surgeon_engine.hub.errors import describe_failure
from surgeon_engine.hub.fetch_process import fetch, select_files
from surgeon_engine.hub.messages import Fetched
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.source import locate
from surgeon_engine.server import Engine
from tests.helpers.fake_hub import TOKEN, used_hub
from tests.helpers.runs import Recorder
from tests.helpers.tiny_models import save_tiny_model

pytestmark = pytest.mark.waits

SOURCE = "hf://someone/tiny"
WEIGHTS = "model.safetensors"
PADDING = 400_000  # bytes, so that the weights arrive in many chunks


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory):
    """Make the files of a model, with an unused tensor that enlarges the weights."""
    folder = save_tiny_model(tmp_path_factory.mktemp("hub") / "tiny")
    weights = load_file(folder / WEIGHTS)
    weights["unused"] = torch.arange(PADDING // 4, dtype=torch.float32)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(tiny_files, tmp_path, monkeypatch):
    with used_hub(monkeypatch, tmp_path / "hf") as hub:
        hub.models["someone/tiny"] = {**tiny_files, "pytorch_model.bin": b"pickle"}
        yield hub


@pytest.fixture
def recorder():
    return Recorder()


def download(recorder, source=SOURCE, **options):
    options = {"retry_delays_s": (0.0,)} | options
    return download_model(source, recorder.context, **options)


def failed_download(recorder, source=SOURCE, **options):
    with pytest.raises(DownloadError) as error:
        download(recorder, source, **options)
    assert error.value.hint
    return f"{error.value.message} {error.value.hint}"


def failed_fetch(source=SOURCE):
    """Fetch a model in this process, which is quicker."""
    failed = fetch(hub_name(source), lambda _: None)
    assert isinstance(failed, Refused)
    assert failed.hint
    return failed.message


def interrupt_download(recorder, hub):
    """Download slowly, and cancel when a part of the weights has arrived."""
    hub.pause = 0.1
    canceller = threading.Thread(
        target=cancel_after, args=(recorder, 100_000), daemon=True
    )
    canceller.start()
    with pytest.raises(RunCancelled):
        download(recorder)
    canceller.join(10)
    hub.pause = 0.0


def cancel_after(recorder, size):
    arrived = threading.Event()
    while not arrived.wait(0.01):
        events = recorder.of(Downloading)
        if events and events[-1].done > size:
            arrived.set()
    recorder.context.handle(Cancel(run="test"))


@pytest.mark.slow
def test_download_reports_progress_and_can_be_inspected(hub, recorder, tiny_files):
    downloaded = download(recorder)
    events = recorder.of(Downloading)
    assert events[0].done == 0
    total = sum(len(data) for data in tiny_files.values())
    assert downloaded.bytes == total
    assert downloaded.fetched == total
    assert max(event.done for event in events) <= total
    assert "pytorch_model.bin" not in hub.sent  # a pickle
    model = inspect_model(ModelConfig(source=SOURCE)).model
    assert model.name == "tiny"


@pytest.mark.slow
def test_cached_model_is_found_without_a_network(hub, recorder, monkeypatch):
    download(recorder)
    hub.status = 500
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert locate(SOURCE).folder == hub_name(SOURCE).snapshot
    assert locate(f"{SOURCE}@main").folder == hub_name(SOURCE).snapshot


def test_model_that_is_not_cached_is_reported(hub):
    with pytest.raises(ModelError) as error:
        locate(SOURCE)
    assert error.value.message == hub_name(SOURCE).not_downloaded
    assert "surgeon download" in error.value.hint


@pytest.mark.slow
def test_cancelled_download_is_resumed(hub, recorder, tiny_files):
    interrupt_download(recorder, hub)
    assert hub_name(SOURCE).snapshot is None  # incomplete
    again = Recorder()
    downloaded = download(again)
    assert downloaded.fetched < downloaded.bytes - 90_000
    size = len(tiny_files[WEIGHTS])
    assert hub.sent[WEIGHTS] < size + 100_000  # bytes in flight were sent twice
    assert again.of(Downloading)[-1].kept > 90_000
    stored = hub_name(SOURCE).snapshot / WEIGHTS
    assert stored.read_bytes() == tiny_files[WEIGHTS]


@pytest.mark.slow
def test_lost_connection_is_resumed(hub, recorder, tiny_files):
    hub.breaks_after = 200_000
    download(recorder)
    assert hub.sent[WEIGHTS] < len(tiny_files[WEIGHTS]) + 100_000


@pytest.mark.slow
def test_stalled_download_is_retried(hub, recorder, tiny_files):
    hub.stalls_after = 200_000
    download(recorder, stall_timeout_s=2)
    (warning,) = recorder.of(Logged)
    assert warning.message == (
        "No data has arrived for 2 seconds. Retrying: attempt 2 of 2."
    )
    assert hub.sent[WEIGHTS] < len(tiny_files[WEIGHTS]) + 100_000
    assert recorder.of(Downloading)[-1].attempt == 2


def test_two_downloads_of_a_model_share_its_files(hub, tiny_files):
    hub.pause = 0.01
    name = hub_name(SOURCE)
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: fetch(name, lambda _: None), range(2)))
    assert [type(result) for result in results] == [Fetched, Fetched]
    assert hub.sent[WEIGHTS] == len(tiny_files[WEIGHTS])


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "GatedRepo", "someone/tiny is gated: its authors ask who uses it"),
        (403, "GatedRepo", "someone/tiny is gated: its authors ask who uses it"),
        (401, "RepoNotFound", "There is no model someone/tiny at"),
        (404, "RepoNotFound", "There is no model someone/tiny at"),
        (404, "EntryNotFound", "A file of someone/tiny was deleted"),
        (403, "", "to registered users only, and you have no token"),
        (451, "", "does not provide someone/tiny (HTTP 451)"),
        (503, "", "is busy or unavailable (HTTP 503)"),
    ],
)
def test_error_of_the_hub_is_described(status, code, sentence):
    headers = {"X-Error-Code": code} if code else {}
    page = httpx2.Request("GET", "https://hub/someone/tiny/resolve/main/config.json")
    response = httpx2.Response(status, headers=headers, request=page)
    with pytest.raises(HfHubHTTPError) as error:
        hf_raise_for_status(response)
    failed = describe_failure(
        error.value, hub_name(SOURCE), host="https://hub", has_token=False
    )
    assert sentence in failed.message
    assert failed.hint
    assert isinstance(failed, TemporaryDownloadError) is (status == 503)


def test_full_disk_is_described():
    full = OSError(errno.ENOSPC, "No space left on device")
    failed = describe_failure(
        full, hub_name(SOURCE), host="https://hub", has_token=False
    )
    assert failed.message == "The disk is full."
    assert not isinstance(failed, TemporaryDownloadError)


def test_error_of_the_system_without_words_is_described():
    failed = describe_failure(
        OSError(), hub_name(SOURCE), host="https://hub", has_token=False
    )
    assert failed.message == "someone/tiny cannot be stored: OSError."


@pytest.mark.slow
def test_offline_mode_does_not_contact_the_hub(hub, recorder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.status = 503  # the error of who contacts it
    assert "offline mode is on" in failed_download(recorder)


def test_model_with_gated_files_is_gated(hub):
    hub.gated_files = True
    assert "someone/tiny is gated" in failed_fetch()


@pytest.mark.slow
def test_token_is_sent_to_the_hub_and_not_reported(hub, recorder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.status, hub.error_code = 403, "GatedRepo"
    text = failed_download(recorder)
    assert "your account has no access" in text
    assert TOKEN in hub.tokens
    assert TOKEN not in text + repr(recorder.events)


def test_revision_that_does_not_exist_raises(hub):
    message = failed_fetch(f"{SOURCE}@no-such-branch")
    assert "someone/tiny has no revision no-such-branch" in message


@pytest.mark.slow
def test_unreachable_hub_raises(hub, recorder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    text = failed_download(recorder, retry_delays_s=())
    assert "cannot be reached" in text
    assert "kept" not in text  # nothing has arrived


@pytest.mark.slow
def test_failure_after_some_bytes_says_that_they_are_kept(hub, recorder):
    hub.breaks_after = 200_000
    text = failed_download(recorder, retry_delays_s=())
    assert "The data received so far is kept" in text


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print('noise')", 'not a valid message: "noise"'),
        (
            "import sys; sys.exit('Traceback\\nOSError: no disk.')",
            ": OSError: no disk.",
        ),
        ("import os; os.kill(os.getpid(), 9)", "was killed by the system"),
    ],
)
def test_crash_of_the_process_is_retried_and_then_raises(
    recorder, monkeypatch, program, reason
):
    monkeypatch.setattr(download_module, "COMMAND", (sys.executable, "-c", program))
    assert reason in failed_download(recorder)
    (warning,) = recorder.of(Logged)
    assert reason in warning.message


@pytest.mark.slow
def test_unreachable_hub_is_retried_until_cancelled(hub, recorder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    recorder.send_at(lambda event: isinstance(event, Logged), Cancel)
    with pytest.raises(RunCancelled):
        download(recorder, retry_delays_s=(60.0,))
    assert recorder.of(Logged)


@pytest.mark.slow
def test_engine_executes_other_commands_during_a_download(hub, recorder):
    hub.pause = 0.05
    envelopes = queue.Queue()
    engine = Engine(envelopes.put)
    thread = threading.Thread(target=engine.serve, daemon=True)
    thread.start()
    engine.handle(DownloadModel(run="download", source=SOURCE))
    engine.handle(InspectModel(run="inspect", model=ModelConfig()))
    events = []
    while not any(isinstance(event, ModelDownloaded) for event in events):
        events.append(envelopes.get(timeout=20).event)
    types = [type(event).__name__ for event in events]
    assert types.index("ModelInspected") < types.index("ModelDownloaded")
    engine.stop()
    thread.join(10)


@pytest.mark.slow
def test_command_line_downloads(hub, capsys):
    assert main(["download", "someone/tiny"]) == 0
    output = capsys.readouterr().out
    assert f"{SOURCE} is in {hub_name(SOURCE).snapshot}" in output
    hub.models.clear()
    assert main(["download", "someone/other"]) == 1
    assert "There is no model someone/other" in capsys.readouterr().err


@pytest.mark.slow
def test_disk_space_is_checked_before_the_download(hub, recorder, monkeypatch):
    usage = namedtuple("Usage", "total used free")(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "has 1.0 MB left" in failed_download(recorder)
    assert WEIGHTS not in hub.sent


def test_unsupported_model_raises_before_weights_are_downloaded(hub, tiny_files):
    options = json.loads(tiny_files["config.json"]) | {"pruned": {"layers": 3}}
    hub.models["someone/tiny"]["config.json"] = json.dumps(options).encode()
    assert "has been pruned already" in failed_fetch()
    assert WEIGHTS not in hub.sent


def test_model_with_pickled_weights_only_raises(hub):
    del hub.models["someone/tiny"][WEIGHTS]
    assert "someone/tiny holds pickled weights only (pytorch_model" in failed_fetch()


def test_all_files_of_the_index_are_downloaded(hub):
    files, first = hub.models["someone/tiny"], "model-00001-of-00001.safetensors"
    files[first] = files.pop(WEIGHTS)
    shards = {"unused": first, "mtp.fc.weight": "mtp.safetensors"}
    files[INDEX] = json.dumps({"weight_map": shards}).encode()
    assert "has no mtp.safetensors, which model.safetensors.index" in failed_fetch()
    assert first not in hub.sent
    files["mtp.safetensors"] = save({"mtp.fc.weight": torch.ones(2)})
    files["other.safetensors"] = b"x"
    assert isinstance(fetch(hub_name(SOURCE), lambda _: None), Fetched)
    names = [path.name for path in locate(SOURCE).weight_files]
    assert names == [first, "mtp.safetensors"]
    assert "other.safetensors" not in hub.sent


def test_only_needed_files_are_selected():
    names = [
        "README.md",
        ".gitattributes",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tekken.json",
        "model.safetensors.index.json",
        "merges.txt",
        "vocab.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "consolidated.safetensors",
        "onnx/model.onnx",
        "pytorch_model.bin",
    ]
    first, last = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    unneeded = {".gitattributes", "consolidated.safetensors", "onnx/model.onnx"}
    with pytest.raises(ModelError, match="index"):
        select_files("x", names)
    selected = select_files("x", names, [first, last])
    assert selected[-1] == last
    assert not unneeded & {*selected}
    assert selected.index("merges.txt") < selected.index(first)
    assert "tekken.json" in selected


def test_model_with_gguf_files_only_raises():
    with pytest.raises(ModelError, match=r"\.gguf files only"):
        select_files("x", ("a.gguf", "config.json"))
