"""Two models generate text from a prompt and are compared at each token."""

import dataclasses
import itertools
import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Cancel, StopAndKeep
from surgeon_engine.api.messages.generation import (
    GenerationSettings,
    ModelsLoaded,
    Side,
    Stop,
    TextCompared,
    TokenWritten,
)
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import (
    ConfigError,
    EvaluationError,
    ModelError,
    RunCancelled,
)
from surgeon_engine.generation import generate, generated_text, pair, prompt_logits
from surgeon_engine.generation.generate import Playground, model_of
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.source import locate
from surgeon_engine.runtime import devices
from tests.helpers.generation import GenerationRecorder, WorkerClient
from tests.helpers.runs import Recorder, job
from tests.helpers.smaller_vocabularies import (
    demo,
    demo_with,
    kept_of_demo,
    save,
    windows_of,
)
from tests.helpers.tiny_models import save_tiny_model

WINDOW = 64  # the longest of the tiny models
FAMILIES = ("bloom", "gemma3")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(pair, "ModelProcess", WorkerClient)
    monkeypatch.setattr(WorkerClient, "opened", [])
    # Nobody collects the garbage of all the tests.
    monkeypatch.setattr(devices, "reset_peak_memory", lambda: None)


@pytest.fixture
def playground():
    made = Playground()
    yield made
    made.close()
    assert not any(child.is_alive for child in WorkerClient.opened)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return two models of one family with large differences."""
    parent = tmp_path_factory.mktemp("models")
    return [save_tiny_model(parent / str(seed), seed=seed) for seed in range(2)]


def token_ids(folder, text):
    return AutoTokenizer.from_pretrained(folder).encode(text)


def dense_logits(folder, prompt, tokens):
    """Return the logits at each of `tokens`, from one pass in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    before = token_ids(folder, prompt)
    with torch.no_grad():
        logits = model(torch.tensor([before + tokens]), use_cache=False).logits[0]
    return logits[len(before) - 1 : -1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_matches_its_definition_at_each_token(playground, tmp_path, family):
    sides = [save_tiny_model(tmp_path / str(seed), family, seed) for seed in (0, 1)]
    prompt = "A prompt of 21 tokens"  # longer than a sliding window
    # More tokens than are compared at a time.
    recorder = GenerationRecorder().generate(
        playground, *sides, prompt, new_tokens=20, temperature=1.0
    )
    for side, tokens in zip(Side, WorkerClient.opened[0].texts, strict=True):
        found = recorder.found(side)
        assert len(found) == len(tokens) > 0
        ours, theirs = (dense_logits(each, prompt, tokens) for each in sides)
        p, q = ours.softmax(-1), theirs.softmax(-1)
        nats = (p * (p / q).log()).sum(-1)
        same = ours.argmax(-1) == theirs.argmax(-1)
        found_nats = torch.tensor([each.nats for each in found], dtype=torch.float64)
        assert torch.allclose(found_nats, nats, rtol=1e-3, atol=1e-5)
        assert [each.agrees for each in found] == same.tolist()
        vocabulary = AutoTokenizer.from_pretrained(sides[0])
        for name, expected in (("original", p), ("pruned", q)):
            for place, each in enumerate(found):
                guess, shares = getattr(each, name), expected[place]
                first = vocabulary.convert_ids_to_tokens(int(shares.argmax()))
                assert guess.likeliest.strip(" ") == first.strip(" ")
                for probability, target in (
                    (guess.probability, shares.max()),
                    (guess.of_written, shares[tokens[place]]),
                ):
                    assert probability == pytest.approx(
                        float(target), rel=1e-3, abs=1e-6
                    )


@pytest.mark.slow
def test_model_compared_with_itself_does_not_differ(playground, folders):
    recorder = GenerationRecorder().generate(
        playground, folders[0], folders[0], temperature=1.0, seed=3
    )
    assert recorder.text(Side.ORIGINAL) == recorder.text(Side.PRUNED) != ""
    for side in Side:
        assert all(each.nats == 0.0 and each.agrees for each in recorder.found(side))
        assert all(each.original == each.pruned for each in recorder.found(side))


@pytest.mark.slow
def test_seed_determines_the_texts(playground, folders):
    def texts(seed):
        recorder = GenerationRecorder().generate(
            playground, *folders, temperature=1.0, seed=seed
        )
        return [recorder.text(side) for side in Side]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


@pytest.mark.slow
def test_temperature_zero_selects_the_top_token(playground, folders):
    GenerationRecorder().generate(playground, *folders, seed=1)
    texts = WorkerClient.opened[0].texts
    for tokens, folder in zip(texts, folders, strict=True):
        logits = dense_logits(folder, "Some text", tokens)
        assert logits.argmax(-1).tolist() == tokens != []


@pytest.mark.slow
def test_models_take_turns_token_by_token(playground, folders):
    recorder = GenerationRecorder().generate(playground, *folders, new_tokens=5)
    written = [(event.side, event.index) for event in recorder.of(TokenWritten)]
    assert written == [(side, index) for index in range(5) for side in Side]
    last = recorder.events.index(recorder.of(TokenWritten)[-1])
    assert last < recorder.events.index(recorder.of(TextCompared)[0])
    response = recorder.response
    for side in (response.original, response.pruned):
        assert (side.tokens, side.prompt_tokens, side.stop) == (5, 9, Stop.LENGTH)
        assert side.seconds > 0 and side.prompt_seconds > 0 and side.memory_bytes > 0
        assert side.tokens_per_second == pytest.approx(4 / side.seconds)


def ending_with(folder, target, token):
    """Return a copy of a model with `token` as end-of-text token."""
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    path = target / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": [0, token]}))
    return target


@pytest.mark.slow
def test_text_ends_at_end_of_text_token(playground, folders, tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(generated_text, "now", lambda model: next(clock))
    prompt = {"prompt": "Something", "new_tokens": 12, "temperature": 1.0, "seed": 2}
    GenerationRecorder().generate(playground, *folders, **prompt)
    _, free = WorkerClient.opened[0].texts
    end = next(i for i, token in enumerate(free) if i > 2 and token not in free[:i])
    ended = ending_with(folders[1], tmp_path / "ending", free[end])
    recorder = GenerationRecorder().generate(playground, folders[0], ended, **prompt)
    assert WorkerClient.opened[-1].texts[1] == free[:end]
    assert len(recorder.found(Side.PRUNED)) == recorder.response.pruned.tokens == end
    assert recorder.response.pruned.stop is Stop.END_OF_TEXT
    assert recorder.response.original.stop is Stop.LENGTH
    assert recorder.response.original.tokens == 12
    # The step that ends a text is none of its tokens, and counts in no speed.
    assert recorder.response.original.seconds == 11
    assert recorder.response.pruned.seconds == end - 1


@pytest.mark.slow
def test_text_that_ends_at_once_is_empty(playground, folders, tmp_path):
    GenerationRecorder().generate(playground, *folders)
    token = WorkerClient.opened[0].texts[0][0]
    ended = ending_with(folders[0], tmp_path / "ending", token)
    recorder = GenerationRecorder().generate(playground, ended, ended)
    assert recorder.of(TokenWritten) == recorder.of(TextCompared) == []
    assert recorder.response.original.tokens == 0
    assert recorder.response.original.tokens_per_second is None


@pytest.mark.slow
def test_texts_are_limited_by_the_window(playground, folders):
    recorder = GenerationRecorder().generate(playground, *folders, "x" * (WINDOW - 3))
    assert recorder.response.original.tokens == 3
    assert recorder.response.original.stop is Stop.WINDOW
    with pytest.raises(
        ConfigError, match=r"has 64 tokens, but the window .* is 64"
    ) as error:
        GenerationRecorder().generate(playground, *folders, "x" * WINDOW)
    assert error.value.hint


def test_prompt_without_tokens_raises(playground, folders):
    with pytest.raises(ConfigError, match="empty"):
        GenerationRecorder().generate(playground, *folders, "")


@pytest.mark.slow
def test_chat_message_uses_the_template(playground, folders, tmp_path):
    with pytest.raises(ConfigError, match="no chat template") as error:
        GenerationRecorder().generate(playground, *folders, as_chat=True)
    assert "Turn off" in error.value.hint
    with_template = ending_with(folders[0], tmp_path / "with_template", 0)
    tokenizer = AutoTokenizer.from_pretrained(with_template)
    tokenizer.chat_template = "{% for m in messages %}You: {{ m.content }}|{% endfor %}"
    tokenizer.save_pretrained(with_template)
    recorder = GenerationRecorder().generate(
        playground, with_template, with_template, "Hi", as_chat=True
    )
    assert recorder.of(ModelsLoaded)[0].has_chat_template
    (begun,) = [args for x, args in WorkerClient.opened[-1].calls if x == "begin"]
    assert begun[0] == tuple(token_ids(with_template, "You: Hi|"))
    plain = GenerationRecorder().generate(
        playground, with_template, with_template, "You: Hi|"
    )
    assert recorder.text(Side.ORIGINAL) == plain.text(Side.ORIGINAL)


@pytest.mark.slow
def test_models_with_different_vocabularies_raise(playground, folders, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folders[0])
    model.resize_token_embeddings(97)
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"vocabularies \(96 and 97 tokens\)") as error:
        GenerationRecorder().generate(playground, folders[0], tmp_path / "other")
    assert error.value.hint
    assert not playground.is_open


@pytest.mark.slow
def test_model_with_fewer_tokens_writes_by_its_own(playground, tmp_path):
    original = demo()
    windows = windows_of(original, count=1, end=False)
    prompt = original.tokenizer.decode(windows[0])
    smaller = save(demo_with(kept_of_demo(original)), tmp_path / "smaller")
    recorder = GenerationRecorder().generate(playground, DEMO, smaller, prompt)
    found = recorder.response
    assert found.original.prompt_tokens < found.pruned.prompt_tokens
    assert not found.is_compared
    assert recorder.of(TextCompared) == []
    tokenizer = AutoTokenizer.from_pretrained(smaller)
    model = AutoModelForCausalLM.from_pretrained(smaller)
    inputs = tokenizer(prompt, return_tensors="pt").input_ids
    written = model.generate(inputs, max_new_tokens=8, do_sample=False)[0]
    expected = tokenizer.decode(written[inputs.shape[1] :])
    assert recorder.text(Side.PRUNED).strip() == expected.strip()


def test_tokenizer_may_split_the_prompt_in_another_way(playground, tmp_path):
    other = ending_with(locate(DEMO).folder, tmp_path / "other", 0)
    path = other / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["model"]["merges"] = []
    path.write_text(json.dumps(settings))
    GenerationRecorder().generate(playground, DEMO, other)
    ours, theirs = (dict(client.calls)["begin"][0] for client in WorkerClient.opened)
    assert ours == theirs


@pytest.mark.slow
def test_models_that_tokenize_the_prompt_differently_raise(
    playground, folders, tmp_path
):
    other = ending_with(folders[1], tmp_path / "other", 0)
    path = other / "tokenizer.json"
    settings = json.loads(path.read_text())
    vocabulary = settings["model"]["vocab"]
    vocabulary["S"], vocabulary["T"] = vocabulary["T"], vocabulary["S"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="split the prompt into different tokens"):
        GenerationRecorder().generate(playground, folders[0], other)


@pytest.mark.slow
def test_pruned_model_without_tokenizer_uses_the_originals(
    playground, folders, tmp_path
):
    AutoModelForCausalLM.from_pretrained(folders[1]).save_pretrained(tmp_path / "bare")
    recorder = GenerationRecorder().generate(playground, folders[0], tmp_path / "bare")
    assert recorder.text(Side.PRUNED) != ""
    with pytest.raises(ModelError, match="bare has no tokenizer"):
        GenerationRecorder().generate(playground, tmp_path / "bare", folders[0])


@pytest.mark.slow
def test_deleted_model_raises_also_while_it_is_in_memory(playground, folders, tmp_path):
    short_lived = ending_with(folders[1], tmp_path / "short", 0)
    GenerationRecorder().generate(playground, folders[0], short_lived)
    for path in short_lived.iterdir():
        path.unlink()
    short_lived.rmdir()
    with pytest.raises(ModelError, match="There is no model at"):
        GenerationRecorder().generate(playground, folders[0], short_lived)


@pytest.mark.slow
def test_nan_logits_raise(playground, folders, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folders[1])
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "broken")
    with pytest.raises(ModelError, match=r"16 weights of model.norm.weight"):
        GenerationRecorder().generate(playground, folders[0], tmp_path / "broken")
    with pytest.raises(EvaluationError):
        prompt_logits.check_not_nan(torch.tensor([[1.0, float("nan")]]))


