"""The bundled demo is small, loads offline, and predicts text it was not trained on."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.calibration.builtin import builtin_documents
from surgeon_engine.model.load import load_model

DEMO = Path(__file__).resolve().parents[3] / "resources" / "demo"
WINDOW = 256  # tokens
WINDOWS = 16  # spread over the validation text


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(
        DEMO, local_files_only=True, dtype=torch.float32
    ).eval()


def _tokens(tokenizer, part):
    """Concatenate the documents of a part, each with its end-of-text token."""
    encoded = tokenizer(builtin_documents(part), verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    return torch.tensor([token for ids in encoded for token in [*ids, end]])


@pytest.fixture(scope="module")
def windows(tokenizer):
    tokens = _tokens(tokenizer, "validation")
    every = tokens[: len(tokens) // WINDOW * WINDOW].view(-1, WINDOW)
    return every[:: len(every) // WINDOWS][:WINDOWS]


def test_demo_folder_is_smaller_than_16_megabytes():
    assert sum(file.stat().st_size for file in DEMO.iterdir()) < 16e6


def test_demo_is_a_small_llama_with_tied_embeddings(model):
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert 2_500_000 < model.num_parameters() < 3_500_000


def test_all_weights_are_finite(model):
    assert all(weight.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x  # twice\n\n\n",
        " leading, and  double  spaces , isn't it .\r\n\t",
        "naïve, 漢字, 😀",
    ],
)
def test_tokenizer_round_trips_every_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_and_model_agree_on_end_of_text(tokenizer, model):
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert len(tokenizer) == model.config.vocab_size


@pytest.mark.slow
@torch.no_grad()
def test_perplexity_is_a_sixth_of_the_unigram_models(model, tokenizer, windows):
    assert windows.shape == (WINDOWS, WINDOW)
    predicted = windows[:, 1:]
    logits = model(input_ids=windows, use_cache=False).logits[:, :-1]
    loss = functional.cross_entropy(logits.flatten(0, 1), predicted.flatten())

    calibration = _tokens(tokenizer, "calibration")
    counts = calibration.bincount(minlength=len(tokenizer)).double() + 1
    unigram_loss = -(counts / counts.sum()).log()[predicted].mean()

    assert loss.exp() <= unigram_loss.exp() / 6


@pytest.mark.slow
def test_runs_of_a_process_share_a_tokenizer():
    """Each new tokenizer would keep its cache of texts until the process ends."""
    first, second = (load_model(ModelConfig("demo")) for _ in range(2))
    assert first.tokenizer is second.tokenizer
    assert first.model is not second.model
