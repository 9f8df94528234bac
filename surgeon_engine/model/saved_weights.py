"""The weights that a run may change, by name, to be saved and loaded again."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.model.layers import body_parameters
from surgeon_engine.runtime.saver import Tensors


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the weights that a run may change, by name: no embeddings, no head."""
    wanted = {id(parameter) for parameter in body_parameters(model)}
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if id(parameter) in wanted
    }


@torch.no_grad()
def load_weights(model: PreTrainedModel, tensors: Tensors) -> None:
    """Load weights into a model of the same shapes.

    Raises:
        RunFolderError: they are of another model.
    """
    weights = weights_of(model)
    for name, value in tensors.items():
        weight = weights.get(name)
        if weight is None or weight.shape != value.shape:
            raise RunFolderError(
                "The saved weights {name} are of another model.",
                "Start the run again with its run.toml.",
                name=name,
            )
        weight.copy_(value)
