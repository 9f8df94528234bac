"""Train the pruned model to predict what the original predicts.

    p, q   vocabulary   probabilities of the next token by the original, by the model

The loss is the forward KL(p || q) per token (Hinton et al., arXiv 1503.02531). The
original is not held in memory: its last hidden states are enough (`fidelity.py`).
AdamW with warm-up and a cosine schedule changes the weights of the blocks and the last
norm; embeddings, head and protected layers stay. Held-out windows are measured several
times, and the best weights are kept: the result is never worse than the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.run import HeldOutMeasured, Stage
from surgeon_engine.evaluation.divergence import log_divergences
from surgeon_engine.evaluation.fidelity import (
    Reference,
    head_logits,
    last_hidden,
    logit_parts,
)
from surgeon_engine.model.layers import body_parameters
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext

_BATCH = 2  # windows of a step
_RATE = 1e-4
_LAST_RATE = 0.05  # of the rate, at the end of the schedule
_BETAS = (0.9, 0.95)
_WARM_UP = 5  # steps
_MAX_NORM = 1.0  # of the gradient
_CHECKS = 4  # measurements of the held-out windows


@dataclass(frozen=True, slots=True)
class Training:
    """The held-out divergence before and after a training, in nats, and its steps."""

    before: float
    after: float
    steps: int


def distil(
    state: PruningState,
    fitted: Reference,
    judge: Judge,
    before: float,
    context: RunContext,
    shot: int = 0,
) -> Training:
    """Train the weights that remain, and keep the best of them.

    Stop ends the training; what is won so far is kept.

    Args:
        state: the pruned model.
        fitted: the windows to train on.
        judge: measures the divergence on held-out windows.
        before: what it measures of the model as it is.
        context: receives the progress.
        shot: the shot after which it comes; 0: the end of the run.

    Raises:
        EvaluationError: the divergence is not finite.
        RunCancelled: the user has cancelled; the weights are then between two steps.
    """
    return _Distillation(state, fitted, judge, context).run(before, shot)


class _Distillation:
    def __init__(
        self,
        state: PruningState,
        fitted: Reference,
        judge: Judge,
        context: RunContext,
    ) -> None:
        self._model = state.loaded.model
        self._dtype = self._model.dtype
        self._fitted, self._judge = fitted, judge
        self._context = context
        self._config: RecoveryConfig = state.config.recovery
        self._seed = state.config.calibration.seed
        self._kept = masks_of_kept(state)
        self._parameters = trainable_parameters(state)
        self._best: list[Tensor] = []

    def run(self, before: float, shot: int) -> Training:
        """Train, and keep the best weights."""
        self._start_time = self._context.clock()
        of_epoch = -(-len(self._fitted.windows) // _BATCH)
        total = math.ceil(self._config.epochs * of_epoch)
        with self._context.stage(Stage.DISTILLATION, shot, total) as step:
            self._context.emit(HeldOutMeasured(0, total, before))
            self._remember()
            best, done = before, 0
            if total:
                try:
                    self._train(True)
                    for done in self._steps(total):
                        is_end = done == total or self._is_over
                        is_due = done * _CHECKS % total < _CHECKS
                        if is_due or is_end:
                            nats = self._measure(done, total)
                            if nats < best:
                                best = nats
                                self._remember()
                        step()
                        if is_end:
                            break
                finally:
                    self._train(False)
                    self._put_back()
        return Training(before, best, done)

    def _steps(self, total: int) -> Iterator[int]:
        """Make one optimizer step after the other; yield how many are done."""
        optimizer = torch.optim.AdamW(
            self._parameters, lr=_RATE, betas=_BETAS, weight_decay=0.0
        )
        generator = torch.Generator().manual_seed(self._seed)
        windows = torch.cat(self._fitted.hidden)
        order: list[int] = []
        for number in range(total):
            rate = _RATE * min(1, (number + 1) / _WARM_UP) * self._cosine(number, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if len(order) < _BATCH:
                order += torch.randperm(len(windows), generator=generator).tolist()
            chosen, order = order[:_BATCH], order[_BATCH:]
            self._backward(self._fitted.windows[chosen], windows[chosen])
            nn.utils.clip_grad_norm_(self._parameters, _MAX_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                for weight, kept in self._kept:
                    weight.mul_(kept)
            yield number + 1

    def _backward(self, tokens: Tensor, expected: Tensor) -> None:
        """Add the gradients of the divergence on a batch of windows.

        The head runs on a part of the tokens at a time, and back to their hidden
        states; then these go back through the blocks at once.
        """
        model, count = self._model, tokens[:, 1:].numel()
        with devices.fast_products(model.device, self._dtype):
            found = last_hidden(model, tokens.to(model.device))
        leaf = found.detach().requires_grad_()
        expected = expected.to(model.device)
        for part in logit_parts(model, tokens[:, 1:]):
            with devices.fast_products(model.device, self._dtype):
                with torch.no_grad():
                    p = head_logits(model, expected[:, :-1][:, part])
                q = head_logits(model, leaf[:, :-1][:, part])
            log_p, log_q = (x.float().log_softmax(dim=-1) for x in (p, q))
            (log_divergences(log_p, log_q).sum() / count).backward()
        assert leaf.grad is not None
        found.backward(leaf.grad)

    def _measure(self, done: int, total: int) -> float:
        """Return the held-out divergence in nats, and report it."""
        nats = self._judge.divergence()
        self._context.emit(HeldOutMeasured(done, total, nats))
        return nats

    @property
    def _is_over(self) -> bool:
        limit = self._config.max_minutes
        over_time = bool(limit) and self._elapsed > 60 * limit
        return over_time or self._context.stops_after_shot

    @property
    def _elapsed(self) -> float:
        return self._context.clock() - self._start_time

    def _cosine(self, done: int, total: int) -> float:
        """Return the part of the rate at a step, from 1 to its last part."""
        share = done / total
        if limit := self._config.max_minutes:
            share = max(share, min(1.0, self._elapsed / (60 * limit)))
        return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * share)) / 2

    def _train(self, is_on: bool) -> None:
        """Make the weights trainable, in float32, or frozen in their own format."""
        for parameter in self._parameters:
            parameter.grad = None
            parameter.requires_grad_(is_on)
            parameter.data = parameter.data.to(torch.float32 if is_on else self._dtype)

    def _remember(self) -> None:
        self._best = [x.detach().to("cpu", copy=True) for x in self._parameters]

    def _put_back(self) -> None:
        with torch.no_grad():
            for parameter, best in zip(self._parameters, self._best, strict=True):
                parameter.copy_(best)


def masks_of_kept(state: PruningState) -> list[tuple[Tensor, Tensor]]:
    """Return the tensors with removed weights, and masks of the weights that remain."""
    result = []
    for unit in state.units:
        for layer, zeros in unit.zeros(state.removed[unit.measured.name]):
            if zeros.any():
                for tensor, mask in layer.masked_parameters(zeros):
                    result.append((tensor, ~mask.to(tensor.device)))
    return result


def trainable_parameters(state: PruningState) -> list[nn.Parameter]:
    """Return the parameters of the body without embeddings and protected layers."""
    protected = {
        id(parameter)
        for layer in state.loaded.layers
        if any_matches((layer,), state.config.pruning.protect)
        for parameter in layer.module.parameters()
    }
    return [p for p in body_parameters(state.loaded.model) if id(p) not in protected]
