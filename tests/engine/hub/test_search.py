"""Searches of a fake Hub: results, missing values, errors, a hostile server."""

import json
import queue
import sys
import threading
import time

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from surgeon_engine.api.messages.commands import Cancel, SearchHub
from surgeon_engine.api.messages.events import Cancelled
from surgeon_engine.api.messages.sources import HubModel, HubSearched
from surgeon_engine.api.model_info.header import DecoderSizes, ModelFacts
from surgeon_engine.base.errors import DownloadError, RunCancelled
from surgeon_engine.hub import search as search_module
from surgeon_engine.hub import search_process
from surgeon_engine.hub.search import _judged, search_hub
from surgeon_engine.hub.search_process import MAX_MODELS, _search, describe_failure
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.server import Engine
from tests.helpers.fake_hub import used_hub

NAME = "someone/tiny"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}
ENTRY = {
    "id": NAME,
    "downloads": 1234,
    "gated": False,
    "tags": ["transformers", "license:apache-2.0", "region:us"],
    "safetensors": {"parameters": {"BF16": 1000, "F32": 10}, "total": 1010},
    "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "siblings": [{"rfilename": x} for x in ("config.json", "model.safetensors")],
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with used_hub(monkeypatch, tmp_path / "hf") as hub:
        hub.found = [ENTRY]
        hub.models[NAME] = {"config.json": json.dumps(CONFIG).encode()}
        yield hub


def only(found):
    (model,) = found
    return model


def of(**changed):
    return [ENTRY | changed]


def test_found_model_has_its_facts(hub):
    model = only(_search("tiny"))
    assert model == HubModel(
        facts=ModelFacts(
            name=NAME,
            architecture="LlamaForCausalLM",
            parameters=1010,
            blocks=2,
            hidden_size=64,
            vocabulary=1000,
            longest_window=2048,
            dtype="bfloat16",
            file_bytes=2040,
        ),
        sizes=DecoderSizes(2, 64, 128, 4, 2, 16, 1000),
        model_type="llama",
        license="apache-2.0",
        downloads=1234,
    )


def test_search_sends_the_words_and_asks_for_the_most_downloaded(hub):
    _search("tiny & llama")
    (parameters,) = hub.searches
    assert parameters["search"] == ["tiny & llama"]
    assert parameters["pipeline_tag"] == ["text-generation"]
    assert parameters["sort"] == ["downloads"]
    assert parameters["limit"] == ["20"]
    assert "safetensors" in parameters["expand[]"]


def test_no_result_is_an_empty_list(hub):
    hub.found = []
    assert _search("nothing") == ()


@pytest.mark.parametrize("value", [None, 7, -1, "x", [], [None], {}, {"a": []}, 1e300])
def test_fields_that_are_missing_or_odd_fail_no_result(hub, value):
    """Each model has another such field."""
    fields = [field for field in ENTRY if field != "id"]
    names = [f"someone/odd-{field}" for field in fields]
    hub.models |= dict.fromkeys(names, hub.models[NAME])
    hub.found = [
        ENTRY | {"id": name, field: value}
        for name, field in zip(names, fields, strict=True)
    ]
    assert [model.facts.name for model in _search("tiny")] == names


def test_entry_with_its_name_alone_is_found(hub):
    hub.found, hub.models = [{"id": NAME}], {}
    assert only(_search("tiny")) == HubModel(ModelFacts(NAME))


def test_model_whose_config_cannot_be_read_is_described_by_the_list(hub):
    hub.gated_files = True
    hub.found = of(gated="manual")
    model = only(_search("tiny"))
    assert model.is_gated
    assert model.facts.architecture == "LlamaForCausalLM"
    assert model.sizes is None


@pytest.mark.parametrize(
    "config", [b"[]", b"<html>", b"{", b"[" * 10_000, b'{"architectures": 7}']
)
def test_broken_config_fails_no_result(hub, config):
    hub.models[NAME]["config.json"] = config
    assert only(_search("tiny")).facts.parameters == 1010


def test_configs_that_never_arrive_are_left_out(hub, monkeypatch):
    monkeypatch.setattr(search_process, "_CONFIGS_S", 0.3)
    hub.found = [ENTRY | {"id": f"someone/tiny-{n}"} for n in range(MAX_MODELS)]
    hub.stalls = "config.json"  # the requests that wait for others are given up, too
    found = _search("tiny")
    assert [each.facts.name for each in found] == [each["id"] for each in hub.found]
    assert {each.facts.architecture for each in found} == {"LlamaForCausalLM"}


def test_config_without_an_end_is_cut_off(hub):
    hub.endless = "config.json"
    assert only(_search("tiny")).facts.architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("absurd", [10**30, -1, 0, 1.5, "64", True, None, 10**400])
def test_absurd_size_gives_no_sizes(hub, absurd):
    hub.models[NAME]["config.json"] = json.dumps(
        CONFIG | {"hidden_size": absurd, "vocab_size": absurd}
    ).encode()
    model = only(_search("tiny"))
    assert model.sizes is None
    assert 0 <= model.facts.hidden_size < 10**16


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (("config.json", "a.gguf"), "someone/tiny holds .gguf files only."),
        (("config.json", "pytorch_model.bin"), "holds pickled weights only"),
        (("README.md",), "has no .safetensors file"),
    ],
)
def test_model_without_readable_weights_says_so(hub, files, sentence):
    hub.found = of(siblings=[{"rfilename": name} for name in files])
    facts = only(_search("tiny")).facts
    assert sentence in facts.problem
    assert facts.hint


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"architectures": ["BertModel"]}, "is not a decoder-only language model"),
        ({"quantization_config": {"bits": 4}}, "are quantized"),
        ({"architectures": ["X" * 10_000]}, "is not a decoder-only"),
    ],
)
def test_unsupported_model_says_why(hub, changed, sentence):
    hub.models[NAME]["config.json"] = json.dumps(CONFIG | changed).encode()
    facts = only(_search("tiny")).facts
    assert sentence in facts.problem
    assert len(facts.problem) <= 300


