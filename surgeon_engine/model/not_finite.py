"""Where in a model the first number appears that is none: NaN, or infinite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel


def hint_for(model: nn.Module) -> str:
    """What to try where not all of its numbers are finite."""
    weights = list(model.parameters())
    if not all(bool(weight.isfinite().all()) for weight in weights):
        return (
            "Its weights are not all finite: the files may be damaged, get them again."
        )
    if any(weight.dtype != torch.float32 for weight in weights):
        return "The number format may be too narrow: compute in float32."
    return "The files of the model may be damaged: get them again."


def is_broken(logits: Tensor) -> bool:
    """Whether they hold NaN or infinity; minus infinity is how tokens are ruled out."""
    return not bool((logits < torch.inf).all())


def with_origin(words: str, model: PreTrainedModel, tokens: Tensor) -> str:
    """`words`, and which layer's output on `tokens` is the first that is not finite.

    `words` alone where there is none. tokens: windows x length. Computes a forward.
    """
    return f"{words} {_origin(model, tokens.to(model.device))}".rstrip()


@torch.no_grad()
def _origin(model: PreTrainedModel, tokens: Tensor) -> str:
    found: list[tuple[str, nn.Module]] = []
    hooks: list[RemovableHandle] = []
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            broken = is_broken if module is head else _is_not_finite
            hooks.append(module.register_forward_hook(_watch(name, found, broken)))
    try:
        model(tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return ""
    name, module = found[0]
    words = f"The first numbers that are not finite (NaN or infinite) come from {name}"
    if all(bool(weight.isfinite().all()) for weight in module.parameters()):
        return f"{words}."
    return f"{words}, whose weights are not all finite."


def _is_not_finite(output: Tensor) -> bool:
    return not bool(output.isfinite().all())


def _watch(
    name: str, found: list[tuple[str, nn.Module]], broken: Callable[[Tensor], bool]
) -> Any:
    def hook(module: nn.Module, _: object, output: object) -> None:
        if not found and isinstance(output, Tensor) and broken(output):
            found.append((name, module))

    return hook
