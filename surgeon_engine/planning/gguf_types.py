"""The type of each tensor in a GGUF file, by the rules of llama.cpp's llama-quant.cpp.

A number format names a mixture: most matrices have its base type, and those that suffer
most from rounding a longer one. A type divides each row of a matrix into blocks, and
takes only rows of whole blocks; other rows fall back to a type with shorter blocks.

These are the rules for models with an importance matrix. The forecast of a plan and the
writer of the file both follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from surgeon_engine.api.config.export import FOR_ANY_MODEL, FileDtype
from surgeon_engine.base.sentences import say, say_list


class TensorType(StrEnum):
    """Types of tensors, by their names in GGUF."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q8_0 = "Q8_0"
    Q6_K = "Q6_K"
    Q5_K = "Q5_K"
    Q5_1 = "Q5_1"
    Q5_0 = "Q5_0"
    Q4_K = "Q4_K"
    Q4_1 = "Q4_1"
    Q4_0 = "Q4_0"
    IQ4_NL = "IQ4_NL"
    MXFP4 = "MXFP4"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of neighboring numbers of a row."""

    numbers: int
    bytes: int


BLOCKS = {
    TensorType.F32: Block(1, 4),
    TensorType.F16: Block(1, 2),
    TensorType.BF16: Block(1, 2),
    TensorType.Q8_0: Block(32, 34),
    TensorType.Q6_K: Block(256, 210),
    TensorType.Q5_K: Block(256, 176),
    TensorType.Q5_1: Block(32, 24),
    TensorType.Q5_0: Block(32, 22),
    TensorType.Q4_K: Block(256, 144),
    TensorType.Q4_1: Block(32, 20),
    TensorType.Q4_0: Block(32, 18),
    TensorType.IQ4_NL: Block(32, 18),
    TensorType.MXFP4: Block(32, 17),
}
_BASE = {
    FileDtype.FLOAT32: TensorType.F32,
    FileDtype.FLOAT16: TensorType.F16,
    FileDtype.BFLOAT16: TensorType.BF16,
    FileDtype.Q8_0: TensorType.Q8_0,
    FileDtype.Q6_K: TensorType.Q6_K,
    FileDtype.Q5_K_M: TensorType.Q5_K,
    FileDtype.Q4_K_M: TensorType.Q4_K,
    FileDtype.Q4_0: TensorType.Q4_0,
    FileDtype.IQ4_NL: TensorType.IQ4_NL,
    FileDtype.MXFP4_MOE: TensorType.Q8_0,  # all tensors but experts
}
# Formats in which the kind of a matrix decides its type.
_OF_SEVERAL_TYPES = tuple(x for x in FOR_ANY_MODEL if x is not FileDtype.Q8_0)
_FALLBACK = {
    TensorType.Q6_K: TensorType.Q8_0,
    TensorType.Q5_K: TensorType.Q5_1,
    TensorType.Q4_K: TensorType.Q5_0,
}
_TOKENS, _HEAD, _DOWN, _EXPERTS = "token_embd", "output", "ffn_down", "_exps"
_VALUES = ("attn_v", "attn_qkv")
# With so many experts, the attention is small, and gets more bits.
_FEW_EXPERTS, _BESIDE_FEW_EXPERTS, _OUTPUT = 8, (*_VALUES, "attn_k"), "attn_output"
# The layers whose place decides about their type, by their names inside a block.
_PARTS = {
    "self_attn.v_proj": "attn_v",
    "self_attn.k_proj": "attn_k",
    "self_attn.o_proj": _OUTPUT,
    "self_attn.out_proj": _OUTPUT,
    "self_attn.dense": _OUTPUT,
    "self_attention.dense": _OUTPUT,
    "attention.dense": _OUTPUT,
    "attn.c_proj": _OUTPUT,
    "self_attn.qkv_proj": "attn_qkv",
    "attn.c_attn": "attn_qkv",
    "attention.query_key_value": "attn_qkv",
    "self_attention.query_key_value": "attn_qkv",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "mlp.down_proj": _DOWN,
    "mlp.c_proj": _DOWN,
    "mlp.dense_4h_to_h": _DOWN,
    "mlp.fc2": _DOWN,
    "feed_forward.w2": _DOWN,
    "mlp.shared_expert.down_proj": _DOWN,
    "mlp.shared_experts.down_proj": _DOWN,
    "mlp.shared_mlp.down_proj": _DOWN,
}
_MANY_SHARE = 4  # query heads of a key head, from which a longer type costs little
_BLOCKS_OF_70B = 80


@dataclass(frozen=True, slots=True)
class Mixture:
    """A number format and the facts of a model that decide about the types."""

    dtype: FileDtype
    blocks: int
    queries_per_key: int  # heads for each head of keys
    has_head: bool  # False: the embeddings are the head, too
    experts: int = 0  # in each block

    @property
    def base(self) -> TensorType:
        """The type of most matrices."""
        return _BASE[self.dtype]

    @property
    def outer_matrices(self) -> tuple[str, ...]:
        """The names of the matrices outside of the blocks."""
        return (_TOKENS, _HEAD) if self.has_head else (_TOKENS,)

    def type_of(self, name: str, row: int) -> TensorType:
        """Return the type of a matrix.

        `name` is its name in GGUF, such as "blk.0.attn_q.weight"; empty: of any other.
        It has `row` columns.
        """
        wanted = self.wanted_type(name, row)
        if row % BLOCKS[wanted].numbers == 0:
            return wanted
        fallback = _FALLBACK.get(wanted, TensorType.F16)
        is_whole = row % BLOCKS[fallback].numbers == 0
        return fallback if is_whole else TensorType.F16

    def falls_back(self, name: str, row: int) -> bool:
        """Return whether rows that are no whole blocks get another type."""
        return self.type_of(name, row) is not self.wanted_type(name, row)

    def wanted_type(self, name: str, row: int) -> TensorType:
        """Return the type of a matrix whose rows are whole blocks of it."""
        base, parts = self._base_of(name), name.split(".")
        if self.dtype not in _OF_SEVERAL_TYPES:
            return base
        if parts[0] == _HEAD or (parts[0] == _TOKENS and not self.has_head):
            is_short = row % BLOCKS[TensorType.Q6_K].numbers
            return TensorType.Q8_0 if is_short else TensorType.Q6_K
        if parts[0] != "blk":
            return base
        block, module = int(parts[1]), parts[2]
        if module.startswith(_DOWN):  # experts have them, too
            module = _DOWN
        if self.experts == _FEW_EXPERTS and module in _BESIDE_FEW_EXPERTS:
            return TensorType.Q8_0
        is_short = self.dtype in (FileDtype.Q4_K_M, FileDtype.IQ4_NL)
        if self.experts == _FEW_EXPERTS and module == _OUTPUT and is_short:
            return TensorType.Q5_K
        if self.dtype in (FileDtype.Q4_K_M, FileDtype.Q5_K_M):
            return self._k_type(block, module)
        shares = self.queries_per_key >= _MANY_SHARE
        if self.dtype is FileDtype.IQ4_NL and module in _VALUES and shares:
            return TensorType.Q5_K
        is_early = block < self.blocks // 8
        if self.dtype is FileDtype.Q4_0 and module == _DOWN and is_early:
            return TensorType.Q4_1
        return base

    def _base_of(self, name: str) -> TensorType:
        is_mxfp4 = self.dtype is FileDtype.MXFP4_MOE and _EXPERTS in name
        return TensorType.MXFP4 if is_mxfp4 else self.base

    def _k_type(self, block: int, module: str) -> TensorType:
        if module in (*_VALUES, _DOWN) and self._gets_more_bits(block):
            return TensorType.Q6_K
        is_shared = self.blocks == _BLOCKS_OF_70B and self.queries_per_key > 1
        if module in _VALUES and is_shared:
            return TensorType.Q5_K
        return self.base

    def _gets_more_bits(self, block: int) -> bool:
        eighth = self.blocks // 8
        is_outer = block < eighth or block >= 7 * self.blocks // 8
        return is_outer or (block - eighth) % 3 == 2


def about_fallbacks(found: Mapping[TensorType, int], dtype: str) -> str:
    """Return how many matrices fall back to other types; empty: none does."""
    if not (count := sum(found.values())):
        return ""
    return say(
        "In {dtype}, the rows of {n} matrix do not fill the blocks of its type: it "
        "gets {types}."
        if count == 1
        else "In {dtype}, the rows of {n} matrices do not fill the blocks of their "
        "types: they get {types}.",
        n=count,
        dtype=dtype,
        types=say_list(*sorted(found), separator=" / "),
    )


def planned_name(block: int, kind: str) -> str:
    """Return a name of a layer that has the type of its name in GGUF."""
    return f"blk.{block}.{_PARTS.get(kind, 'other')}.weight"


def is_attention_output(kind: str) -> bool:
    """Return whether a layer has a column for each feature of the query heads."""
    return _PARTS.get(kind) == _OUTPUT


def bytes_of(kind: TensorType, numbers: int) -> int:
    """Return the bytes of whole blocks of a type."""
    block = BLOCKS[kind]
    return numbers // block.numbers * block.bytes
