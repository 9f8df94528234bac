"""Train weights of a pruned model in float32, and keep the best of them.

AdamW with warm-up and a cosine schedule. Removed weights are set to zero after each
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.model import offload
from surgeon_engine.model.block_runner import replaced_forward
from surgeon_engine.model.experts import experts_of
from surgeon_engine.model.layers import body_parameters
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.shares import add_sums

_BETAS = (0.9, 0.95)
_LAST_RATE = 0.05  # at the end of the schedule, relative to the largest rate
_WARM_UP = 5  # steps
_MAX_NORM = 1.0  # for gradient clipping
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # torch's names of AdamW's state


class WeightTraining:
    """Parameters that are trained, between `start` and `finish`."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        masks: Masks,
        device: torch.device | None = None,
    ) -> None:
        """Train parameters.

        `masks` mark the weights that remain. They are trained on `device`, if their
        blocks may be offloaded; None: where they are.
        """
        self._masks, self._device = masks, device
        self.train(parameters)
        self._best: list[Tensor] = []

    def train(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set the parameters to train."""
        self.parameters = list(parameters)
        self._dtypes = [p.dtype for p in self.parameters]
        self._homes = [p.device for p in self.parameters]

    def start(self) -> None:
        """Make the weights trainable, in float32; they are the best so far.

        They are copies: the original may share the last norm.
        """
        self.remember()
        for parameter in self.parameters:
            device = self._device or parameter.device
            trained = parameter.data.to(device, torch.float32, copy=True)
            offload.set_data(parameter, trained)
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(
            self.parameters, betas=_BETAS, weight_decay=0.0, fused=True
        )

    def step(self, rate: float) -> None:
        """Take a step along the gradients of all processes, and forget them."""
        gradients = {
            n: p.grad for n, p in enumerate(self.parameters) if p.grad is not None
        }
        add_sums(gradients, self.parameters[0].device)
        for n, gradient in gradients.items():
            self.parameters[n].grad = gradient
        nn.utils.clip_grad_norm_(self.parameters, _MAX_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for parameter in self.parameters:
                if (kept := self._masks.get(id(parameter))) is not None:
                    parameter.mul_(kept)

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """Let the model compute with weights that are rounded as `finish` does."""
        yield

    def remember(self) -> None:
        """Copy the weights to the host, as the best so far."""
        if not self._best:
            self._best = [
                torch.empty_like(x, dtype=torch.float32, device="cpu")
                for x in self.parameters
            ]
        for best, parameter in zip(self._best, self.parameters, strict=True):
            best.copy_(parameter.detach())

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the training, to be saved: weights, best, moments."""
        found = {f"best.{n}": best for n, best in enumerate(self._best)}
        for n, parameter in enumerate(self.parameters):
            found[f"weight.{n}"] = parameter.detach()
            for name, value in self._optimizer.state[parameter].items():
                found[f"{name}.{n}"] = value
        return found

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Return to a saved state of the training, after `start`.

        Raises:
            RunFolderError: it is the state of another model.
        """
        expected = {f"weight.{n}": p.shape for n, p in enumerate(self.parameters)}
        if any(
            getattr(tensors.get(x), "shape", None) != y for x, y in expected.items()
        ):
            raise RunFolderError(
                "The saved state of the training belongs to another model.",
                "Start the run again with its run.toml.",
            )
        for n, (parameter, best) in enumerate(
            zip(self.parameters, self._best, strict=True)
        ):
            parameter.copy_(tensors[f"weight.{n}"])
            best.copy_(tensors[f"best.{n}"])
            # A parameter without gradients has no moments.
            self._optimizer.state[parameter] = {
                name: tensors[f"{name}.{n}"].to(parameter.device)
                for name in _MOMENTS
                if f"{name}.{n}" in tensors
            }

    def finish(self) -> None:
        """Return to the best weights, frozen and in their own format."""
        for parameter, home, dtype, best in zip(
            self.parameters, self._homes, self._dtypes, self._best, strict=True
        ):
            parameter.grad = None
            parameter.requires_grad_(False)
            offload.set_data(parameter, best.to(home, dtype))
        self._best = []


Masks = dict[int, Tensor]  # True for weights that remain; by the id of a parameter


def masks_of(state: PruningState, block: int | None = None) -> Masks:
    """Return masks of the weights that remain, of parameters with removed ones.

    `block` is the number of a block; None: all of them.
    """
    return {
        id(parameter): ~mask.to(parameter.device)
        for unit in state.units
        if block is None or unit.measured.block == block
        for layer, zeros in unit.zeros(state.removed[unit.measured.name])
        if layer.count(zeros)
        for parameter, mask in layer.masked_parameters(zeros)
    }


def trainable(
    state: PruningState, block: nn.Module | None = None
) -> list[nn.Parameter]:
    """Return the parameters of the model or of a block that recovery may change.

    Parameters of protected layers stay as they are.
    """
    protect = state.config.pruning.protect
    layers = [x for x in state.loaded.layers if any_matches((x,), protect)]
    fixed = {id(p) for layer in layers for p in layer.parameters()}
    parameters = body_parameters(state.loaded.model)
    if block is not None:
        own = {id(parameter) for parameter in block.parameters()}
        parameters = [p for p in parameters if id(p) in own]
    return [p for p in parameters if id(p) not in fixed]


def routers(state: PruningState) -> list[nn.Parameter]:
    """Return the weights of the routers that recovery may change."""
    model = state.loaded.model
    names = {experts.router for experts in experts_of(model)}
    owned = {id(p) for x in names for p in model.get_submodule(x).parameters()}
    return [p for p in trainable(state) if id(p) in owned]


def rate_at(rate: float, step: int, share: float) -> float:
    """Return the rate of a step, with a warm-up and a cosine schedule.

    `rate` is the largest; `share` is the finished share of the training.
    """
    cosine = _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * share)) / 2
    return rate * cosine * min(1, (step + 1) / _WARM_UP)


@contextmanager
def checkpointed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Let blocks recompute their activations in the backward, and not keep them."""
    with ExitStack() as stack:
        for block in blocks:
            forward = partial(
                checkpoint,
                _with_weights(block),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            stack.enter_context(replaced_forward((block,), forward))
        yield


def _with_weights(block: nn.Module) -> Callable[..., Any]:
    """Return the forward of a block, which needs its weights again in the backward."""
    compute = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with on_device(block), _aliases(block):
            return compute(*args, **kwargs)

    return forward


@contextmanager
def _aliases(block: nn.Module) -> Iterator[None]:
    """Let a block compute with aliases of its frozen parameters.

    A graph keeps the tensors that it was made with. An alias still has the numbers on
    the device when its parameter is back on the host.
    """
    replaced: list[tuple[dict[str, Any], str, nn.Parameter]] = []
    for module in block.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not parameter.requires_grad:
                replaced.append((module._parameters, name, parameter))
                module._parameters[name] = parameter.detach()  # type: ignore[assignment]
    try:
        yield
    finally:
        for parameters, name, parameter in replaced:
            parameters[name] = parameter
