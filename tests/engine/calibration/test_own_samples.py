"""Own samples follow the model's distribution, and are sampled once."""

import os
from dataclasses import replace

import pytest
import torch
from tokenizers import processors

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import Dtype, ModelConfig
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.calibration import own_samples as module
from surgeon_engine.calibration.fenced import preview_text
from surgeon_engine.calibration.own_samples import (
    Author,
    Batch,
    own_samples,
    own_text,
    sample,
)
from surgeon_engine.model.identity import stamps_of
from surgeon_engine.model.load import load_model
from tests.helpers.pairs import others_later
from tests.helpers.tiny_models import (
    FAMILIES,
    VOCABULARY,
    byte_tokenizer,
    llama_with,
    save_tiny_model,
    tiny_model,
    tokenizer_with_beginning,
)

FEW = 6  # tokens of a vocabulary


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Return a tiny model in a folder, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_tiny_model(tmp_path / "model")
    return load_model(ModelConfig(str(tmp_path / "model")))


def text_of(loaded, count=3, length=8, seed=0):
    """Return the inputs that determine the windows of a loaded model."""
    model = loaded.model
    author = Author(loaded.files, model.dtype, model.config, loaded.tokenizer)
    return own_text(author, count, length, seed)


def samples_of(loaded, *settings, step=lambda: None):
    """Return the windows of a loaded model."""
    return own_samples(loaded.model, text_of(loaded, *settings), step)


def test_samples_follow_the_distribution_of_the_model():
    """Chi-square of the second and third token, given the tokens before."""
    model = llama_with(vocab_size=FEW, num_hidden_layers=1)
    model.lm_head.weight.mul_(20)
    windows = sample(model, Batch(((0,),) * 4000, seed=1), length=3)
    assert windows.shape == (4000, 3)
    assert (windows[:, 0] == 0).all()
    for known in ((0,), (0, int(windows[:, 1].mode().values))):
        prefix = torch.tensor([known])
        with torch.no_grad():
            expected = model(prefix).logits[0, -1].softmax(dim=0).double()
        matching = (windows[:, : len(known)] == prefix).all(dim=1)
        next_tokens = windows[matching, len(known)]
        counts = torch.bincount(next_tokens, minlength=FEW).double()
        mean = expected * len(next_tokens)
        assert expected.max() < 0.9  # not decided by one token
        chi_square = ((counts - mean).square() / mean)[mean > 5].sum()
        assert chi_square < 20.5  # 0.1 % quantile of 5 degrees of freedom


def test_model_that_cannot_be_run_is_named(loaded, monkeypatch):
    def forward(*_: object, **__: object) -> None:
        raise RuntimeError("The size of tensor a (4) must match\nthat of b")

    monkeypatch.setattr(loaded.model.model.layers[0].mlp, "forward", forward)
    with pytest.raises(EvaluationError, match=r"run LlamaForCausalLM .*\(4\) must"):
        samples_of(loaded)


# A cache has to continue sliding windows, learned positions and slopes.
@pytest.mark.parametrize(
    "family", others_later(FAMILIES, ["gemma2", "gpt2", "falcon_multi_head"])
)
def test_cached_sampling_equals_sampling_from_whole_windows(family):
    model = tiny_model(family)
    found = sample(model, Batch(((1,), (1, 5, 7), (1,)), seed=4), length=9)
    generator = torch.Generator().manual_seed(4)
    expected = torch.full((3, 1), 1)
    with torch.no_grad():
        for place in range(1, 9):
            logits = model(expected, use_cache=False).logits[:, -1]
            ends = logits.softmax(dim=1).double().cumsum(dim=1)
            numbers = torch.rand(3, 1, generator=generator, dtype=torch.float64)
            drawn = (ends <= numbers * ends[:, -1:]).sum(dim=1, keepdim=True)
            if place < 3:
                drawn[1] = (1, 5, 7)[place]
            expected = torch.cat([expected, drawn], dim=1)
    assert torch.equal(found, expected)


def test_windows_are_sampled_once_and_read_from_the_cache(loaded, monkeypatch):
    steps = []
    first = samples_of(loaded, step=lambda: steps.append(0))
    assert len(steps) == text_of(loaded).steps == 7
    assert int(first.max()) < VOCABULARY
    monkeypatch.setattr(module, "sample", None)  # not called again
    assert torch.equal(samples_of(loaded), first)


def test_cache_that_cannot_be_written_is_left_out(loaded, tmp_path, caplog):
    (tmp_path / "cache").write_text("no folder")
    first = samples_of(loaded)
    assert torch.equal(samples_of(loaded), first)
    assert "cannot be kept" in caplog.text


def test_interrupted_sampling_goes_on_after_the_last_complete_batch(
    loaded, monkeypatch
):
    monkeypatch.setattr(module, "OWN_WINDOWS_AT_ONCE", 4)
    steps = []

    def interrupt():
        steps.append(0)
        if len(steps) == 10:  # in the second batch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        samples_of(loaded, 10, 8, step=interrupt)
    sampled = []

    def count(model, batch, *rest):
        sampled.append(len(batch.openings))
        return sample(model, batch, *rest)

    monkeypatch.setattr(module, "sample", count)
    steps.clear()
    windows = samples_of(loaded, 10, 8, step=lambda: steps.append(0))
    assert sampled == [4, 2]
    assert len(steps) == text_of(loaded, 10, 8).steps == 3 * 7
    assert len(windows.unique(dim=0)) == 10
    assert torch.equal(samples_of(loaded, 8, 8), windows[:8])  # all of it is kept
    assert sampled == [4, 2]


