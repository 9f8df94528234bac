"""A model with fewer tokens computes the same for texts of the kept ones."""

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import MllamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.mllama.configuration_mllama import MllamaTextConfig

from surgeon_engine.api.config.run import Device, ModelConfig, Offload
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.load import load_model, load_original
from surgeon_engine.model.source import ModelSource
from surgeon_engine.model.vocabulary.dimensions import parameters_per_token
from surgeon_engine.model.vocabulary.smaller import required_tokens, with_vocabulary
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.runtime import devices
from tests.helpers.multimodal import MULTIMODAL, image_and_text
from tests.helpers.pretended_gpu import GPU, pretended_gpu
from tests.helpers.pruned_models import loaded
from tests.helpers.shared_keys import SHARED_KEYS, gemma_3n
from tests.helpers.tiny_models import (
    FAMILIES,
    HYBRIDS,
    MORE_FAMILIES,
    VOCABULARY,
    llama_with,
    save_tiny_model,
    tiny_model,
)


def _mllama():
    """Return a model whose embedding has eight rows more than its head."""
    config = MllamaTextConfig(
        vocab_size=VOCABULARY - 8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        cross_attention_layers=[],
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    )
    return MllamaForCausalLM(config)


_OTHERS = {
    # The other tokens are of towers.
    "gemma3n": lambda: gemma_3n(vocab_size_per_layer_input=VOCABULARY - 6),
    "gemma4": SHARED_KEYS["gemma4_text"],
    "mllama": _mllama,
    "llama_tied": lambda: llama_with(tie_word_embeddings=True),
    **{f"{name} with images": make for name, make in MULTIMODAL.items()},
}
_ALL = {**FAMILIES, **MORE_FAMILIES, **HYBRIDS, **_OTHERS}


