"""Find the first module of a model whose output is not finite."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.model.block_runner import hooked
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

    One forward of the model runs on `tokens`, windows x length. The message stays as it
    is if all outputs are finite.
    """
    return say_all(message, _origin(model, tokens.to(model.device)))


@torch.no_grad()
def _origin(model: PreTrainedModel, tokens: Tensor) -> str:
    found: list[tuple[str, nn.Module]] = []
    head = model.get_output_embeddings()

    def note(name: str, module: nn.Module, _: object, output: object) -> None:
        if found or not isinstance(output, Tensor):
            return
        if is_broken(output) if module is head else not output.isfinite().all():
            found.append((name, module))

    leaves = [x for x in model.named_modules() if next(x[1].children(), None) is None]
    with hooked(x.register_forward_hook(partial(note, name)) for name, x in leaves):
        language_model_of(model)(tokens, use_cache=False)
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
