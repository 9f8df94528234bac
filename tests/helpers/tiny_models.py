"""Random models of real classes with a few thousand weights, and their folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteSWAConfig,
    GraniteSWAForCausalLM,
    Lfm3Config,
    Lfm3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    NemotronConfig,
    NemotronForCausalLM,
    NemotronHConfig,
    NemotronHForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OlmoHybridConfig,
    OlmoHybridForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
    XGLMConfig,
    XGLMForCausalLM,
    YoutuConfig,
    YoutuForCausalLM,
    Zamba2Config,
    Zamba2ForCausalLM,
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


_GPT_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}
_GPT = {_GPT_NAMES.get(name, name): value for name, value in _COMMON.items()}
# Four query heads, two key and value heads.
_GROUPED = _COMMON | {"num_key_value_heads": 2, "intermediate_size": 24}
# A window that is shorter than the texts of the tests, in one of the blocks.
_SLIDING = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
# Two heads of keys, four of values.
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 4,
}


def _opt() -> PreTrainedModel:
    config = OPTConfig(**_COMMON, ffn_dim=24, word_embed_proj_dim=16, dropout=0.0)
    return OPTForCausalLM(config)


def _gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, intermediate_size=24))


def _gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**_GPT))


def _gptj() -> PreTrainedModel:
    return GPTJForCausalLM(GPTJConfig(**_GPT, n_inner=24, rotary_dim=2))


def _gpt_neo() -> PreTrainedModel:
    names = {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"}
    common = {names.get(name, name): value for name, value in _COMMON.items()}
    kinds = [[["global", "local"], 1]]
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            **common, intermediate_size=24, attention_types=kinds, window_size=8
        )
    )


def _bloom() -> PreTrainedModel:
    names = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    common = {names.get(name, name): value for name, value in _COMMON.items()}
    return BloomForCausalLM(BloomConfig(**common))


def _xglm() -> PreTrainedModel:
    return XGLMForCausalLM(XGLMConfig(**_COMMON, ffn_dim=24, dropout=0.0))


def _grouped(
    model: type[PreTrainedModel], config: type[PretrainedConfig], **settings: object
) -> Callable[[], PreTrainedModel]:
    return lambda: model(config(**_GROUPED | settings))


def _falcon(**settings: object) -> Callable[[], PreTrainedModel]:
    settings = _COMMON | {"ffn_hidden_size": 24} | settings
    return lambda: FalconForCausalLM(FalconConfig(**settings))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _grouped(LlamaForCausalLM, LlamaConfig),
    "opt": _opt,
    "qwen2": _grouped(Qwen2ForCausalLM, Qwen2Config),
    "gpt_neox": _gpt_neox,
    "gpt2": _gpt2,
    "mistral": _grouped(MistralForCausalLM, MistralConfig, sliding_window=8),
    "qwen3": _grouped(Qwen3ForCausalLM, Qwen3Config, head_dim=6),
    "gemma2": _grouped(Gemma2ForCausalLM, Gemma2Config, head_dim=6, **_SLIDING),
    "gemma3": _grouped(Gemma3ForCausalLM, Gemma3TextConfig, head_dim=6, **_SLIDING),
    "phi3": _grouped(Phi3ForCausalLM, Phi3Config),
    "stablelm": _grouped(StableLmForCausalLM, StableLmConfig, use_qkv_bias=True),
    "smollm3": _grouped(SmolLM3ForCausalLM, SmolLM3Config, no_rope_layers=[1, 0]),
    "falcon": _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon_multi_head": _falcon(
        multi_query=False, parallel_attn=False, alibi=True, bias=True
    ),
    "falcon_multi_query": _falcon(multi_query=True),
    "olmo2": _grouped(Olmo2ForCausalLM, Olmo2Config),
}
# Separate so that slower tests can leave them out.
MORE_FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bloom": _bloom,
    "glm4": _grouped(Glm4ForCausalLM, Glm4Config, head_dim=4),
    "gpt_neo": _gpt_neo,
    "gptj": _gptj,
    "granite_swa": _grouped(GraniteSWAForCausalLM, GraniteSWAConfig, **_SLIDING),
    "lfm3": _grouped(
        Lfm3ForCausalLM, Lfm3Config, head_dim=6, layer_types=["full_attention"] * 2
    ),
    "nemotron": _grouped(NemotronForCausalLM, NemotronConfig),
    "phi": _grouped(PhiForCausalLM, PhiConfig, qk_layernorm=True),
    "qwen3_5": _grouped(
        Qwen3_5ForCausalLM,
        Qwen3_5TextConfig,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        **_DELTA,
    ),
    "stablelm_head_norms": _grouped(
        StableLmForCausalLM, StableLmConfig, qk_layernorm=True
    ),
    "starcoder2": _grouped(Starcoder2ForCausalLM, Starcoder2Config),
    "xglm": _xglm,
    "youtu": _grouped(
        YoutuForCausalLM,
        YoutuConfig,
        num_key_value_heads=4,
        q_lora_rank=10,
        kv_lora_rank=10,
        qk_rope_head_dim=4,
        qk_nope_head_dim=6,
        v_head_dim=5,
    ),
}
# Heads cannot be removed from each block, or few models are built like it.
HYBRIDS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt_bigcode": lambda: GPTBigCodeForCausalLM(
        GPTBigCodeConfig(**_GPT, n_inner=24, multi_query=False)
    ),
    "nemotron_h": _grouped(
        NemotronHForCausalLM,
        NemotronHConfig,
        layers_block_type=["mamba", "attention", "mlp"],
        head_dim=4,
        ssm_state_size=6,
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=2,
        chunk_size=8,
    ),
    "olmo_hybrid": _grouped(
        OlmoHybridForCausalLM,
        OlmoHybridConfig,
        layer_types=["linear_attention", "full_attention"],
        linear_allow_neg_eigval=True,
        **_DELTA,
    ),
    "zamba2": _grouped(
        Zamba2ForCausalLM,
        Zamba2Config,
        num_hidden_layers=3,
        layers_block_type=["hybrid", "mamba", "hybrid"],
        num_mem_blocks=1,  # both hybrid blocks have the same attention and MLP
        n_mamba_heads=4,
        mamba_headdim=8,
        mamba_ngroups=2,
        mamba_d_state=6,
        chunk_size=8,
    ),
    "qwen3_next": _grouped(
        Qwen3NextForCausalLM,
        Qwen3NextConfig,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        mlp_only_layers=[0, 1],
        **_DELTA,
    ),
}
NEURON_FAMILIES = (
    "falcon_multi_query",
    "olmo2",
)  # their heads cannot be removed separately
COUPLED_FAMILIES = tuple(name for name in FAMILIES if name not in NEURON_FAMILIES)


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a frozen random model in which every weight and every bias matters."""
    torch.manual_seed(seed)
    model = (FAMILIES | MORE_FAMILIES | HYBRIDS)[family]().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif parameter.ndim == 2:
            parameter.normal_(std=0.3)
    return model


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each printable ASCII character."""
    characters = {chr(32 + i): i for i in range(1, VOCABULARY - 1)}
    vocabulary = {"<end>": 0, **characters, "<unknown>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def tokenizer_with_beginning(*tokens: str) -> PreTrainedTokenizerFast:
    """Return a `byte_tokenizer` that puts tokens in front of a text, and <end> after.

    The tokens replace the last characters of its vocabulary.
    """
    definition = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    vocabulary = definition["model"]["vocab"]
    for token, character in zip(tokens, reversed(list(vocabulary)[1:-1]), strict=False):
        vocabulary[token] = vocabulary.pop(character)
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.add_special_tokens([*tokens, "<end>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*tokens, "$A", "<end>"],
        special_tokens=[(name, vocabulary[name]) for name in (*tokens, "<end>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=tokens[0], eos_token="<end>"
    )


def save_tiny_model(
    folder: Path,
    family: str = "llama",
    seed: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Path:
    """Write a model folder with transformers; default: with a `byte_tokenizer`."""
    tiny_model(family, seed).save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    return folder
