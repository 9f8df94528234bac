"""Measure how closely a pruned model follows the original.

    p, q   vocabulary   probabilities of the next token by the original, by the model

KL(p || q) = sum p (log p - log q) in nats per token, the overlap sum min(p, q), the
share of tokens that both rank first, and the loss on the text. The original runs once:
its last hidden states are kept, and the head of the pruned model, which pruning leaves
alone, turns both models' hidden states into logits, with whatever the head does to them
(scale, softcap, bias). If the head is rounded, the original's own weight takes its
place. Logits exist for a few hundred tokens at a time. Several processes share the
windows, and each keeps the hidden states of its own; the figures cover all.

If the model has a smaller vocabulary, the windows are in its own tokens, and the
original's predictions are translated (`translation.py`). Where the original has no
token that ends at the same byte, its hidden state is NaN, and nothing is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain, islice

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.evaluation.bits import OriginalTokens
from surgeon_engine.evaluation.perplexity import DAMAGED
from surgeon_engine.evaluation.translation import Translation
from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.head import head_logits, logit_parts, with_head
from surgeon_engine.planning.constants import LOGITS_AT_ONCE
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.shares import Batches

Step = Callable[[], None]


def divergences(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of two sets of logits, tokens x vocabulary, for each token.

    A token to which p gives no probability adds nothing, for any q.
    """
    log_p = functional.log_softmax(p.double(), dim=-1)
    log_q = functional.log_softmax(q.double(), dim=-1)
    return log_divergences(log_p, log_q).clamp(min=0.0)  # rounding may go below 0


def log_divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of logarithms of probabilities, over the last dimension.

    A token to which p gives no probability adds nothing, for any q.
    """
    terms = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    return terms.masked_fill(log_p == -math.inf, 0.0).sum(dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Windows, and the last hidden states of the original on them."""

    windows: Tensor  # windows x length, token ids
    # Batches of this process: windows x length x hidden, on the host.
    hidden: list[Tensor]
    # Into the model's tokens; None: both models have the same.
    translation: Translation | None = None
    stretch: float = 1.0  # tokens of the model for each of the original's
    # Bytes of each predicted token, windows x (length - 1), int64; 0: it does not
    # count. None: unknown.
    bytes: Tensor | None = None
    # The original by its own tokens. None: both models have the same tokens, or it is
    # not measured.
    original: OriginalTokens | None = None
    # Whether the KL of the first windows, windows x tokens, suffices: the others are
    # then left out. None: never.
    is_enough: Callable[[Tensor], bool] | None = None

    @property
    def batch(self) -> int:
        """The windows of a batch."""
        return len(self.hidden[0]) if self.hidden else 1

    def own(self) -> Reference:
        """Return the part of this process as a whole."""
        original = self.original
        if original is not None:
            parts = original.nats, original.bytes, original.positions
            original = OriginalTokens(*map(self._own, parts))
        return replace(
            self,
            windows=self._own(self.windows),
            bytes=None if self.bytes is None else self._own(self.bytes),
            original=original,
            is_enough=None,
        )

    def _own(self, rows: Tensor) -> Tensor:
        return torch.cat(list(Batches(rows, self.batch)))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens and hidden states of each batch of this process."""
        yield from zip(Batches(self.windows, self.batch), self.hidden, strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Figures of each predicted token: windows x (length - 1), float32, on the host.

    All but the loss are NaN where the original predicts nothing.
    """

    nats: Tensor  # KL(original || model)
    agreement: Tensor  # 1.0 where both have the same top token
    loss: Tensor  # cross-entropy of the next token, in nats
    overlap: Tensor  # sum of min(p, q)
    original_loss: Tensor

    def of_original(self) -> Comparison:
        """Return the figures of the original, compared with itself."""
        none, loss = 0 * self.nats, self.original_loss
        whole = none + 1
        return Comparison(none, whole, loss, whole, loss)

    @property
    def divergence(self) -> float:
        """The mean KL, in nats per token."""
        return float(self.nats.double().nanmean())

    @property
    def mean_loss(self) -> float:
        """The mean loss, in nats per token."""
        return float(self.loss.double().mean())


