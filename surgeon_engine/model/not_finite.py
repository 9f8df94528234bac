"""Find the first module of a model whose output is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.model.layers import language_model_of


def hint_for(model: nn.Module) -> str:
    """Return a hint for a model that computes numbers that are not finite."""
    weights = list(model.parameters())
    if not all(bool(weight.isfinite().all()) for weight in weights):
        return say(
            "Its weights are not all finite: the files may be damaged, download "
            "them again."
        )
    if any(weight.dtype != torch.float32 for weight in weights):
        return say("The number format may be too narrow: compute in float32.")
    return say("The files of the model may be damaged: download them again.")


def is_broken(logits: Tensor) -> bool:
    """Return whether logits contain NaN or +inf; -inf excludes tokens on purpose."""
    return not bool((logits < torch.inf).all())


def with_origin(message: str, model: PreTrainedModel, tokens: Tensor) -> str:
    """Append to `message` which module's output is the first that is not finite.

    Args:
        message: Returned unchanged if all outputs are finite.
        model: Runs one forward.
        tokens: windows x length.
    """
    return say_all(message, _origin(model, tokens.to(model.device)))


@torch.no_grad()
def _origin(model: PreTrainedModel, tokens: Tensor) -> str:
    found: list[tuple[str, nn.Module]] = []
    hooks: list[RemovableHandle] = []
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            is_bad = is_broken if module is head else _is_not_finite
            hooks.append(module.register_forward_hook(_make_hook(name, found, is_bad)))
    try:
        language_model_of(model)(tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return ""
    name, module = found[0]
    if all(bool(weight.isfinite().all()) for weight in module.parameters()):
        return say(
            "The first numbers that are not finite (NaN or infinite) come from {name}.",
            name=name,
        )
    return say(
        "The first numbers that are not finite (NaN or infinite) come from {name}, "
        "whose weights are not all finite.",
        name=name,
    )


def _is_not_finite(output: Tensor) -> bool:
    return not bool(output.isfinite().all())


def _make_hook(
    name: str, found: list[tuple[str, nn.Module]], is_bad: Callable[[Tensor], bool]
) -> Any:
    def hook(module: nn.Module, _: object, output: object) -> None:
        if not found and isinstance(output, Tensor) and is_bad(output):
            found.append((name, module))

    return hook