@pytest.mark.slow
def test_models_are_kept_in_memory_until_one_changes(playground, folders, tmp_path):
    pruned = ending_with(folders[1], tmp_path / "pruned", 0)
    GenerationRecorder().generate(playground, folders[0], pruned)
    recorder = GenerationRecorder().generate(playground, folders[0], pruned, "Another")
    assert len(WorkerClient.opened) == 2
    stages = [event.stage for event in recorder.of(StageStarted)]
    assert stages == [Stage.GENERATION, Stage.COMPARISON]
    assert recorder.of(ModelsLoaded)
    AutoModelForCausalLM.from_pretrained(folders[0]).save_pretrained(pruned)
    recorder = GenerationRecorder().generate(playground, folders[0], pruned)
    assert len(WorkerClient.opened) == 4
    assert [child.is_alive for child in WorkerClient.opened] == [False] * 2 + [True] * 2
    assert recorder.text(Side.ORIGINAL) == recorder.text(Side.PRUNED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ModelsLoaded, TokenWritten, TextCompared])
def test_cancel_ends_before_the_next_token(playground, folders, kind):
    recorder = GenerationRecorder()
    recorder.send_at(lambda event: isinstance(event, kind), Cancel)
    with pytest.raises(RunCancelled):
        recorder.generate(playground, *folders)
    assert len(recorder.of(kind)) == 1
    assert playground.is_open  # and nothing is left over from it
    again = GenerationRecorder().generate(playground, *folders)
    assert len(WorkerClient.opened) == 2
    assert again.response.original.tokens == len(again.found(Side.ORIGINAL)) == 8


