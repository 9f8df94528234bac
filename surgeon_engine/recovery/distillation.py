"""Train the pruned model to predict what the original predicts.

    p, q   vocabulary   probabilities of the next token by the original, by the model

The loss is the forward KL(p || q) per token (Hinton et al., arXiv 1503.02531). The
original is not held in memory: its last hidden states are enough (`fidelity.py`).
The weights of the blocks and the last norm are trained, or low-rank adapters of the
layers (`low_rank.py`), or the routers of experts (arXiv 2603.02217); embeddings, head
and protected layers stay. Each epoch reads new text (`fresh_text.py`). Held-out windows
are measured several times, and the best weights are kept: the result is never worse
than the start. A training of several epochs ends early once the divergence on the
held-out windows has stopped falling.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.run import HeldOutMeasured, Stage
from surgeon_engine.api.saved_state import SavedTraining
from surgeon_engine.evaluation.fidelity import Reference, original_probabilities
from surgeon_engine.evaluation.translation import Translation
from surgeon_engine.model.head import head_logits, last_hidden, logit_parts
from surgeon_engine.model.products import fast_products
from surgeon_engine.planning.constants import (
    STEP_WINDOWS,
    TRAINING_CHECKS,
    TRAINING_PASSES,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.fresh_text import FreshText
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.recovery.low_rank import LowRankTraining
from surgeon_engine.recovery.weight_training import (
    WeightTraining,
    checkpointed,
    masks_of,
    rate_at,
    routers,
    trainable,
)
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches

_RATE, _LORA_RATE, _ROUTER_RATE = 1e-4, 1e-3, 1e-3
# The nats before the training from which on these are the rates. Below, they are in
# proportion: a step of Adam has a length of its own, which may carry the model away.
_WHOLE_RATE_AT = 0.45
# A training is flat if the best of its last checks is hardly below the best before:
# these, or a share of all, as a high rate hides the gain for longer.
_FLAT_CHECKS, _FLAT_SHARE, _FLAT_GAIN = 4, 0.15, 0.005
_WIND_DOWN = 3  # a flat training lasts for one of so many steps more
_PARTS = 500  # reports of progress, if the time is limited


@dataclass(frozen=True, slots=True)
class Training:
    """The held-out divergence before and after a training, in nats, and its steps."""

    before: float
    after: float
    steps: int
    stopped_early: bool  # by the user, before its end


def distil(
    state: PruningState,
    text: FreshText,
    judge: Judge,
    before: float,
    context: RunContext,
    shot: int = 0,
) -> Training:
    """Train the weights that remain, and keep the best of them.

    Stop ends the training; the best weights so far are kept. The original of the text
    is released after the last epoch. `before` is the divergence that the judge measures
    of the model as it is; `shot` is the shot before the training, 0 at the end of the
    run.

    Raises:
        EvaluationError: the divergence is not finite.
        RunCancelled: the user has cancelled; the weights are then between two steps.
    """
    return _Distillation(state, text, judge, context).run(before, shot)


class _Distillation:
    def __init__(
        self,
        state: PruningState,
        text: FreshText,
        judge: Judge,
        context: RunContext,
    ) -> None:
        self._model = state.loaded.model
        self._dtype = self._model.dtype
        self._fresh = text
        self._judge, self._context = judge, context
        self._config: RecoveryConfig = state.config.recovery
        self._seed = state.config.calibration.seed
        self._recomputed = state.loaded.blocks if self._config.recomputes else ()
        if self._config.uses_lora:
            self._weights: WeightTraining = LowRankTraining(state)
            self._rate = _LORA_RATE
        elif not self._config.trains_all_weights:
            device = state.loaded.device
            self._weights = WeightTraining(routers(state), {}, device)
            self._rate = _ROUTER_RATE
        else:
            self._weights = WeightTraining(trainable(state), masks_of(state))
            self._rate = _RATE
        self._of_epoch = -(-text.windows // STEP_WINDOWS)
        self._total = math.ceil(self._config.most_epochs * self._of_epoch)
        self._limit = 60 * self._config.minutes  # seconds; 0: none
        # The first reading: its part of the progress, its batches, the share read.
        self._reading = 0 if self._limit else round(self._of_epoch / TRAINING_PASSES)
        self._batches, self._read = -(-text.windows // text.batch), 0.0
        self._measured: list[float] = []  # nats of the held-out windows
        self._flat_at: tuple[int, float] | None = None  # its step, the share by then

    def run(self, before: float, shot: int) -> Training:
        """Train, and keep the best weights."""
        self._rate *= min(1.0, before / _WHOLE_RATE_AT)
        saved, weights = (None, {}) if shot else self._interrupted()
        seconds = 0.0 if saved is None else saved.seconds
        self._parts = _PARTS if self._limit else self._total + self._reading
        self._reported = 0
        with self._context.stage(
            Stage.DISTILLATION, shot, self._parts, seconds=seconds
        ) as self._step:
            try:
                self._weights.start()
                best, first = before, 0
                if saved is not None:
                    self._weights.load(weights)
                    best, first = saved.best, saved.steps
                    self._measured = list(saved.measured)
                    if saved.flat_at is not None:
                        self._wind_down(*saved.flat_at)
                del weights
                self._emit(first, best)
                done, is_measured = first, first == 0
                for done in self._steps(first):
                    is_end = self._is_complete(done) or self._context.stops_after_shot
                    if is_measured := is_end or self._is_due(done):
                        best = self._measure(done, best)
                    self._report(done)
                    if is_end:
                        break
                    if shot == 0 and self._context.saver.is_due:
                        self._save(done, best)
                stopped_early = not self._is_complete(done)
                if not is_measured:  # it ended while text was read
                    best = self._measure(done, best)
            finally:
                self._weights.finish()
        return Training(before, best, done, stopped_early)

    def _report(self, done: int) -> None:
        """Send the progress; wait while the run is paused."""
        self._context.raise_if_cancelled()
        of_steps = self._share(done) * (self._parts - self._reading)
        while self._reported < round(of_steps + self._read * self._reading):
            self._step()
            self._reported += 1

    def _save(self, done: int, best: float) -> None:
        saved = SavedTraining(
            done,
            best,
            self._elapsed,
            tuple(self._measured),
            self._flat_at,
            (self._reported, self._parts),
        )
        self._context.save({"training": self._weights.tensors()}, training=saved)

    def _is_due(self, done: int) -> bool:
        """Return whether the held-out windows are to be measured after a step."""
        if self._limit:
            return done % self._of_epoch == 0
        checks = max(TRAINING_CHECKS, math.ceil(self._config.epochs))
        return done * checks % self._total < checks

    def _measure(self, done: int, best: float) -> float:
        """Measure the held-out windows, and return the best so far."""
        with self._weights.as_written():
            nats = self._judge.divergence()
        self._emit(done, nats)
        self._measured.append(nats)
        if self._flat_at is None and self._is_flat(done):
            self._wind_down(done, self._share(done))
        if nats < best:
            self._weights.remember()
        return min(nats, best)

    def _emit(self, done: int, nats: float) -> None:
        total = self._total
        if self._limit and done:  # expected
            total = round(done / max(self._share(done), done / total))
        self._context.emit(HeldOutMeasured(done, total, nats))

    def _wind_down(self, done: int, share: float) -> None:
        """Let the training end soon, its rate falling to the last one meanwhile."""
        self._flat_at = done, share
        rest = max(self._of_epoch, done // _WIND_DOWN)
        self._total = min(self._total, done + rest)

    def _is_flat(self, done: int) -> bool:
        """Return whether the last checks hardly improve on the best before them."""
        checks = len(self._measured) / self._share(done)
        count = max(_FLAT_CHECKS, round(_FLAT_SHARE * checks))
        before, last = self._measured[:-count], self._measured[-count:]
        is_long = self._config.training_epochs > 1 and bool(before)
        return is_long and min(last) > (1 - _FLAT_GAIN) * min(before)

    def _interrupted(self) -> tuple[SavedTraining | None, Mapping[str, Tensor]]:
        """Return an interrupted training and its weights; None if they are damaged."""
        saved = self._context.saver.saved.training
        weights = self._context.load_progress("training") if saved is not None else None
        return (None, {}) if weights is None else (saved, weights)

    def _steps(self, first: int) -> Iterator[int]:
        """Make one step after the other; yield how many are done.

        The `first` ones, of an interrupted training, are not made again.
        """
        generator = torch.Generator().manual_seed(self._seed)
        order: list[int] = []
        for number in itertools.count():
            epoch, of_epoch = divmod(number, self._of_epoch)
            if of_epoch == 0:
                count = self._fresh.windows
                order = torch.randperm(count, generator=generator).tolist()
            if number < first:
                continue
            if of_epoch == 0 or number == first:
                read = partial(self._while_read, number)
                try:
                    text = self._fresh.of_epoch(epoch + 1, read)
                except _OverError:
                    return
                self._read = 1.0
                if epoch + 1 == self._config.training_epochs:
                    self._fresh.release_original()
            start = of_epoch * STEP_WINDOWS
            self._add_gradients(text, order[start : start + STEP_WINDOWS])
            self._weights.step(rate_at(self._rate, number, self._share(number)))
            yield number + 1

    def _while_read(self, done: int) -> None:
        self._context.raise_if_cancelled()
        # Processes that share a run do not write equally many tokens.
        if ranks.size() == 1:
            self._read = min(1.0, self._read + 1 / self._batches)
            self._report(done)
            # A training whose time is short makes one step.
            if self._context.stops_after_shot or (done and self._is_complete(done)):
                raise _OverError

    def _add_gradients(self, text: Reference, chosen: list[int]) -> None:
        """Add the gradients of a step; each process computes some of the windows."""
        batches = Batches(text.windows, text.batch)
        tokens, hidden = batches.share_of(chosen, text.hidden)
        if hidden:
            add_gradients(
                self._model,
                replace(text, windows=tokens, hidden=[torch.stack(hidden)]),
                self._dtype,
                self._recomputed,
                count=text.windows[chosen, 1:].numel(),
            )

    def _is_complete(self, done: int) -> bool:
        over_time = bool(self._limit) and self._elapsed > self._limit
        return over_time or done >= self._total

    @property
    def _elapsed(self) -> float:
        return self._context.seconds_of_stage

    def _share(self, done: int) -> float:
        """Return the share of the training, by steps or by time, that is done."""
        share = done / self._total
        if self._flat_at is not None:  # the rate falls from where it was
            step, before = self._flat_at
            rest = (done - step) / max(1, self._total - step)
            share = before + (1 - before) * rest
        if self._limit:
            share = max(share, min(1.0, self._elapsed / self._limit))
        return share


class _OverError(Exception):
    """The training is over."""


def add_gradients(
    model: PreTrainedModel,
    text: Reference,
    dtype: torch.dtype,
    recomputed: Iterable[nn.Module] = (),
    count: int | None = None,
) -> None:
    """Add the gradients of the mean KL(original || model) on a batch of windows.

    The head runs on a part of the tokens at a time, and back to their hidden states;
    then these go back through the blocks at once.

    Where the original predicts nothing, inside of a token that the model does not have,
    the next token of the text takes the place of a prediction.

    Args:
        model: the model, with trainable weights.
        text: one batch of windows.
        dtype: the model's own, which its trainable weights may not have.
        recomputed: blocks that compute their activations again in the backward.
        count: number of predicted tokens for the mean; None: all of the batch.
    """
    (expected,), tokens = text.hidden, text.windows
    count = count or tokens[:, 1:].numel()
    with fast_products(model, dtype), checkpointed(recomputed):
        found = last_hidden(model, tokens.to(model.device))
    leaf = found.detach().requires_grad_()
    expected = expected.to(model.device)
    translation = text.translation
    head = None if translation is None else translation.weight
    for part in logit_parts(model, tokens[:, 1:], head=head):
        with fast_products(model, dtype):
            with torch.no_grad():
                given = expected[:, :-1][:, part]
                labels = tokens[:, 1:][:, part]
                p = _probabilities(model, given, labels, translation)
            q = head_logits(model, leaf[:, :-1][:, part])
        # The gradient of KL(p || q) by the logits of q.
        of_logits = q.detach().float().softmax(dim=-1)
        of_logits -= p
        q.backward(of_logits.to(q.dtype))
        del p, q, of_logits  # the blocks need the memory
    assert leaf.grad is not None
    found.backward(leaf.grad / count)


def _probabilities(
    model: PreTrainedModel,
    hidden: Tensor,
    labels: Tensor,
    translation: Translation | None,
) -> Tensor:
    """Return the targets of the model: windows x length x vocabulary, float32."""
    if translation is None:
        return head_logits(model, hidden).float().softmax(dim=-1)
    p = original_probabilities(model, hidden, translation)
    is_unknown = hidden[..., 0].isnan()
    labels = labels.to(p.device)[is_unknown]
    p[is_unknown] = functional.one_hot(labels, p.shape[-1]).to(p.dtype)
    return p
