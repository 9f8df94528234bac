"""The distance of a file to the original: by text, class of token and position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.messages.judgment import (
    ClassJudged,
    Figures,
    PositionJudged,
    TextJudged,
)
from surgeon_engine.evaluation.evaluate import fidelity_of
from surgeon_engine.evaluation.fidelity import Comparison
from surgeon_engine.evaluation.intervals import estimate, outcome_of_loss, ratio
from surgeon_engine.judging.token_classes import CLASSES

_PARTS = 4  # of a window


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Both models on the windows of a text."""

    name: str
    file: Comparison  # with the original
    classes: Tensor | None  # of each predicted token; None: there is no tokenizer


def judge_texts(texts: Sequence[Compared]) -> tuple[TextJudged, ...]:
    """Return the fidelity on each text."""
    found = []
    for each in texts:
        loss = estimate(each.file.loss - each.file.original_loss)
        fidelity = fidelity_of(each.file, each.name)
        baseline = fidelity_of(each.file.of_original(), each.name)
        found.append(TextJudged(fidelity, baseline, loss, outcome_of_loss(loss)))
    return tuple(found)


def judge_classes(texts: Sequence[Compared]) -> tuple[ClassJudged, ...]:
    """Return the distance on each class of tokens that occurs."""
    return tuple(
        ClassJudged(kind, figures)
        for number, kind in enumerate(CLASSES)
        if (figures := _figures(texts, [_is_class(x, number) for x in texts]))
    )


def judge_positions(texts: Sequence[Compared]) -> tuple[PositionJudged, ...]:
    """Return the distance in each quarter of the windows."""
    return tuple(_quarters(texts))


def _is_class(text: Compared, number: int) -> Tensor:
    if text.classes is None:
        return torch.zeros_like(text.file.nats, dtype=torch.bool)
    return text.classes == number


def _quarters(texts: Sequence[Compared]) -> Iterator[PositionJudged]:
    length = max(each.file.nats.shape[1] for each in texts)
    ends = [length * part // _PARTS for part in range(_PARTS + 1)]
    for first, last in itertools.pairwise(ends):
        masks = []
        for each in texts:
            mask = torch.zeros_like(each.file.nats, dtype=torch.bool)
            mask[:, first:last] = True
            masks.append(mask)
        if figures := _figures(texts, masks):
            yield PositionJudged(first + 1, last, figures)


def _figures(texts: Sequence[Compared], masks: Sequence[Tensor]) -> Figures | None:
    """Return the figures of the tokens of some masks; None: there are none."""
    counts = torch.cat([mask.sum(dim=1) for mask in masks])
    if not int(counts.sum()):
        return None

    def mean(values: Sequence[Tensor]) -> Tensor:
        pairs = zip(values, masks, strict=True)
        return torch.cat([(x.double() * mask).sum(dim=1) for x, mask in pairs])

    loss = ratio(mean([x.file.loss - x.file.original_loss for x in texts]), counts)
    return Figures(
        int(counts.sum()),
        ratio(mean([x.file.nats for x in texts]), counts),
        ratio(mean([x.file.agreement for x in texts]), counts),
        ratio(mean([x.file.overlap for x in texts]), counts),
        loss,
        outcome_of_loss(loss),
    )
