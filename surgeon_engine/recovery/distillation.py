"""Train the pruned model to predict what the original predicts.

    p, q   vocabulary   probabilities of the next token by the original, by the model

The loss is the forward KL(p || q) per token (Hinton et al., arXiv 1503.02531). The
original is not held in memory: its last hidden states are enough (`fidelity.py`).
The weights of the blocks and the last norm are trained, or low-rank adapters of the
layers (`low_rank.py`); embeddings, head and protected layers stay. Held-out windows are
measured several times, and the best weights are kept: the result is never worse than
the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.run import HeldOutMeasured, Stage
from surgeon_engine.api.saved_state import SavedTraining
from surgeon_engine.evaluation.fidelity import Reference
from surgeon_engine.model.head import head_logits, last_hidden, logit_parts
from surgeon_engine.model.products import fast_products
from surgeon_engine.planning.constants import STEP_WINDOWS, TRAINING_CHECKS
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.recovery.low_rank import LowRankTraining
from surgeon_engine.recovery.weight_training import (
    WeightTraining,
    checkpointed,
    masks_of,
    rate_at,
    trainable,
)
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches

_RATE = 1e-4
_LORA_RATE = 1e-3


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

    `before` is what the judge measures of the model as it is. `shot` is that after
    which the training comes; 0: the end of the run.

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
        self._recomputed = state.loaded.blocks if self._config.recomputes else ()
        if self._config.uses_lora:
            self._weights: WeightTraining = LowRankTraining(state)
            self._rate = _LORA_RATE
        else:
            self._weights = WeightTraining(trainable(state), masks_of(state))
            self._rate = _RATE

    def run(self, before: float, shot: int) -> Training:
        """Train, and keep the best weights."""
        self._start_time = self._context.clock()
        of_epoch = -(-len(self._fitted.windows) // STEP_WINDOWS)
        total = math.ceil(self._config.epochs * of_epoch)
        with self._context.stage(Stage.DISTILLATION, shot, total) as step:
            if not total:
                return Training(before, before, 0)
            try:
                self._weights.start()
                best, first = (before, 0) if shot else self._resumed(before)
                done = first
                self._context.emit(HeldOutMeasured(first, total, best))
                for _ in range(first):
                    step()
                for done in self._steps(first, total):
                    is_end = done == total or self._is_over
                    is_due = done * TRAINING_CHECKS % total < TRAINING_CHECKS
                    if is_due or is_end:
                        nats = self._judge.divergence()
                        self._context.emit(HeldOutMeasured(done, total, nats))
                        if nats < best:
                            best = nats
                            self._weights.remember()
                    step()
                    if is_end:
                        break
                    if shot == 0 and self._context.saver.is_due:
                        saved = SavedTraining(done, best, self._elapsed)
                        self._context.save(
                            {"training": self._weights.tensors()}, training=saved
                        )
            finally:
                self._weights.finish()
        return Training(before, best, done)

    def _resumed(self, before: float) -> tuple[float, int]:
        """Return the best divergence of an interrupted training, and its steps."""
        saved = self._context.saver.saved.training
        weights = self._context.load_progress("training") if saved is not None else None
        if saved is None or weights is None:
            return before, 0
        self._weights.load(weights)
        self._start_time -= saved.seconds
        return saved.best, saved.steps

    def _steps(self, first: int, total: int) -> Iterator[int]:
        """Make one step after the other; yield how many are done.

        Args:
            first: the steps of an interrupted training, which are not made again.
            total: all steps.
        """
        generator = torch.Generator().manual_seed(self._seed)
        order: list[int] = []
        for number in range(total):
            if len(order) < STEP_WINDOWS:
                count = len(self._fitted.windows)
                order += torch.randperm(count, generator=generator).tolist()
            chosen, order = order[:STEP_WINDOWS], order[STEP_WINDOWS:]
            if number < first:
                continue
            self._add_gradients(chosen)
            share = self._share(number, total)
            self._weights.step(rate_at(self._rate, number, share))
            yield number + 1

    def _add_gradients(self, windows: list[int]) -> None:
        """Add the gradients of a step; each process computes those of some windows."""
        text = Batches(self._fitted.windows, self._fitted.batch)
        tokens, hidden = text.share_of(windows, self._fitted.hidden)
        if hidden:
            add_gradients(
                self._model,
                tokens,
                torch.stack(hidden),
                self._dtype,
                self._recomputed,
                count=text.windows[windows, 1:].numel(),
            )

    @property
    def _is_over(self) -> bool:
        limit = self._config.max_minutes
        over_time = bool(limit) and self._elapsed > 60 * limit
        return over_time or self._context.stops_after_shot

    @property
    def _elapsed(self) -> float:
        return self._context.seconds_since(self._start_time)

    def _share(self, done: int, total: int) -> float:
        """Return the share of the training, by steps or by time, that is done."""
        share = done / total
        if limit := self._config.max_minutes:
            share = max(share, min(1.0, self._elapsed / (60 * limit)))
        return share


def add_gradients(
    model: PreTrainedModel,
    tokens: Tensor,
    expected: Tensor,
    dtype: torch.dtype,
    recomputed: Iterable[nn.Module] = (),
    count: int | None = None,
) -> None:
    """Add the gradients of the mean KL(original || model) on a batch of windows.

    The head runs on a part of the tokens at a time, and back to their hidden states;
    then these go back through the blocks at once.

    Args:
        model: the model, with trainable weights.
        tokens: windows x length.
        expected: the original's last hidden states, windows x length x hidden.
        dtype: the model's own, which its trainable weights may not have.
        recomputed: blocks that compute their activations again in the backward.
        count: the predicted tokens that the mean is over; None: those of the batch.
    """
    count = count or tokens[:, 1:].numel()
    with fast_products(model, dtype), checkpointed(recomputed):
        found = last_hidden(model, tokens.to(model.device))
    leaf = found.detach().requires_grad_()
    expected = expected.to(model.device)
    for part in logit_parts(model, tokens[:, 1:]):
        with fast_products(model, dtype):
            with torch.no_grad():
                p = head_logits(model, expected[:, :-1][:, part])
            q = head_logits(model, leaf[:, :-1][:, part])
        # The gradient of KL(p || q) by the logits of q.
        of_logits = q.detach().float().softmax(dim=-1)
        of_logits -= p.float().softmax(dim=-1)
        q.backward(of_logits.to(q.dtype))
    assert leaf.grad is not None
    found.backward(leaf.grad / count)
