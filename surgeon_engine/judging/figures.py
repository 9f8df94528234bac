"""The distance of a file to the original: by text, class of token and position."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.messages.judgment import (
    ClassJudged,
    Figures,
    PositionJudged,
    TextJudged,
)
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.evaluation.bits import nats_of_text
from surgeon_engine.evaluation.evaluate import fidelity_of, fidelity_of_original
from surgeon_engine.evaluation.fidelity import Comparison, Reference
from surgeon_engine.evaluation.intervals import estimate, outcome_of_loss, ratio
from surgeon_engine.judging.token_classes import CLASSES

_PARTS = 4  # parts of a window with figures of their own


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Both models on the windows of a text."""

    name: str
    file: Comparison  # file against original
    classes: Tensor | None  # classes of the original's tokens; None: no tokenizer
    reference: Reference

    @property
    def places(self) -> Tensor:
        """The original's predicted token of each figure, from 0; -1: there is none."""
        own = self.reference.original
        if own is None:
            return torch.arange(self.file.nats.shape[1]).expand_as(self.file.nats)
        places = own.positions[:, : self.file.nats.shape[1]]
        return places.masked_fill(places >= own.nats.shape[1], -1)

    @property
    def loss(self) -> Estimate:
        """The difference of both losses on the text, per token of the original."""
        own, file = self.reference.original, self.file
        if own is None:
            return estimate(file.loss - file.original_loss)
        assert self.reference.bytes is not None
        after = nats_of_text(file.loss, self.reference.bytes)
        rise = after - nats_of_text(own.nats, own.bytes)
        return ratio(rise, (own.bytes > 0).sum(dim=1))


def judge_texts(texts: Sequence[Compared]) -> tuple[TextJudged, ...]:
    """Return the fidelity on each text."""
    found = []
    for each in texts:
        loss = each.loss
        fidelity = fidelity_of(each.file, each.name, each.reference)
        baseline = fidelity_of_original(each.file, each.name, each.reference)
        outcome = outcome_of_loss(loss, fidelity.windows)
        found.append(TextJudged(fidelity, baseline, loss, outcome))
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
    length = max(each.file.nats.shape[1] for each in texts)
    ends = [length * part // _PARTS for part in range(_PARTS + 1)]
    found = []
    for first, last in itertools.pairwise(ends):
        masks = [(x.places >= first) & (x.places < last) for x in texts]
        if figures := _figures(texts, masks):
            found.append(PositionJudged(first + 1, last, figures))
    return tuple(found)


def _is_class(text: Compared, number: int) -> Tensor:
    if text.classes is None:
        return torch.zeros_like(text.file.nats, dtype=torch.bool)
    places = text.places
    of_figures = text.classes.gather(1, places.clamp(min=0))
    return (of_figures == number) & (places >= 0)


def _figures(texts: Sequence[Compared], masks: Sequence[Tensor]) -> Figures | None:
    """Return the figures of the tokens of some masks; None: there are none."""
    masks = [
        mask & ~text.file.nats.isnan() for mask, text in zip(masks, texts, strict=True)
    ]
    counts = torch.cat([mask.sum(dim=1) for mask in masks])
    if not int(counts.sum()):
        return None

    def mean(values: Sequence[Tensor]) -> Tensor:
        pairs = zip(values, masks, strict=True)
        return torch.cat(
            [x.double().masked_fill(~mask, 0.0).sum(dim=1) for x, mask in pairs]
        )

    loss = ratio(mean([x.file.loss - x.file.original_loss for x in texts]), counts)
    return Figures(
        int(counts.sum()),
        ratio(mean([x.file.nats for x in texts]), counts),
        ratio(mean([x.file.agreement for x in texts]), counts),
        ratio(mean([x.file.overlap for x in texts]), counts),
        loss,
        outcome_of_loss(loss, int((counts > 0).sum())),
    )
