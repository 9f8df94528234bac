"""Random models of real classes with a few thousand weights, and their folders."""

import copy
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

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

_OTHER_NAMES = {
    "GPT2ForCausalLM": "GPT2LMHeadModel",
    "Gemma3Config": "Gemma3TextConfig",
    "Gemma4Config": "Gemma4TextConfig",
    "Qwen3_5Config": "Qwen3_5TextConfig",
}
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
_LINEAR_AND_FULL = ["linear_attention", "full_attention"]


def _plain(model: str, **settings: Any) -> Callable[[], PreTrainedModel]:
    """Return a maker of a model with these settings and the common ones."""
    make, config = (
        getattr(transformers, _OTHER_NAMES.get(name, name))
        for name in (f"{model}ForCausalLM", f"{model}Config")
    )
    names = config.attribute_map
    given = {names.get(name, name): x for name, x in (_COMMON | settings).items()}
    return lambda: make(config(**given))


def _grouped(model: str, **settings: Any) -> Callable[[], PreTrainedModel]:
    """Return a maker of a model with four query heads, two key and value heads."""
    grouped = {"num_key_value_heads": 2, "intermediate_size": 24}
    return _plain(model, **grouped | settings)


def _falcon(**settings: Any) -> Callable[[], PreTrainedModel]:
    return _plain("Falcon", ffn_hidden_size=24, **settings)


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _grouped("Llama"),
    "opt": _plain("OPT", ffn_dim=24, word_embed_proj_dim=16, dropout=0.0),
    "qwen2": _grouped("Qwen2"),
    "gpt_neox": _plain("GPTNeoX", intermediate_size=24),
    "gpt2": _plain("GPT2"),
    "mistral": _grouped("Mistral", sliding_window=8),
    "qwen3": _grouped("Qwen3", head_dim=6),
    "gemma2": _grouped("Gemma2", head_dim=6, **_SLIDING),
    "gemma3": _grouped("Gemma3", head_dim=6, **_SLIDING),
    "phi3": _grouped("Phi3"),
    "stablelm": _grouped("StableLm", use_qkv_bias=True),
    "smollm3": _grouped("SmolLM3", no_rope_layers=[1, 0]),
    "falcon": _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon_multi_head": _falcon(
        multi_query=False, parallel_attn=False, alibi=True, bias=True
    ),
    "falcon_multi_query": _falcon(multi_query=True),
    "olmo2": _grouped("Olmo2"),
}
# Separate so that slower tests can leave them out.
MORE_FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bloom": _plain("Bloom"),
    "glm4": _grouped("Glm4", head_dim=4),
    "gpt_neo": _plain(
        "GPTNeo",
        intermediate_size=24,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
    ),
    "gptj": _plain("GPTJ", n_inner=24, rotary_dim=2),
    "granite_swa": _grouped("GraniteSWA", **_SLIDING),
    "lfm3": _grouped("Lfm3", head_dim=6, layer_types=["full_attention"] * 2),
    "nemotron": _grouped("Nemotron"),
    "phi": _grouped("Phi", qk_layernorm=True),
    "qwen3_5": _grouped("Qwen3_5", head_dim=8, layer_types=_LINEAR_AND_FULL, **_DELTA),
    "stablelm_head_norms": _grouped("StableLm", qk_layernorm=True),
    "starcoder2": _grouped("Starcoder2"),
    "xglm": _plain("XGLM", ffn_dim=24, dropout=0.0),
    "youtu": _grouped(
        "Youtu",
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
    "gpt_bigcode": _plain("GPTBigCode", n_inner=24, multi_query=False),
    "nemotron_h": _grouped(
        "NemotronH",
        layers_block_type=["mamba", "attention", "mlp"],
        head_dim=4,
        ssm_state_size=6,
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=2,
        chunk_size=8,
    ),
    "olmo_hybrid": _grouped(
        "OlmoHybrid",
        layer_types=_LINEAR_AND_FULL,
        linear_allow_neg_eigval=True,
        **_DELTA,
    ),
    "zamba2": _grouped(
        "Zamba2",
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
        "Qwen3Next",
        head_dim=8,
        layer_types=_LINEAR_AND_FULL,
        mlp_only_layers=[0, 1],
        **_DELTA,
    ),
}
# Mixtures of experts: two of eight for each token; in the second model also an expert
# for all tokens, two groups of experts, and a first block without any.
MIXTURES: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen3_moe": _grouped(
        "Qwen3Moe",
        head_dim=6,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
    ),
    "deepseek_v3": _grouped(
        "DeepseekV3",
        num_hidden_layers=3,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        n_group=2,
        topk_group=1,
        moe_intermediate_size=24,
        q_lora_rank=10,
        kv_lora_rank=10,
        qk_rope_head_dim=4,
        qk_nope_head_dim=6,
        v_head_dim=5,
    ),
}
NEURON_FAMILIES = (
    "falcon_multi_query",
    "olmo2",
)  # their heads cannot be removed separately
COUPLED_FAMILIES = tuple(name for name in FAMILIES if name not in NEURON_FAMILIES)
# One family for each difference that Surgeon knows; the others differ in the code of
# transformers alone. Where a claim for all families takes long, `make check` tests it
# on these, and `make runtimes` on the others (`others_later`).
REPRESENTATIVES = (
    "llama",  # separate layers, grouped keys, a gated MLP
    "opt",  # biases, learned positions, a tied head
    "gpt2",  # Conv1D, whose weights are transposed; fused rows by part
    "gpt_neox",  # fused rows by head; attention and MLP side by side
    "gptj",  # layers with and without biases that read the same inputs
    "phi3",  # fused rows by part with grouped keys, and fused gates
    "falcon",  # fused rows by group of keys
    "falcon_multi_head",  # slopes by head
    "bloom",  # attention and MLP that add the residual stream themselves
    "gemma3",  # windows, norms of heads that all share, norms of outputs
    "stablelm_head_norms",  # parameters that each head owns
    "qwen3_5",  # linear attention, and gates beside queries
    "youtu",  # latent keys
    "lfm3",  # a layer of gates in the attention
)
EVERY_FAMILY = tuple(dict.fromkeys([*REPRESENTATIVES, *FAMILIES, *MORE_FAMILIES]))


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a frozen random model in which every weight and every bias matters."""
    model, numbers = _tiny_model(family, seed)
    torch.set_rng_state(numbers)  # as if it had been made now
    return copy.deepcopy(model)


@functools.cache
def _tiny_model(family: str, seed: int) -> tuple[PreTrainedModel, torch.Tensor]:
    """Return a model, and the state of the random numbers after it was made."""
    torch.manual_seed(seed)
    families = FAMILIES | MORE_FAMILIES | HYBRIDS | MIXTURES
    model = families[family]().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif parameter.ndim > 1:
            parameter.normal_(std=0.3)
    return model, torch.get_rng_state()


def llama_with(**settings: Any) -> PreTrainedModel:
    """Return a frozen random Llama that has other settings than the tiny one."""
    return model_with("Llama", **settings)


def model_with(model: str, **settings: Any) -> PreTrainedModel:
    """Return a frozen random model of a class, which has these settings."""
    torch.manual_seed(0)
    return _grouped(model, **settings)().eval().requires_grad_(False)


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
    if tokenizer is not None:
        tiny_model(family, seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder
    files, numbers = _tiny_files(family, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    torch.set_rng_state(numbers)  # as if the model had been made for this folder
    return folder


@functools.cache
def _tiny_files(family: str, seed: int) -> tuple[dict[str, bytes], torch.Tensor]:
    """Return the files of a model folder, and the state of the generator after it."""
    model = tiny_model(family, seed)
    numbers = torch.get_rng_state()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return {x.name: x.read_bytes() for x in Path(folder).iterdir()}, numbers
