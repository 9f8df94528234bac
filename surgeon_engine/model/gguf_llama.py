"""Read GGUF files of the architectures llama and deci that transformers cannot read.

transformers has no model whose blocks differ in their widths (deci). Of other files it
leaves out biases and the scaling of positions, and it refuses some numbers of heads.
Surgeon writes all of these. Here, heads and neurons of zeros fill up the narrower
blocks, which changes nothing that the model computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import ReaderTensor
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from surgeon_engine.api.model_info.gguf_header import read_gguf_header
from surgeon_engine.base.sentences import say
from surgeon_engine.model.gguf_config import check_known
from surgeon_engine.model.gguf_entries import Entries
from surgeon_engine.model.gguf_parsing import parsed_once

RAGGED = "deci"
_ARCHITECTURES = ("llama", RAGGED)
_FACTORS = "rope_freqs.weight"
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PARTS = _ATTENTION | _MLP


@dataclass(frozen=True, slots=True)
class LlamaFile:
    """A GGUF file as a model of transformers."""

    config: LlamaConfig
    tensors: Mapping[str, FilledTensor]  # by their names in transformers

    @property
    def numbers(self) -> int:
        """How many numbers the tensors have, zeros that fill them up included."""
        return sum(math.prod(each.shape) for each in self.tensors.values())


@dataclass(frozen=True, slots=True)
class FilledTensor:
    """A tensor of a file, filled up by zeros to a shape; indexing reads it."""

    stored: ReaderTensor | None  # None: the file has none
    shape: tuple[int, ...]
    head_size: int = 0  # 0: its rows are in order
    missing: float = 0.0  # the number that stands for a tensor that is not stored

    def __getitem__(self, index: Any) -> Tensor:
        if self.stored is None:
            return torch.full(self.shape, self.missing)[index]
        numbers = gguf.dequantize(self.stored.data, self.stored.tensor_type)
        numbers = numbers.reshape(_shape(self.stored))
        if self.head_size:  # llama.cpp rotates neighboring rows
            pairs = numbers.reshape(-1, self.head_size // 2, 2, *numbers.shape[1:])
            numbers = pairs.swapaxes(1, 2).reshape(numbers.shape)
        sides = zip(self.shape, numbers.shape, strict=True)
        filled = np.pad(numbers, [(0, full - kept) for full, kept in sides])
        return torch.from_numpy(filled)[index]


def llama_file(path: Path) -> LlamaFile | None:
    """Return a GGUF file as a model of transformers; None: transformers reads it well.

    Raises:
        ModelError: The header is damaged, or neither program can read the model.
    """
    if read_gguf_header(path).get("general.architecture") not in _ARCHITECTURES:
        return None
    with parsed_once():
        header = _Header(Entries(path))
    return header.file() if header.is_special else None


def _shape(tensor: ReaderTensor) -> tuple[int, ...]:
    return tuple(int(x) for x in reversed(tensor.shape))


class _Header:
    """The header of the file of a Llama."""

    def __init__(self, entries: Entries) -> None:
        self._entries, self._stored = entries, entries.tensors
        self._blocks = int(entries.needed("block_count"))
        self._hidden = int(entries.needed("embedding_length"))
        self._size = entries.head_size

    @property
    def is_special(self) -> bool:
        """Whether transformers would refuse the file or leave something out."""
        return (
            self._entries.architecture == RAGGED
            or self._has_bias(*_PARTS)
            or _FACTORS in self._stored
            or self._hidden % int(self._entries.needed("attention.head_count")) != 0
        )

    def file(self) -> LlamaFile:
        self._check()
        rows = {part: self._rows(part) for part in ("attn_q", "attn_k", "ffn_up")}
        shared = {
            queries / keys
            for queries, keys in zip(rows["attn_q"], rows["attn_k"], strict=True)
            if keys
        }
        if len(shared) != 1 or not float(ratio := shared.pop()).is_integer():
            raise self._entries.unreadable(
                say("the heads of its attentions share their keys in several ways")
            )
        heads = self._number_of_heads(max(rows["attn_k"]) // self._size, int(ratio))
        config = self._config(heads, heads // int(ratio), max(rows["ffn_up"]))
        return LlamaFile(config, dict(self._tensors(config)))

    def _check(self) -> None:
        """Check that the model is a plain Llama."""
        check_known(self._entries, LlamaConfig())
        if self._blocks > len(self._stored):
            raise self._entries.unreadable(say("it has no tensors of most blocks"))
        known = {f"blk.{n}.{part}" for n in range(self._blocks) for part in _PARTS}
        for name in self._stored:
            module, _, _ = name.rpartition(".")
            if name not in (*_OUTSIDE, _FACTORS) and module not in known:
                raise self._entries.unreadable(
                    say(
                        "it has the tensor {tensor}, which is not read",
                        tensor=name[:100],
                    )
                )
        for key in ("attention.value_length", "rope.dimension_count"):
            if self._entries.value(key) not in (None, self._size):
                raise self._entries.unreadable(
                    say(
                        "its heads have {size} features, but {key} is {value}",
                        size=self._size,
                        key=key,
                        value=self._entries.value(key),
                    )
                )

    def _number_of_heads(self, keys: int, shared: int) -> int:
        """Return the heads of each block: transformers wants the embedding's divisors.

        A block has at most `keys` heads of keys, each with `shared` heads of queries.
        """
        for heads in range(keys * shared, self._hidden + 1, shared):
            if self._hidden % heads == 0:
                return heads
        raise self._entries.unreadable(say("no number of heads divides its embedding"))

    def _config(self, heads: int, keys: int, neurons: int) -> LlamaConfig:
        vocabulary, _ = _shape(self._stored["token_embd.weight"])
        tokens = {
            f"{kind}_token_id": self._entries.token(kind) for kind in ("bos", "eos")
        }
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=self._hidden,
            intermediate_size=neurons,
            num_hidden_layers=self._blocks,
            num_attention_heads=heads,
            num_key_value_heads=keys,
            head_dim=self._size,
            max_position_embeddings=int(self._entries.needed("context_length")),
            rms_norm_eps=float(
                self._entries.needed("attention.layer_norm_rms_epsilon")
            ),
            tie_word_embeddings="output.weight" not in self._stored,
            attention_bias=self._has_bias(*_ATTENTION),
            mlp_bias=self._has_bias(*_MLP),
            rope_parameters=self._entries.rope(),
            architectures=["LlamaForCausalLM"],
            **tokens,
        )
        if _FACTORS in self._stored:
            config.rope_parameters = self._scaled_rope(config)
        return config

    def _scaled_rope(self, config: LlamaConfig) -> dict[str, Any]:
        """Return the scaling of Llama 3 that gives the divisors in the file."""
        theta = config.rope_parameters["rope_theta"]
        factors = FilledTensor(self._stored[_FACTORS], (self._size // 2,))[...]
        powers = torch.arange(0, self._size, 2, dtype=torch.float32) / self._size
        for exponent in range(5, 21):
            config.rope_parameters = {
                "rope_type": "llama3",
                "rope_theta": theta,
                "factor": round(float(factors.max()), 4),
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 2**exponent,
            }
            scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
            if torch.allclose(factors, 1.0 / (theta**powers * scaled), rtol=1e-3):
                return dict(config.rope_parameters)
        raise self._entries.unreadable(
            say("it scales positions otherwise than Llama 3")
        )

    def _tensors(self, config: LlamaConfig) -> Iterator[tuple[str, FilledTensor]]:
        for name, theirs in _OUTSIDE.items():
            if name in self._stored:
                stored = self._stored[name]
                yield theirs, FilledTensor(stored, _shape(stored))
        for number in range(self._blocks):
            for parts in (_ATTENTION, _MLP):
                yield from self._sub_layer(number, parts, config)

    def _sub_layer(
        self, number: int, parts: Mapping[str, str], config: LlamaConfig
    ) -> Iterator[tuple[str, FilledTensor]]:
        """Yield the tensors of an attention or an MLP; all of them may be missing."""
        has_any = any(f"blk.{number}.{part}.weight" in self._stored for part in parts)
        has_bias = config.attention_bias if parts is _ATTENTION else config.mlp_bias
        shapes = part_shapes(
            config.hidden_size,
            config.num_attention_heads * self._size,
            config.num_key_value_heads * self._size,
            config.intermediate_size,
        )
        for part, theirs in parts.items():
            shape = shapes.get(part, (config.hidden_size,))
            size = self._size if part in ("attn_q", "attn_k") else 0
            is_norm = part.endswith("norm")
            stored = self._stored.get(f"blk.{number}.{part}.weight")
            if stored is not None or not has_any:  # else transformers misses it
                filled = FilledTensor(stored, shape, size, float(is_norm))
                yield f"model.layers.{number}.{theirs}.weight", filled
            if has_bias and not is_norm:
                stored = self._stored.get(f"blk.{number}.{part}.bias")
                filled = FilledTensor(stored, shape[:1], size)
                yield f"model.layers.{number}.{theirs}.bias", filled

    def _rows(self, part: str) -> Sequence[int]:
        """Return the rows of a layer's weight in each block; 0: none."""
        names = [f"blk.{number}.{part}.weight" for number in range(self._blocks)]
        return [
            _shape(self._stored[name])[0] if name in self._stored else 0
            for name in names
        ]

    def _has_bias(self, *parts: str) -> bool:
        found = {name.split(".")[-2] for name in self._stored if name.endswith(".bias")}
        return not found.isdisjoint(parts)


def part_shapes(
    hidden: int, queries: int, keys: int, neurons: int
) -> dict[str, tuple[int, int]]:
    """Return the shapes of the weights in a block by their names in the file."""
    return {
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_gate": (neurons, hidden),
        "ffn_up": (neurons, hidden),
        "ffn_down": (hidden, neurons),
    }
