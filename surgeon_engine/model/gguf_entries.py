"""Read the entries and tensors of a GGUF file that describe its model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.path_problems import unusable
from surgeon_engine.base.sentences import say

# Keys of numbers with a fraction, and the options of transformers that they repeat.
FLOATS = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": (
        "layer_norm_epsilon",
        "layer_norm_eps",
        "norm_epsilon",
    ),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "logit_scale": ("logits_scaling", "logit_scale"),
    "expert_weights_scale": ("routed_scaling_factor",),
}
_KIND = "rope.scaling.type"
_FACTOR = "rope.scaling.factor"
_CONTEXT = "rope.scaling.original_context_length"
_ATTENTION = "rope.scaling.attn_factor"
# Options of yarn, and the values that llama.cpp takes.
YARN = {"beta_fast": 32, "beta_slow": 1}
# Tensors of factors for long and short texts, and the options that they repeat.
LENGTHS = {f"{x}_factor": f"rope_factors_{x}.weight" for x in ("long", "short")}
# The entries that `Entries.rope` reads.
ROPE = (
    *("rope.freq_base", "rope.dimension_count", "rope.scale_linear"),
    *(_KIND, _FACTOR, _CONTEXT, _ATTENTION),
)


class Entries:
    """Entries and tensors of a GGUF header."""

    def __init__(self, path: Path) -> None:
        """Read the header of a file.

        Raises:
            ModelError: It is a part of a file.
        """
        reader = gguf.GGUFReader(path)
        self.path, self._fields = path, reader.fields
        self.tensors = {each.name: each for each in reader.tensors}
        if (count := self._found("split.count") or 1) > 1:
            raise ModelError(
                "{path} is one of the {count} parts of a file that was split.",
                "Merge all parts with a program of llama.cpp, and choose the file "
                "that it writes: llama-gguf-split --merge FIRST-PART merged.gguf",
                path=path.name,
                count=count,
            )
        self.architecture = str(self._found("general.architecture"))

    @property
    def of_model(self) -> dict[str, Any]:
        """All entries of the architecture, by their keys without its name."""
        prefix = f"{self.architecture}."
        return {
            key.removeprefix(prefix): field.contents()
            for key, field in self._fields.items()
            if key.startswith(prefix)
        }

    @property
    def head_size(self) -> int:
        """The number of features of a head."""
        heads = np.max(self.needed("attention.head_count"))
        size = self.value("attention.key_length")
        return int(size or self.needed("embedding_length") // heads)

    def rope(self) -> dict[str, Any]:
        """Return how positions are rotated, as transformers says it.

        Raises:
            ModelError: transformers cannot say it.
        """
        rope = {
            "rope_type": "default",
            "rope_theta": float(self.value("rope.freq_base") or 10000.0),
        }
        size = self.head_size
        if (rotated := self.value("rope.dimension_count") or size) != size:
            rope["partial_rotary_factor"] = rotated / size
        kind = self.value(_KIND) or "linear"
        factor = float(self.value(_FACTOR) or self.value("rope.scale_linear") or 1.0)
        is_long = LENGTHS["long_factor"] in self.tensors
        plain = ("linear", "longrope") if is_long else ("linear",)
        if kind == "none" or (kind in plain and factor == 1.0):
            return rope | (self._factors() if is_long else self._checked())
        if is_long or kind not in ("linear", "yarn"):
            raise self.unreadable(say("it scales positions by {kind}", kind=kind))
        rope |= {"rope_type": kind, "factor": factor}
        return rope | (self._yarn(factor) if kind == "yarn" else self._checked())

    def _factors(self) -> dict[str, Any]:
        """Return the factors of frequencies for short and for long texts."""
        stored = {name: self.tensors[each] for name, each in LENGTHS.items()}
        return {
            "rope_type": "longrope",
            "original_max_position_embeddings": self._original_context,
            "attention_factor": float(self.value(_ATTENTION) or 1.0),
            **{
                name: gguf.dequantize(each.data, each.tensor_type).tolist()
                for name, each in stored.items()
            },
        }

    def _yarn(self, factor: float) -> dict[str, Any]:
        found: dict[str, Any] = {
            "original_max_position_embeddings": self._original_context
        }
        if (more := self.value(_ATTENTION)) is not None:
            found["attention_factor"] = more * (0.1 * math.log(factor) + 1.0)
        return found

    def _checked(self) -> dict[str, Any]:
        """Return nothing: queries and keys are not scaled."""
        if self.value(_ATTENTION) not in (None, 1.0):
            raise self.unread(_ATTENTION)
        return {}

    @property
    def _original_context(self) -> int:
        return int(self.value(_CONTEXT) or self.needed("context_length"))

    def value(self, key: str) -> Any:
        """Return an entry of the architecture; None: there is none."""
        return self._found(f"{self.architecture}.{key}")

    def needed(self, key: str) -> Any:
        """Return an entry of the architecture.

        Raises:
            ModelError: There is none.
        """
        if (value := self.value(key)) is None:
            raise self.unreadable(
                say("its header has no {key}", key=f"{self.architecture}.{key}")
            )
        return value

    def token(self, kind: str) -> int | None:
        """Return the number of a special token, such as bos."""
        found = self._found(f"tokenizer.ggml.{kind}_token_id")
        return None if found is None else int(found)

    def unread(self, key: str) -> ModelError:
        """Return the error for a file with an entry that is not read."""
        value = self.value(key)
        return self.unreadable(
            say(
                "its header has {key} = {value}, which is not read",
                key=f"{self.architecture}.{key}"[:100],
                value=f"{value:.6g}" if isinstance(value, float) else str(value)[:100],
            )
        )

    def unreadable(self, reason: str) -> ModelError:
        """Return the error for a file whose model neither program can read."""
        return ModelError(
            unusable(self.path.name, reason),
            "Choose the original from which the file was made.",
        )

    def _found(self, key: str) -> Any:
        field = self._fields.get(key)
        return None if field is None else field.contents()