def reference_of(
    model: PreTrainedModel, windows: Tensor, batch: int, step: Step
) -> Reference:
    """Run the original model on windows of text, and keep its last hidden states."""
    (found,) = references_together(model, [windows], batch, step)
    return found


@torch.no_grad()
def references_together(
    model: PreTrainedModel, texts: Sequence[Tensor], batch: int, step: Step
) -> list[Reference]:
    """Run the original model on several texts, in one pass over its weights."""
    batches = [[*Batches(windows, batch)] for windows in texts]
    forwards = Forwards(model, chain.from_iterable(batches), step)
    hidden = (x.cpu() for x in forwards)
    return [
        Reference(windows, [*islice(hidden, len(of_text))])
        for windows, of_text in zip(texts, batches, strict=True)
    ]


def last_hidden_of(
    model: PreTrainedModel,
    references: Sequence[Reference],
    step: Step,
    at_once: int = 0,
) -> list[Iterator[Tensor]]:
    """Run a model on the windows of references, in one pass over its weights.

    Return for each reference an iterator over its batches: windows x length x hidden.
    `step` is called as often as there are batches; `at_once` windows of a batch run at
    a time, with 0 all.
    """
    parts: list[Tensor] = []
    numbers: list[list[range]] = []  # places in `parts`, by reference and batch
    for reference in references:
        numbers.append([])
        for tokens, _ in reference.batches():
            split = tokens.split(at_once or len(tokens))
            numbers[-1].append(range(len(parts), len(parts) + len(split)))
            parts += split
    forwards = Forwards(model, parts, step, steps=sum(map(len, numbers)))

    def of_batches(batches: list[range]) -> Iterator[Tensor]:
        for of_batch in batches:
            yield torch.cat([*forwards.of(of_batch)])

    return [*map(of_batches, numbers)]


def compare(model: PreTrainedModel, reference: Reference, step: Step) -> Comparison:
    """Compare a model with the original on the windows of a reference.

    Raises:
        EvaluationError: a divergence is not finite.
    """
    found = compare_unchecked(model, reference, step)
    if not math.isfinite(found.divergence):
        raise EvaluationError(
            "The divergence from the original is {divergence}.",
            DAMAGED,
            divergence=found.divergence,
        )
    return found


@torch.no_grad()
def compare_unchecked(
    model: PreTrainedModel,
    reference: Reference,
    step: Step,
    *,
    hidden: Iterable[Tensor] | None = None,
    at_once: int = 0,
    head: Tensor | None = None,
) -> Comparison:
    """Compare like `compare`; figures may be infinite or NaN.

    Args:
        model: the model.
        reference: the windows, and the original's hidden states.
        step: called as often as there are batches.
        hidden: the last hidden states of the model, if they are known; per batch:
            windows x length x hidden. The reference's own: the model is the original.
        at_once: windows of a batch that run at a time; 0: all.
        head: the weight of the original's head; None: the model has the same.
    """
    rows: list[tuple[Tensor, ...]] = []
    at_once = min(at_once or reference.batch, reference.batch)
    is_whole = at_once == reference.batch
    logits = None if is_whole else LOGITS_AT_ONCE * at_once // reference.batch
    # Processes that share a run would have to agree.
    is_enough = reference.is_enough if ranks.size() == 1 else None
    takes_steps = hidden is not None  # which forwards take themselves
    if hidden is None:
        (hidden,) = last_hidden_of(model, [reference], step, at_once)
    translation = reference.translation
    predict = partial(_of_original, model, head, translation)
    largest = head if translation is None else translation.weight
    for (tokens, expected), known in zip(reference.batches(), hidden, strict=True):
        for start in range(0, len(tokens), at_once):
            part = slice(start, start + at_once)
            inputs = tokens[part].to(model.device)
            wanted = expected[part].to(model.device)
            found = wanted if known is expected else known[part].to(model.device)
            parts = logit_parts(model, inputs[:, 1:], logits, largest)
            figures = _figures(model, inputs, wanted, found, predict, parts)
            if translation is not None:
                figures = _where_known(figures, wanted)
            rows.append(figures)
        if takes_steps:
            step()
        if is_enough is not None and is_enough(torch.cat([row[0] for row in rows])):
            break
    batches = Batches(reference.windows, reference.batch)
    columns = zip(*rows, strict=True) if rows else ((),) * len(fields(Comparison))
    return Comparison(*map(batches.joined, columns))