def tokenizer(size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single characters, without merges."""
    names = ["<end>", "▁", *map(chr, range(0x4E00, 0x4E00 + size - 2))]
    vocabulary = {name: i for i, name in enumerate(names)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<end>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")


def model_of(name: str):
    """Return a frozen random model."""
    if name not in _OTHERS:
        return tiny_model(name)
    torch.manual_seed(0)
    model = _OTHERS[name]().eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=0.2)
    return model


def some(full) -> torch.Tensor:
    """Return half of the tokens, the last ones, and the ones that the model needs."""
    tokens = {*range(1, VOCABULARY, 2), *range(VOCABULARY - 8, VOCABULARY)}
    return torch.tensor(sorted(tokens | required_tokens(full)))


def text_of(kept: torch.Tensor) -> torch.Tensor:
    """Return windows of kept tokens."""
    draw = torch.Generator().manual_seed(1)
    ordinary = kept[kept < VOCABULARY - 8]  # not the tokens of images
    return ordinary[torch.randint(len(ordinary), (2, 24), generator=draw)]


def logits(model, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return language_model_of(model)(tokens, use_cache=False).logits.cpu()


def check(full, text: torch.Tensor, kept: torch.Tensor):
    """Remove tokens, and check that the other logits stay the same."""
    expected = logits(full.model, text.to(full.device))
    rows = expected.shape[-1]
    predicted = SmallerVocabulary.of(full, kept).kept
    small = with_vocabulary(full, kept)
    numbers = torch.searchsorted(small.kept_tokens, text)
    of_head = small.kept_tokens[small.kept_tokens < rows]
    found = logits(small.model, numbers.to(full.device))
    assert torch.equal(found, expected[..., of_head])
    assert torch.equal(predicted.cpu(), of_head)
    return small


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_ALL))
def test_logits_of_kept_tokens_are_equal(name):
    full = loaded(model_of(name), tokenizer())
    kept = some(full)
    before = describe(full.model, full.source)
    small = check(full, text_of(kept), kept)
    after = describe(small.model, small.source)
    removed = before.vocabulary - after.vocabulary
    assert removed > 20
    lost = before.parameters - after.parameters
    assert lost == removed * before.token_parameters
    assert len(small.tokenizer) == len(kept)


def test_image_has_the_same_logits():
    model = model_of("gemma3 with images")
    inputs = image_and_text("gemma3")
    with torch.no_grad():
        expected = model(**inputs).logits
    full = loaded(model, tokenizer())
    inside = inputs["input_ids"][0].tolist()
    kept = torch.tensor(sorted({*some(full).tolist(), *inside}))
    small = with_vocabulary(full, kept)
    inputs["input_ids"] = torch.searchsorted(kept, inputs["input_ids"])
    with torch.no_grad():
        found = small.model(**inputs).logits
    assert torch.equal(found, expected[..., kept])
    assert small.model.config.image_token_index == len(kept) - 1


@pytest.mark.parametrize("is_tied", [True, False])
def test_weights_are_tied_as_before(is_tied):
    model = llama_with(tie_word_embeddings=is_tied)
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    full = loaded(model, tokenizer())
    with_vocabulary(full, torch.arange(40))
    assert model.model.embed_tokens.weight is embedding
    assert model.lm_head.weight is head
    assert (embedding is head) == is_tied
    assert model.model.embed_tokens.num_embeddings == model.lm_head.out_features == 40
    assert model.vocab_size == model.config.vocab_size == 40


def test_numbers_of_tokens_in_configs_follow():
    model = llama_with(eos_token_id=[0, 7], pad_token_id=95, bos_token_id=None)
    model.config.image_token_id = 9
    model.config.other_token_id = -1
    options = model.generation_config
    options.eos_token_id, options.suppress_tokens = [0, 7, 50], [8, 9, 10]
    options.bad_words_ids = [[8], [9, 51], [9, 50]]
    full = loaded(model, tokenizer())
    assert required_tokens(full) == {0, 7, 9, 50, 95}
    small = with_vocabulary(full, torch.tensor([0, 7, 9, 10, 50, 95])).model
    assert small.config.eos_token_id == [0, 1]
    assert small.config.pad_token_id == small.model.embed_tokens.padding_idx == 5
    assert (small.config.image_token_id, small.config.other_token_id) == (2, -1)
    assert options.eos_token_id == [0, 1, 4]
    assert options.suppress_tokens == [2, 3]
    assert options.bad_words_ids == [[2, 4]]


def test_tokens_of_images_stay_behind_their_offset():
    model = llama_with()
    model.config.image_token_offset = 64
    full = loaded(model, tokenizer(size=80))
    small = with_vocabulary(full, torch.tensor([0, 5, 6, *range(64, 80)]))
    assert small.kept_tokens.tolist() == [0, 5, 6, *range(64, VOCABULARY)]
    assert small.model.config.image_token_offset == 3


def test_rows_beyond_the_tokenizer_are_removed_unless_named():
    model = llama_with(bos_token_id=93)
    full = loaded(model, tokenizer(size=90))
    small = with_vocabulary(full, torch.arange(89))
    assert small.kept_tokens.tolist() == [*range(89), 93]
    assert small.model.config.bos_token_id == 89
    assert model.model.embed_tokens.weight.shape[0] == 90
    assert len(small.tokenizer) == 89


def test_all_tokens_change_nothing():
    full = loaded(tiny_model("llama"), tokenizer(size=90))
    assert with_vocabulary(full, torch.arange(90)) is full
    assert full.model.config.vocab_size == VOCABULARY


def refused(full, kept: torch.Tensor) -> str:
    """Return why tokens cannot be removed, and check that nothing has changed."""
    before = {name: x.shape for name, x in full.model.named_parameters()}
    with pytest.raises(ModelError) as error:
        with_vocabulary(full, kept)
    assert {name: x.shape for name, x in full.model.named_parameters()} == before
    assert full.model.config.get_text_config().vocab_size == VOCABULARY
    return error.value.message


def test_model_that_cannot_do_without_tokens_is_refused(monkeypatch):
    full = loaded(llama_with(), tokenizer())
    assert "names 1 tokens" in refused(full, torch.arange(1, 40))
    assert "without a tokenizer" in refused(
        replace(full, tokenizer=None), torch.arange(40)
    )
    full.model.config.vocabulary_map = {"a": 1}
    assert "vocabulary_map" in refused(full, torch.arange(40))
    assert describe(full.model, full.source).token_parameters == 0


def test_model_with_other_shapes_is_refused(monkeypatch):
    """A class that rounds up the rows of its embedding."""
    full = loaded(llama_with(), tokenizer())
    make = type(full.model)._from_config

    def rounded(config, **options):
        config.vocab_size = -(-config.vocab_size // 64) * 64
        return make(config, **options)

    monkeypatch.setattr(type(full.model), "_from_config", rounded)
    message = refused(full, torch.arange(40))
    assert "model.embed_tokens.weight would be 64 x 16 instead of 96 x 16" in message


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(devices, "choose", lambda _: GPU)
    with pretended_gpu():
        yield


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path, tokenizer=tokenizer())


@pytest.mark.parametrize("offload", [Offload.ON, Offload.OFF])
def test_original_is_read_again_with_all_tokens(folder, offload):
    config = ModelConfig(str(folder), device=Device.CPU, offload=offload)
    full = load_model(config)
    kept, ids = some(full), torch.arange(VOCABULARY).unsqueeze(0)
    expected = logits(full.model, ids)
    small = check(full, text_of(kept), kept)
    original = load_original(config, small)
    assert torch.equal(logits(original.model, ids), expected)
    assert len(original.tokenizer) == VOCABULARY
    assert original.kept_tokens is None
    assert original.source == small.source == ModelSource(folder.name, folder)


@pytest.mark.slow
def test_blocks_stay_offloaded(folder, gpu):
    full = load_model(ModelConfig(str(folder), offload=Offload.ON))
    kept = some(full)
    check(full, text_of(kept), kept)
    assert {p.device.type for x in full.blocks for p in x.parameters()} == {"cpu"}
    assert full.model.get_input_embeddings().weight.device.type != "cpu"


def test_model_with_several_embeddings_keeps_its_tokens(monkeypatch):
    model = tiny_model("llama")
    several = nn.ModuleList([model.get_input_embeddings()])
    monkeypatch.setattr(type(model), "get_input_embeddings", lambda _: several)
    with pytest.raises(ModelError, match="one embedding"):
        parameters_per_token(model)
