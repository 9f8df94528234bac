"""The cost of removing tokens from a vocabulary.

    f       V    how often each token is expected, per token of text
    nu           nats that a text costs more, per occurrence of a removed token

The cost of a token is nu f, in nats per token of text, as for a head or a neuron.

A few thousand tokens of text say little about a rare token. The predictions of the
model on them say more, and so does the number of a token, since tokenizers learn
frequent ones first. f is a mean of how often a token occurs, of its predicted
probability, and of Zipf's law. `nu` is measured: the model reads text in which the
tokens that are expected least, some of a hundred, are written otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.evaluation.fidelity import original_log_probabilities
from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.head import head_logits, logit_parts
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.products import fast_products
from surgeon_engine.model.vocabulary.tokens import TokenTable, closed_costs, zipf
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.pruning.threshold import Removals

_ZIPF = 0.2  # share of Zipf's law in f
_PROBED = 0.03  # share of the text that is written otherwise to measure `nu`
_WINDOWS = 8  # windows of each kind of text for that measurement


@torch.no_grad()
def token_frequencies(
    model: PreTrainedModel,
    texts: Sequence[Tensor],
    batch: int,
    step: Callable[[], None],
) -> Tensor:
    """Return how often each token is expected, per token of text: V, float64.

    Texts are windows x length each, and all kinds count alike.
    """
    total: Tensor | None = None
    batches = [windows.split(batch) for windows in texts]
    forwards = iter(Forwards(model, chain.from_iterable(batches), step))
    for windows, of_text in zip(texts, batches, strict=True):
        expected: Tensor | None = None
        occurring: Tensor | None = None
        for tokens in of_text:
            labels = tokens[:, 1:].to(model.device)
            with fast_products(model):
                hidden = next(forwards)
                for part in logit_parts(model, labels):
                    logits = head_logits(model, hidden[:, :-1][:, part]).float()
                    p = logits.softmax(dim=-1).sum(dim=(0, 1)).double()
                    expected = p if expected is None else expected + p
            assert expected is not None
            found = torch.bincount(labels.flatten(), minlength=len(expected))
            occurring = found if occurring is None else occurring + found
        assert expected is not None and occurring is not None
        mean = (expected + occurring) / (2 * windows[:, 1:].numel() * len(texts))
        total = mean if total is None else total + mean
    assert total is not None
    law = torch.from_numpy(zipf(len(total)))
    return (1 - _ZIPF) * total.cpu() + _ZIPF * law


@torch.no_grad()
def nats_per_removed(
    loaded: LoadedModel,
    windows: TokenWindows,
    removals: Removals,
    step: Callable[[], None],
) -> float:
    """Return `nu`: nats more per removed token, in text written without some."""
    text = torch.cat([x[:_WINDOWS] for x in windows.fitted])
    kept = kept_for_probe(removals, text)
    vocabulary = SmallerVocabulary.of(loaded, kept)
    rows: list[Tensor] = []  # each window after and before
    removed = 0
    for tokens in text.split(1):
        found, positions = vocabulary.recoding.windows(tokens.numpy())
        whole = torch.from_numpy(positions).long()
        end = int((whole[0] >= 0).nonzero()[-1])  # the last byte of both
        before = tokens[:, : int(whole[0, end]) + 1]
        rows += [torch.from_numpy(found).long()[:, : end + 1], before]
        removed += int((~torch.isin(before[:, 1:], kept)).sum())
    losses = [*_losses(loaded.model, rows, vocabulary, step)]
    more = sum(losses[::2]) - sum(losses[1::2])
    return max(0.0, more) / max(1, removed)


def kept_for_probe(removals: Removals, text: Tensor) -> Tensor:
    """Return the tokens that are left without a small share of a text, ascending.

    `text` is windows x length, and the result is int64.
    """
    occurring = torch.bincount(text.flatten(), minlength=removals.candidates)
    share = occurring[removals.candidate].cumsum(0) / text.numel()
    is_kept = torch.ones(removals.candidates, dtype=torch.bool)
    is_kept[removals.candidate[: int((share < _PROBED).sum()) + 1]] = False
    return is_kept.nonzero().squeeze(1)


def _losses(
    model: PreTrainedModel,
    rows: Sequence[Tensor],
    vocabulary: SmallerVocabulary,
    step: Callable[[], None],
) -> Iterator[float]:
    """Yield the loss of windows in nats, by the original's weights.

    They are by turns in the tokens of a smaller vocabulary and in its own. `step` is
    called for every two of them.
    """
    is_smaller = [number % 2 == 0 for number in range(len(rows))]
    read = [
        vocabulary.kept[tokens] if smaller else tokens
        for tokens, smaller in zip(rows, is_smaller, strict=True)
    ]
    with fast_products(model):
        forwards = Forwards(model, read, step, steps=len(rows) // 2)
        for tokens, smaller, hidden in zip(rows, is_smaller, forwards, strict=True):
            labels, total = tokens[:, 1:].to(model.device), 0.0
            for part in logit_parts(model, labels):
                given = hidden[:, :-1][:, part]
                if smaller:
                    log_p = original_log_probabilities(
                        model, given, vocabulary.translation
                    )
                else:
                    log_p = head_logits(model, given).float().log_softmax(dim=-1)
                total += float(
                    functional.nll_loss(
                        log_p.flatten(0, 1), labels[:, part].flatten(), reduction="sum"
                    )
                )
            yield total


def removable_tokens(costs: Tensor, table: TokenTable, weights: int) -> Removals:
    """Return the tokens that can be removed, in the order of their costs.

    A token comes after all those that are merged from it. `costs` are V, in nats per
    token of text; a token has `weights` parameters.
    """
    closed, order = closed_costs(costs.numpy(), table)
    candidate = torch.from_numpy(order).long()
    cost = torch.from_numpy(closed).double()[candidate] / weights
    is_removable = cost < torch.inf
    candidate, cost = candidate[is_removable], cost[is_removable]
    return Removals(
        candidate, cost, torch.full_like(candidate, weights), candidates=len(costs)
    )