def _figures(
    model: PreTrainedModel,
    tokens: Tensor,
    expected: Tensor,
    found: Tensor,
    predict: Callable[[Tensor], Tensor],
    slices: Iterable[slice],
) -> tuple[Tensor, ...]:
    """Return the figures of a `Comparison` of each predicted token of a batch.

    `predict` returns the original's log-probabilities. `slices` split the predicted
    tokens into parts whose logits exist at a time.
    """
    labels = tokens[:, 1:]
    parts: list[tuple[Tensor, ...]] = []
    for part in slices:
        p = q = predict(expected[:, :-1][:, part])
        if found is not expected:
            q = _log_probabilities(model, found[:, :-1][:, part])
        loss = -q.gather(2, labels[:, part].unsqueeze(2)).squeeze(2)
        nats = log_divergences(p, q).clamp(min=0.0)  # rounding may go below 0
        nats = nats.masked_fill(nats.isnan(), torch.inf)
        same = (p.argmax(dim=-1) == q.argmax(dim=-1)).float()
        overlap = torch.minimum(p, q).exp().sum(dim=-1).clamp(max=1.0)
        given = -p.gather(2, labels[:, part].unsqueeze(2)).squeeze(2)
        parts.append((nats, same, loss, overlap, given))
    whole = [torch.cat(x, dim=1) for x in zip(*parts, strict=True)]
    return torch.stack(whole).cpu().unbind()  # one copy to the host


def _where_known(figures: tuple[Tensor, ...], expected: Tensor) -> tuple[Tensor, ...]:
    """Return all figures but the loss as NaN where the original predicts nothing."""
    is_unknown = expected[:, :-1, 0].isnan().cpu()
    nats, same, loss, *others = figures
    nats, same, *others = (
        x.masked_fill(is_unknown, torch.nan) for x in (nats, same, *others)
    )
    return (nats, same, loss, *others)


def _of_original(
    model: PreTrainedModel,
    head: Tensor | None,
    translation: Translation | None,
    hidden: Tensor,
) -> Tensor:
    """Return the original's log-probabilities, in the tokens of the model."""
    if translation is not None:
        return original_log_probabilities(model, hidden, translation)
    with with_head(model, head):
        return _log_probabilities(model, hidden)


def _log_probabilities(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    return head_logits(model, hidden).float().log_softmax(dim=-1)


def original_probabilities(
    model: PreTrainedModel, hidden: Tensor, translation: Translation
) -> Tensor:
    """Return the original's probabilities of the tokens of a smaller vocabulary.

    Args:
        model: has the smaller vocabulary.
        hidden: windows x length x hidden, of the original; they may be NaN.
        translation: holds the original's head.

    Returns:
        windows x length x tokens, float32; of no meaning where `hidden` is NaN.
    """
    with with_head(model, translation.weight, translation.bias):
        logits = head_logits(model, hidden.nan_to_num()).float()
    return translation.probabilities(logits)


def original_log_probabilities(
    model: PreTrainedModel, hidden: Tensor, translation: Translation
) -> Tensor:
    """Return the logarithms of `original_probabilities`, which are finite."""
    found = original_probabilities(model, hidden, translation)
    return found.clamp_(min=torch.finfo(found.dtype).tiny).log_()