def test_samples_begin_with_what_the_tokenizer_puts_in_front_of_a_text(loaded):
    assert samples_of(loaded)[:, 0].tolist() == [0] * 3  # it puts none: <end>
    tokenizer = tokenizer_with_beginning("<bos>", "<sop>")
    loaded = replace(loaded, tokenizer=tokenizer)
    ids = tokenizer.convert_tokens_to_ids(["<bos>", "<sop>"])
    assert samples_of(loaded)[:, :2].tolist() == [ids] * 3
    assert text_of(loaded).steps == 6


def test_half_of_the_samples_of_a_chat_model_begin_as_a_chat(loaded):
    tokenizer = tokenizer_with_beginning("<bos>", "<user>")
    tokenizer.chat_template = "<bos><user>{{ messages[0].content }}<end>"
    chat_model = replace(loaded, tokenizer=tokenizer)
    ids = tokenizer.convert_tokens_to_ids(["<bos>", "<user>"])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=["<bos>", "$A"], special_tokens=[("<bos>", ids[0])]
    )
    windows = samples_of(chat_model, 4, 8)
    assert windows.shape == (4, 8)
    assert windows[2:, :2].tolist() == [ids] * 2
    text = text_of(chat_model, 4, 8)
    (batch,) = text.batches
    assert batch.openings == ((ids[0],),) * 2 + (tuple(ids),) * 2
    assert torch.equal(sample(loaded.model, batch, 8), windows)
    assert text.steps == 7
    assert torch.equal(text.read_cached(), windows)


def test_half_of_the_windows_are_chats_and_other_openings_have_other_files(loaded):
    chats, files = [], set()
    for template in (
        None,
        "U:{{ messages[0].content }}",
        "AB{{ messages[0].content }}",
    ):
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = template
        (batch,) = (
            text := text_of(replace(loaded, tokenizer=tokenizer), 10, 8)
        ).batches
        chats.append(sum(len(opening) > 1 for opening in batch.openings))
        files.add(text.file_of(batch))
    assert chats == [0, 5, 5]
    assert len(files) == 3


def test_long_chat_opening_leaves_room_for_the_model(loaded):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "12345{{ messages[0].content }}"
    with_chats = replace(loaded, tokenizer=tokenizer)
    openings = [
        [
            len(x)
            for batch in text_of(with_chats, 4, length).batches
            for x in batch.openings
        ]
        for length in (9, 10)
    ]
    assert openings == [[1, 1, 1, 1], [1, 1, 5, 5]]


@pytest.mark.slow
def test_preview_shows_the_samples_in_the_cache(loaded, tmp_path):
    model = ModelConfig(str(tmp_path / "model"))
    path = tmp_path / "text.txt"
    path.write_text("A few words, " * 20)
    text = CalibrationConfig(
        str(path), str(path), windows=4, validation_windows=3, window_length=8
    )
    assert preview_text(model, text).own_cache_bytes == 0
    assert preview_text(model, text, own_windows=20).own == ()
    windows = samples_of(loaded, 20, 8)
    shown = preview_text(model, text, own_windows=20)
    first_and_last = torch.cat([windows[:6], windows[-6:]])
    assert shown.own == tuple(map(loaded.tokenizer.decode, first_and_last))
    (path,) = (tmp_path / "cache").rglob("*.tokens")
    assert shown.own_cache_bytes == path.stat().st_size
    assert preview_text(model, text, own_windows=21).own == ()
    assert preview_text(replace(model, dtype=Dtype.BFLOAT16), text, 20).own == ()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["count", "length", "seed", "weights"])
def test_other_settings_or_weights_have_other_windows(loaded, tmp_path, change):
    before = samples_of(loaded)
    if change == "weights":
        save_tiny_model(tmp_path / "model", seed=1)
        loaded = load_model(ModelConfig(str(tmp_path / "model")))
    count, length, seed = {
        "count": (4, 8, 0),
        "length": (3, 9, 0),
        "seed": (3, 8, 1),
        "weights": (3, 8, 0),
    }[change]
    after = samples_of(loaded, count, length, seed)
    assert after.shape == (count, length)
    assert before.shape != after.shape or not torch.equal(before, after)


@pytest.mark.slow
def test_damaged_cache_is_sampled_again(loaded, tmp_path):
    windows = samples_of(loaded)
    (path,) = (tmp_path / "cache").rglob("*.tokens")
    whole = path.read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in (3, 60)]
    for damaged in (b"", whole[:100], whole + b"0", *flipped):
        path.write_bytes(damaged)
        assert torch.equal(samples_of(loaded), windows)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_cache_of_a_model_that_has_changed_is_not_read(loaded, tmp_path, name):
    """Its text is sampled again, though size and time of the file are the same."""
    samples_of(loaded)
    path = tmp_path / "model" / name
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = replace(loaded, files=stamps_of(loaded.source))
    assert text_of(changed).read_cached() is None
    path.write_bytes(data)
    restored = replace(loaded, files=stamps_of(loaded.source))
    assert text_of(restored).read_cached() is not None
