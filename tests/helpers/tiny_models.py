"""Random instances of real classes, a few thousand weights each, and their folders."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 96
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def _llama() -> PreTrainedModel:
    config = LlamaConfig(**_COMMON, num_key_value_heads=2, intermediate_size=24)
    return LlamaForCausalLM(config)


def _opt() -> PreTrainedModel:
    config = OPTConfig(**_COMMON, ffn_dim=24, word_embed_proj_dim=16, dropout=0.0)
    return OPTForCausalLM(config)


def _qwen2() -> PreTrainedModel:
    config = Qwen2Config(**_COMMON, num_key_value_heads=2, intermediate_size=24)
    return Qwen2ForCausalLM(config)


def _gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, intermediate_size=24))


def _gpt2() -> PreTrainedModel:
    names = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}
    names |= {"num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}
    return GPT2LMHeadModel(
        GPT2Config(**{names.get(name, name): value for name, value in _COMMON.items()})
    )


FAMILIES = {
    "llama": _llama,
    "opt": _opt,
    "qwen2": _qwen2,
    "gpt_neox": _gpt_neox,
    "gpt2": _gpt2,
}
COUPLED_FAMILIES = ("llama", "opt", "qwen2")


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A frozen random model in which every weight and every bias matters."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif parameter.ndim == 2:
            parameter.normal_(std=0.3)
    return model


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, for the printable part of ASCII."""
    characters = {chr(32 + i): i for i in range(1, VOCABULARY - 1)}
    vocabulary = {"<end>": 0, **characters, "<unknown>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def save_tiny_model(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """A model folder as transformers writes it."""
    tiny_model(family, seed).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
