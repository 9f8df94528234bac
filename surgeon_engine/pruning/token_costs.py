"""What it costs to remove tokens from a vocabulary.

    f       V    how often each token is expected, per token of text
    nu           nats that a text costs more, per occurrence of a removed token

The cost of a token is nu f, in nats per token of text, as that of a head or a neuron.

A few thousand tokens of text say little about a rare token. The predictions of the
model on them say more, and so does the number of a token, since tokenizers learn
frequent ones first. f is a mean of how often a token occurs, of its predicted
probability, and of Zipf's law. `nu` is measured: the model reads text in which the
tokens that are expected least, some of a hundred, are written otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.evaluation.fidelity import original_log_probabilities
from surgeon_engine.model.head import head_logits, last_hidden, logit_parts
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.products import fast_products
from surgeon_engine.model.vocabulary.tokens import TokenTable, closed_costs, zipf
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.pruning.threshold import Removals

_ZIPF = 0.2  # share of Zipf's law in f
_PROBED = 0.03  # of the text: written otherwise while `nu` is measured
_WINDOWS = 8  # of each kind of text, on which it is


@torch.no_grad()
def token_frequencies(
    model: PreTrainedModel,
    texts: Sequence[Tensor],
    batch: int,
    step: Callable[[], None],
) -> Tensor:
    """Return how often each token is expected, per token of text: V, float64.

    Args:
        model: The original.
        texts: Windows x length each; all kinds of text count alike.
        batch: Windows that run at a time.
        step: Called after each batch.
    """
    total: Tensor | None = None
    for windows in texts:
        expected: Tensor | None = None
        occurring: Tensor | None = None
        for tokens in windows.split(batch):
            tokens = tokens.to(model.device)
            labels = tokens[:, 1:]
            with fast_products(model):
                hidden = last_hidden(model, tokens)
                for part in logit_parts(model, labels):
                    logits = head_logits(model, hidden[:, :-1][:, part]).float()
                    p = logits.softmax(dim=-1).sum(dim=(0, 1)).double()
                    expected = p if expected is None else expected + p
            assert expected is not None
            found = torch.bincount(labels.flatten(), minlength=len(expected))
            occurring = found if occurring is None else occurring + found
            step()
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
    """Return `nu`: nats more per removed token, in text that is written without some.

    Args:
        loaded: The original.
        windows: Those of the run.
        removals: The tokens that can be removed, in order.
        step: Called after each window.
    """
    text = torch.cat([x[:_WINDOWS] for x in texts_of(windows)])
    kept = kept_for_probe(removals, text)
    is_removed = torch.ones(removals.candidates, dtype=torch.bool)
    is_removed[kept] = False
    vocabulary = SmallerVocabulary.of(loaded, kept)
    more, removed = 0.0, 0
    for tokens in text.split(1):
        found, positions = vocabulary.recoding.windows(tokens.numpy())
        whole = torch.from_numpy(positions).long()
        end = int((whole[0] >= 0).nonzero()[-1])  # the last byte of both
        before = tokens[:, : int(whole[0, end]) + 1]
        after = torch.from_numpy(found).long()[:, : end + 1]
        more += _loss(loaded.model, after, vocabulary) - _loss(loaded.model, before)
        removed += int(is_removed[before[:, 1:]].sum())
        step()
    return max(0.0, more) / max(1, removed)


def kept_for_probe(removals: Removals, text: Tensor) -> Tensor:
    """Return the tokens that are left without a small share of a text.

    Args:
        removals: The tokens that can be removed, in order.
        text: Windows x length.

    Returns:
        int64, ascending.
    """
    occurring = torch.bincount(text.flatten(), minlength=removals.candidates)
    share = occurring[removals.candidate].cumsum(0) / text.numel()
    is_kept = torch.ones(removals.candidates, dtype=torch.bool)
    is_kept[removals.candidate[: int((share < _PROBED).sum()) + 1]] = False
    return is_kept.nonzero().squeeze(1)


def texts_of(windows: TokenWindows) -> list[Tensor]:
    """Return the windows of both kinds that a run fits its model to."""
    return [windows.calibration, *([] if windows.own is None else [windows.own])]


def _loss(
    model: PreTrainedModel, tokens: Tensor, vocabulary: SmallerVocabulary | None = None
) -> float:
    """Return the loss of a window in nats, by the original's weights."""
    tokens = tokens.to(model.device)
    read = tokens if vocabulary is None else vocabulary.kept[tokens]
    labels, total = tokens[:, 1:], 0.0
    with fast_products(model):
        hidden = last_hidden(model, read)
        for part in logit_parts(model, labels):
            given = hidden[:, :-1][:, part]
            if vocabulary is None:
                log_p = head_logits(model, given).float().log_softmax(dim=-1)
            else:
                log_p = original_log_probabilities(model, given, vocabulary.translation)
            total += float(
                functional.nll_loss(
                    log_p.flatten(0, 1), labels[:, part].flatten(), reduction="sum"
                )
            )
    return total


def removable_tokens(costs: Tensor, table: TokenTable, weights: int) -> Removals:
    """Return the tokens that can be removed, in the order of their costs.

    A token comes after all those that are merged from it.

    Args:
        costs: V, in nats per token of text.
        table: What is merged from what, and what stays.
        weights: The parameters of a token.
    """
    closed, order = closed_costs(costs.numpy(), table)
    candidate = torch.from_numpy(order).long()
    cost = torch.from_numpy(closed).double()[candidate] / weights
    is_removable = cost < torch.inf
    candidate, cost = candidate[is_removable], cost[is_removable]
    return Removals(
        candidate, cost, torch.full_like(candidate, weights), candidates=len(costs)
    )
