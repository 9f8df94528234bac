"""Read the entries and tensors of a GGUF file that describe its model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf

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
_YARN = {f"rope.scaling.yarn_{x}": x for x in ("beta_fast", "beta_slow")}
# The entries that `Entries.rope` reads.
ROPE = (
    *("rope.freq_base", "rope.dimension_count", "rope.scale_linear"),
    *(_KIND, _FACTOR, _CONTEXT, _ATTENTION, *_YARN),
)


class Entries:
    """What a GGUF file says of its model."""

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
                say(
                    "{path} is one of the {count} parts of a file that was split.",
                    path=path.name,
                    count=count,
                ),
                say(
                    "Merge all parts with a program of llama.cpp, and choose the file "
                    "that it writes: llama-gguf-split --merge FIRST-PART merged.gguf"
                ),
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
        heads = max(_listed(self.needed("attention.head_count")))
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
        context = self.value(_CONTEXT) or self.value("context_length")
        if "rope_factors_long.weight" in self.tensors:
            rope |= {
                "rope_type": "longrope",
                "original_max_position_embeddings": context,
                "attention_factor": float(self.value(_ATTENTION) or 1.0),
            }
            for length in ("long", "short"):
                stored = self.tensors[f"rope_factors_{length}.weight"]
                factors = gguf.dequantize(stored.data, stored.tensor_type)
                rope[f"{length}_factor"] = factors.tolist()
            kind = "linear" if kind == "longrope" else kind
            if kind == "none" or factor == 1.0:
                return rope
        elif kind == "none" or (kind == "linear" and factor == 1.0):
            return rope
        elif kind in ("linear", "yarn"):
            rope |= {"rope_type": kind, "factor": factor}
            if kind == "yarn":
                rope["original_max_position_embeddings"] = context
                if (more := self.value(_ATTENTION)) is not None:
                    rope["attention_factor"] = more * (0.1 * math.log(factor) + 1.0)
                found = {name: self.value(key) for key, name in _YARN.items()}
                rope |= {name: x for name, x in found.items() if x is not None}
            return rope
        raise self.unreadable(say("it scales positions by {kind}", kind=kind))

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
        return self.unreadable(
            say(
                "its header has {key} = {value}, which is not read",
                key=f"{self.architecture}.{key}"[:100],
                value=str(self.value(key))[:100],
            )
        )

    def unreadable(self, reason: str) -> ModelError:
        """Return the error for a file whose model neither program can read."""
        return ModelError(
            unusable(self.path.name, reason),
            say("Choose the original from which the file was made."),
        )

    def _found(self, key: str) -> Any:
        field = self._fields.get(key)
        return None if field is None else field.contents()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