@pytest.mark.slow
def test_stopped_texts_end_together_and_are_compared(playground, folders):
    recorder = GenerationRecorder()
    recorder.send_at(
        lambda event: isinstance(event, TokenWritten) and event.index == 2, StopAndKeep
    )
    recorder.generate(playground, *folders)
    for side in (recorder.response.original, recorder.response.pruned):
        assert side.stop is Stop.ASKED
        assert side.tokens == 4  # the round after it was heard is the last
    assert len(recorder.found(Side.PRUNED)) == 4


def test_texts_stopped_before_they_begin_have_one_token(playground, folders):
    recorder = GenerationRecorder()
    recorder.context.handle(StopAndKeep(run="test"))
    recorder.generate(playground, *folders)
    assert recorder.response.original.tokens == len(recorder.found(Side.ORIGINAL)) == 1


def test_process_that_does_not_become_idle_is_closed(playground, folders, monkeypatch):
    monkeypatch.setattr(WorkerClient, "wait_until_idle", lambda self, seconds: False)
    with pytest.raises(ConfigError):
        GenerationRecorder().generate(playground, *folders, "")
    assert not playground.is_open


@pytest.mark.slow
def test_run_folder_is_replaced_by_its_export(playground, quick_runs, tmp_path):
    config = job(tmp_path, structure=Structure.NEURONS, export=ExportConfig())
    Recorder().run(config, tmp_path / "run")
    assert model_of(str(tmp_path / "run")) == (str(tmp_path / "run" / "export"), False)
    GenerationRecorder().generate(playground, config.model.source, tmp_path / "run")
    function, (opened, _) = WorkerClient.opened[1].calls[0]
    assert (function, opened.source) == ("open", str(tmp_path / "run" / "export"))
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert model_of(str(moved)) == (str(moved / "export"), False)
    assert model_of("demo") == ("demo", False)