def test_quantized_model_has_the_parameters_that_it_stands_for(hub):
    changed = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    hub.models[NAME]["config.json"] = json.dumps(CONFIG | changed).encode()
    hub.found = of(safetensors={"parameters": {"I32": 100, "BF16": 10}})
    facts = only(_search("tiny")).facts
    assert not facts.problem
    assert (facts.parameters, facts.dtype, facts.file_bytes) == (810, "GPTQ", 420)


def test_architecture_that_transformers_does_not_know_is_a_problem():
    known = HubModel(ModelFacts(NAME), model_type="llama")
    assert _judged(known) == known
    judged = _judged(HubModel(ModelFacts(NAME), model_type="no_such_type"))
    assert "knows no decoder of the type no_such_type" in judged.facts.problem
    assert not _judged(HubModel(ModelFacts(NAME))).facts.problem


HOSTILE = (
    "../../etc/passwd",
    "someone/../tiny",
    "<b>someone</b>/tiny",
    "someone/tiny\n",
    "someone/tiny@main",
    "datasets/someone/tiny",
    "https://evil/x",
    "someone/" + "x" * 500,
    "a/b/c",
    "",
    None,
    7,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_name_that_is_no_repository_is_dropped(hub, name):
    hub.found = [ENTRY | {"id": name}, ENTRY | {"id": "other/one"}]
    assert only(_search("tiny")).facts.name == "other/one"


def test_entries_that_are_no_objects_are_dropped(hub):
    hub.found = [None, 7, "x", [], ENTRY]
    assert only(_search("tiny")).facts.name == NAME


def test_more_models_than_asked_for_are_cut_off(hub):
    hub.found = [ENTRY | {"id": f"someone/m{n}"} for n in range(100)] * 2
    names = [model.facts.name for model in _search("tiny")]
    assert names == [f"someone/m{n}" for n in range(MAX_MODELS)]


def test_texts_of_the_server_are_one_short_line(hub):
    hub.found = of(tags=["license:" + "a\n\u202e\x1b[31m" * 1000])
    text = only(_search("tiny")).license
    assert text.isprintable()
    assert len(text) <= 300


@pytest.mark.parametrize(
    "body", [b"<!doctype html><title>Log in</title>", b"", b'{"a": 1}', b"[" * 100_000]
)
def test_response_that_is_no_list_is_described(hub, body):
    hub.found = body
    with pytest.raises(DownloadError) as error:
        _search("tiny")
    failed = describe_failure(error.value, "https://hub")
    assert "does not give a valid answer" in failed.message
    assert failed.hint


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (429, "https://hub has received too many requests from here (HTTP 429)."),
        (500, "https://hub does not answer the search (HTTP 500)."),
        (401, "https://hub does not answer the search (HTTP 401)."),
    ],
)
def test_error_of_the_hub_is_described(hub, status, sentence):
    hub.status = status
    with pytest.raises(HfHubHTTPError) as error:
        _search("tiny")
    failed = describe_failure(error.value, "https://hub")
    assert failed.message == sentence
    assert failed.hint


