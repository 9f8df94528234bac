"""Measure how closely a pruned model follows the original.

    p, q   vocabulary   probabilities of the next token by the original, by the model

KL(p || q) per token, the share of tokens that both rank first, and the loss on the
text. The original runs once: its last hidden states are kept, and the head of the
pruned model, which pruning leaves alone, turns both models' hidden states into logits,
with whatever the head does to them (scale, softcap, bias). Logits exist for a few
hundred tokens at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from surgeon_engine.api.errors import EvaluationError
from surgeon_engine.evaluation.divergence import log_divergences
from surgeon_engine.model.layers import body_of

Step = Callable[[], None]

_LOGITS_AT_ONCE = 2**25  # numbers
_RESAMPLES = 1000  # of the windows, for the interval
_INTERVAL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Windows, and the last hidden states of the original on them."""

    windows: Tensor  # windows x length, token ids
    hidden: list[Tensor]  # per batch: windows x length x hidden, on the host

    @property
    def batch(self) -> int:
        """The windows of a batch."""
        return len(self.hidden[0])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens and hidden states of each batch."""
        yield from zip(self.windows.split(self.batch), self.hidden, strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Means over the predicted tokens of each window, float64."""

    nats: Tensor  # KL(original || model)
    agreement: Tensor  # share of tokens with the same top token
    loss: Tensor  # of the next token

    @property
    def divergence(self) -> float:
        """The mean KL, in nats per token."""
        return float(self.nats.mean())

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """Return a 95 % interval of the mean KL, by resampling the windows."""
        generator = torch.Generator().manual_seed(seed)
        count = len(self.nats)
        index = torch.randint(count, (_RESAMPLES, count), generator=generator)
        means = self.nats[index].mean(dim=1).sort().values
        outside = int((1 - _INTERVAL) / 2 * _RESAMPLES)
        return float(means[outside]), float(means[-1 - outside])


@torch.no_grad()
def reference_of(
    model: PreTrainedModel, windows: Tensor, batch: int, step: Step
) -> Reference:
    """Run the original model on windows of text, and keep its last hidden states."""
    hidden = []
    for tokens in windows.split(batch) if len(windows) else ():
        hidden.append(last_hidden(model, tokens.to(model.device)).cpu())
        step()
    return Reference(windows, hidden)


@torch.no_grad()
def compare(model: PreTrainedModel, reference: Reference, step: Step) -> Comparison:
    """Compare a model with the original on the windows of a reference.

    Raises:
        EvaluationError: a divergence is not finite.
    """
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for tokens, expected in reference.batches():
        tokens = tokens.to(model.device)
        found, expected = last_hidden(model, tokens), expected.to(model.device)
        labels = tokens[:, 1:]
        sums = [tokens.new_zeros(len(tokens), dtype=torch.float64) for _ in range(3)]
        for part in logit_parts(model, labels):
            p, q = (
                head_logits(model, x[:, :-1][:, part]).float().log_softmax(dim=-1)
                for x in (expected, found)
            )
            sums[0] += log_divergences(p, q).double().sum(dim=1)
            sums[1] += (p.argmax(dim=-1) == q.argmax(dim=-1)).double().sum(dim=1)
            picked = q.gather(2, labels[:, part].unsqueeze(2)).squeeze(2)
            sums[2] -= picked.double().sum(dim=1)
        rows.append(tuple((x / labels.shape[1]).cpu() for x in sums))  # type: ignore[arg-type]
        step()
    nats, agreement, loss = (torch.cat(part) for part in zip(*rows, strict=True))
    if not math.isfinite(float(nats.sum())):
        raise EvaluationError(
            f"The divergence from the original is {float(nats.mean())}.",
            "The pruned model may be damaged, or its number format too narrow: "
            "try dtype float32.",
        )
    return Comparison(nats, agreement, loss)


def last_hidden(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the hidden states that the head reads: windows x length x hidden."""
    return body_of(model)(input_ids=tokens, use_cache=False)[0]


def head_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the logits of hidden states: windows x length x vocabulary."""
    tokens = hidden.new_zeros(hidden.shape[:2], dtype=torch.long)
    with _skipped(body_of(model), hidden):
        return model(input_ids=tokens, use_cache=False).logits


@contextmanager
def _skipped(body: nn.Module, hidden: Tensor) -> Iterator[None]:
    """Let a model return given hidden states instead of computing them."""

    def forward(*_: Any, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

    body.forward = forward
    try:
        yield
    finally:
        del body.forward


def logit_parts(model: PreTrainedModel, labels: Tensor) -> Iterator[slice]:
    """Yield slices of the tokens of a window whose logits fit in memory."""
    vocabulary = model.config.get_text_config().vocab_size
    size = max(1, _LOGITS_AT_ONCE // (len(labels) * vocabulary))
    for start in range(0, labels.shape[1], size):
        yield slice(start, start + size)