def test_gguf_file_of_a_run_comes_before_its_checkpoint(
    playground, quick_runs, tmp_path, monkeypatch
):
    looked = []

    def inspect(config):
        looked.append(config.source)
        return inspect_model(config)

    monkeypatch.setattr(generate, "inspect_model", inspect)
    export = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0)
    run = tmp_path / "run"
    config = job(tmp_path, structure=Structure.NEURONS, export=export)
    config = dataclasses.replace(config, model=ModelConfig(DEMO))
    Recorder().run(config, run)
    assert model_of(str(run)) == (str(run / "export"), False)
    recorder = GenerationRecorder().generate(playground, DEMO, run)
    assert not recorder.of(ModelsLoaded)[0].is_before_rounding
    assert WorkerClient.opened[1].calls[0][1][0].source == str(run / "export")
    assert looked == [str(run / "export")]  # once, as it takes seconds
    (run / "export" / "model.gguf").write_bytes(b"unreadable")
    assert model_of(str(run)) == (str(run / "checkpoint"), True)
    recorder = GenerationRecorder().generate(playground, DEMO, run)
    assert recorder.of(ModelsLoaded)[0].is_before_rounding
    shutil.rmtree(run / "export")
    assert model_of(str(run)) == (str(run / "checkpoint"), True)
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(ModelError, match="export"):
        model_of(str(run))


def test_settings_out_of_range_raise():
    for wrong in ({"temperature": -0.1}, {"top_p": 0.0}, {"new_tokens": 0}):
        with pytest.raises(ConfigError):
            GenerationSettings(**wrong)