def test_unreachable_hub_is_described_at_once(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(httpx2.TransportError) as error:
        _search("tiny")
    assert time.monotonic() - began < search_process._TIMEOUT.connect
    assert "cannot be reached" in describe_failure(error.value, "h").message


def test_server_that_never_responds_is_given_up(hub, monkeypatch):
    monkeypatch.setattr(search_process, "_LIST_S", 0.3)
    hub.stalls = "api"
    with pytest.raises(TimeoutError) as error:
        _search("tiny")
    assert "cannot be reached" in describe_failure(error.value, "h").message


def test_offline_mode_is_described_and_a_bug_is_raised():
    offline = describe_failure(OfflineModeIsEnabled("off"), "https://hub")
    assert "offline mode is on" in offline.message
    with pytest.raises(ZeroDivisionError):
        describe_failure(ZeroDivisionError(), "https://hub")


# the engine's side


def context_of(events):
    return RunContext("search", lambda envelope: events.append(envelope.event))


@pytest.mark.slow
def test_process_of_its_own_searches_odd_words(hub):
    words = "--help \0\n" + "x" * 9_999
    found = search_hub(words, context_of([]))
    assert only(found.models).sizes is not None
    (parameters,) = hub.searches
    assert parameters["search"][0].startswith("--help xxx")
    assert len(parameters["search"][0]) == 200


@pytest.mark.slow
def test_search_offline_raises_one_sentence(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as error:
        search_hub("tiny", context_of([]))
    assert error.value.message == (
        "http://127.0.0.1:9 cannot be reached, so only downloaded models are listed."
    )
    assert not error.value.hint


def test_crash_of_the_process_raises(monkeypatch):
    program = "import sys; sys.exit('OSError: no disk.')"
    monkeypatch.setattr(search_module, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(DownloadError, match="search failed: OSError: no disk"):
        search_hub("tiny", context_of([]))


def test_process_that_says_nothing_is_given_up(monkeypatch):
    program = "import time; time.sleep(60)"
    monkeypatch.setattr(search_module, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(DownloadError, match="was given up after 0 seconds"):
        search_hub("tiny", context_of([]), timeout_s=0.2)


def test_cancelled_search_ends_at_once(monkeypatch):
    program = "import time; time.sleep(60)"
    monkeypatch.setattr(search_module, "COMMAND", (sys.executable, "-c", program))
    context = context_of([])
    threading.Timer(0.2, context.handle, (Cancel(run="search"),)).start()
    with pytest.raises(RunCancelled):
        search_hub("tiny", context)


@pytest.mark.slow
def test_engine_searches_beside_an_earlier_search(hub):
    hub.stalls = "api"
    envelopes = queue.Queue()
    engine = Engine(envelopes.put)
    thread = threading.Thread(target=engine.serve, daemon=True)
    thread.start()
    engine.handle(SearchHub(run="first", query="ti"))
    while not hub.searches:
        time.sleep(0.01)
    hub.stalls = ""
    engine.handle(Cancel(run="first"))
    engine.handle(SearchHub(run="second", query="tiny"))
    ended = {}
    while len(ended) < 2:
        envelope = envelopes.get(timeout=30)
        if isinstance(envelope.event, HubSearched | Cancelled):
            ended[envelope.run] = type(envelope.event)
    assert ended == {"first": Cancelled, "second": HubSearched}
    engine.stop()
    thread.join(10)
