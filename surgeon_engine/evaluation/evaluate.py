"""Evaluate the model of a run: its fidelity and its perplexity on each text.

The first text is the held-out part of the calibration text, the others are of other
kinds. Each window is scored by itself, without context from the one before and without
added tokens: its first token is given, the others are predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.run import Estimate, Evaluation, Fidelity
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.evaluation.bits import bits_per_byte, bytes_of
from surgeon_engine.evaluation.fidelity import (
    Comparison,
    Reference,
    compare_unchecked,
    last_hidden_of,
    references_together,
)
from surgeon_engine.evaluation.intervals import estimate
from surgeon_engine.evaluation.perplexity import MAX_LOSS
from surgeon_engine.model.forwards import hidden_of_window
from surgeon_engine.model.head import head_logits, last_hidden
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.not_finite import hint_for, with_origin
from surgeon_engine.model.products import fast_products
from surgeon_engine.model.runnable import failing_with, on_text_alone
from surgeon_engine.model.vocabulary.tokens import token_bytes
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.shares import Batches

_CHECKED = 64  # tokens whose logits exist at once
# When an evaluation in the middle of a run may end: the largest half of KL's interval,
# relative to KL, and the fewest windows for a good estimate of it.
_ERROR, _FEWEST = 0.1, 8
# Windows of the first text on which the error of 16-bit products is measured, and the
# largest error, as a share of half of KL's interval. Chance hides the error of fewer.
_PROBED, _ROUNDING = 8, 0.1
_TOLERANCE = 0.05  # error of logits by the head alone, relative to their spread
_REPORT = say("The architecture is not supported. Report it with the model's name.")


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """The original's hidden states on the texts that judge a run."""

    texts: tuple[tuple[str, Reference], ...]  # with their names; the first is like
    # the calibration text
    # Calibration windows that choose the damping, and what is removed as a whole.
    held_out: Reference | None = None
    # The evaluation of the original, where a part of the windows may suffice.
    baseline: Evaluation | None = None
    # The error of KL by 16-bit products, nats per token; None: not yet measured.
    rounding: float | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return all hidden states by the text and the batch."""
        texts = [reference for _, reference in self.texts]
        if self.held_out is not None:
            texts.append(self.held_out)
        return {
            f"{text}/{batch}": x
            for text, reference in enumerate(texts)
            for batch, x in enumerate(reference.hidden)
        }

    def of_this_process(self) -> References:
        """Return the references of this process's windows; it then computes alone."""
        return References(tuple((name, each.own()) for name, each in self.texts))


def references_of(
    model: PreTrainedModel,
    texts: Sequence[JudgingText],
    held_out: Tensor | None,
    batch: int,
    step: Callable[[], None],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> References:
    """Run the original on the texts that judge a run.

    The first of `texts` is like the calibration text. `held_out` are calibration
    windows that choose settings, windows x length. `step` is called after each
    batch. Without a tokenizer, the bytes of the texts are unknown.

    Raises:
        EvaluationError: the model does not run on text alone, or its head does not
            give its logits by itself.
    """
    _check_head(model, texts[0].windows[:1, :_CHECKED])
    windows = [text.windows for text in texts]
    if held_out is not None:
        windows.append(held_out)
    found = references_together(model, windows, batch, step)
    chosen = None if held_out is None else found.pop()
    return _references(texts, found, chosen, tokenizer)


def _references(
    texts: Sequence[JudgingText],
    found: Sequence[Reference],
    held_out: Reference | None,
    tokenizer: PreTrainedTokenizerBase | None,
) -> References:
    lengths = token_bytes(tokenizer)
    if lengths is not None:
        found = [replace(x, bytes=bytes_of(x.windows, lengths)) for x in found]
    names = (text.name for text in texts)
    return References(tuple(zip(names, found, strict=True)), held_out)


def references_from(
    tensors: Mapping[str, Tensor],
    texts: Sequence[JudgingText],
    held_out: Tensor | None,
    batch: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> References:
    """Rebuild the result of `references_of` from its hidden states, by name."""
    parts = [text.windows for text in texts]
    if held_out is not None:
        parts.append(held_out)
    found = [
        Reference(
            windows,
            [tensors[f"{text}/{n}"] for n in range(len(Batches(windows, batch)))],
        )
        for text, windows in enumerate(parts)
    ]
    chosen = None if held_out is None else found.pop()
    return _references(texts, found, chosen, tokenizer)


def evaluate(
    model: PreTrainedModel,
    references: References,
    step: Callable[[], None],
    *,
    is_original: bool = False,
    at_once: int = 0,
    head: Tensor | None = None,
) -> Evaluation:
    """Measure the fidelity and the perplexity of a model on each text.

    `step` is called after each batch; `at_once` of its windows run at a time (0: all).
    The original need not run again. `head` is the weight of the original's head, if the
    model has another one.

    Products of the model take 16-bit inputs where that is fast. If the error of KL is
    not small beside its interval, all windows are measured again, with as many steps.
    The error is measured on a few windows, unless the references have it.

    If the references have a baseline, as many windows suffice as a KL with a small
    error needs. The perplexity is then the original's perplexity on all windows, times
    the ratio of both models on these.

    Raises:
        EvaluationError: a loss or a divergence is not finite, or the perplexity is not.
    """
    judge = partial(_compared, model, references, step, at_once=at_once, head=head)
    products = None if is_original else _rounding_products(model)
    error = None
    if products is not None:
        with products:
            figures = judge()
        error = _rounding_error(model, references, figures, at_once, head)
    if error is None:
        figures = judge(is_original=is_original)
    baseline = references.baseline
    found: list[Fidelity] = []
    for (name, reference), each in zip(references.texts, figures, strict=True):
        if baseline is not None and len(each.loss) < len(reference.windows):
            whole = math.log(baseline.fidelity[len(found)].perplexity.value)
            paired = each.loss.double() - each.original_loss + whole
            each = replace(each, loss=paired)
        _check_finite(model, reference, each, name if found else "")
        found.append(fidelity_of(each, name, reference))
        if len(found) == 1:
            loss = each.mean_loss * reference.stretch
    of_first = found[0]
    return Evaluation(
        loss,
        of_first.perplexity.value,
        of_first.windows,
        of_first.window_length,
        of_first.text,
        fidelity=tuple(found),
        rounding=error,
    )


def _compared(
    model: PreTrainedModel,
    references: References,
    step: Callable[[], None],
    *,
    at_once: int,
    head: Tensor | None,
    is_original: bool = False,
) -> list[Comparison]:
    """Return the figures of a model on each text; see `evaluate`."""
    texts = [reference for _, reference in references.texts]
    states: list[Iterable[Tensor]] = [x.hidden for x in texts]
    if not is_original:
        states = [*last_hidden_of(model, texts, step, at_once)]
    of_head = step if is_original else lambda: None  # else forwards take the steps
    found = []
    for reference, hidden in zip(texts, states, strict=True):
        if references.baseline is not None and reference.translation is None:
            reference = replace(reference, is_enough=_is_enough)
        found.append(
            compare_unchecked(
                model, reference, of_head, hidden=hidden, at_once=at_once, head=head
            )
        )
    return found


def _rounding_products(
    model: PreTrainedModel,
) -> AbstractContextManager[object] | None:
    """Return a context of 16-bit products, whose error is then measured.

    None: They are not fast here, the model has 16 bits anyway, or processes share the
    windows.
    """
    products = fast_products(model)
    is_fast = not isinstance(products, nullcontext)
    is_measured = model.dtype == torch.float32 and ranks.size() == 1
    return products if is_fast and is_measured else None


def _rounding_error(
    model: PreTrainedModel,
    references: References,
    found: Sequence[Comparison],
    at_once: int,
    head: Tensor | None,
) -> float | None:
    """Return the error of KL by 16-bit products, in nats per token; None: too large.

    `found` are the figures by such products on each text.
    """
    if not all(math.isfinite(x.mean_loss + x.divergence) for x in found):
        return None
    nats, error = found[0].nats, references.rounding
    if error is None:
        _, reference = references.texts[0]
        count = min(_PROBED, len(nats))
        hidden = _first(reference.hidden, count)
        first = replace(reference, windows=reference.windows[:count], hidden=hidden)
        exact = compare_unchecked(
            model, first, lambda: None, at_once=at_once or reference.batch, head=head
        )
        error = float((nats[:count] - exact.nats).double().nanmean().abs())
    whole = estimate(nats)
    return error if error <= _ROUNDING * (whole.high - whole.low) / 2 else None


def _first(hidden: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return the hidden states of the first windows, in one batch."""
    batches = math.ceil(count / len(hidden[0]))
    return [torch.cat(list(hidden[:batches]))[:count]]


def is_whole(evaluation: Evaluation, references: References) -> bool:
    """Return whether all windows were evaluated."""
    counts = [len(reference.windows) for _, reference in references.texts]
    return [each.windows for each in evaluation.fidelity] == counts


def _is_enough(nats: Tensor) -> bool:
    """Return whether the KL of windows, windows x tokens, has a small error."""
    if len(nats) < _FEWEST:
        return False
    found = estimate(nats)
    return found.high - found.low <= 2 * _ERROR * found.value


def fidelity_of(figures: Comparison, name: str, reference: Reference) -> Fidelity:
    """Return the means of the figures of tokens, with their intervals.

    The perplexity is per token of the original.
    """
    count, predicted = figures.loss.shape
    loss = estimate(figures.loss * reference.stretch)
    is_compared = ~figures.nats.isnan()
    return Fidelity(
        estimate(figures.nats),
        estimate(figures.agreement),
        _perplexity(loss),
        count,
        predicted + 1,
        name,
        estimate(figures.overlap),
        None if bool(is_compared.all()) else float(is_compared.double().mean()),
        *_bits(figures, reference),
    )


def fidelity_of_original(
    figures: Comparison, name: str, reference: Reference
) -> Fidelity:
    """Return the fidelity of the original to itself, by its own tokens.

    `figures` has the figures of any model that was compared with it.
    """
    found = fidelity_of(figures.of_original(), name, reference)
    own = reference.original
    if own is not None:
        loss = estimate(own.nats)
        found = msgspec.structs.replace(
            found,
            perplexity=_perplexity(loss),
            compared=None,
            bits_per_byte=found.original_bits,
        )
    return found


def _perplexity(loss: Estimate) -> Estimate:
    nats = (min(x, MAX_LOSS) for x in (loss.value, loss.low, loss.high))
    return Estimate(*map(math.exp, nats))


def _bits(
    figures: Comparison, reference: Reference
) -> tuple[Estimate | None, Estimate | None]:
    """Return the bits per byte of the model and of the original; None: unknown."""
    if reference.bytes is None or len(figures.loss) < len(reference.bytes):
        return None, None
    own = reference.original
    if own is not None:
        original = bits_per_byte(own.nats, own.bytes)
    elif reference.translation is None:
        original = bits_per_byte(figures.original_loss, reference.bytes)
    else:
        original = None
    return bits_per_byte(figures.loss, reference.bytes), original


def _check_finite(
    model: PreTrainedModel, reference: Reference, figures: Comparison, name: str
) -> None:
    loss, nats = figures.mean_loss, figures.divergence
    where = name or say("the validation text")
    if not loss < MAX_LOSS:  # false for NaN, too
        message = say("The loss on {where} is {loss}.", where=where, loss=loss)
        is_broken = ~figures.loss.isfinite().all(dim=1)
        if bool(is_broken.any()):
            message = with_origin(message, model, reference.windows[is_broken][:1])
        raise EvaluationError(message, hint_for(model))
    if not math.isfinite(nats):
        raise EvaluationError(
            "The divergence from the original on {where} is {kl}.",
            hint_for(model),
            where=where,
            kl=nats,
        )


@torch.no_grad()
def _check_head(model: PreTrainedModel, windows: Tensor) -> None:
    """Check that the head alone turns hidden states into the model's logits."""
    tokens = windows.to(model.device)
    name = type(model).__name__
    with on_text_alone(model):
        whole = language_model_of(model)
        expected = whole(input_ids=tokens, use_cache=False).logits.float()
    with (
        failing_with(
            say(
                "transformers cannot run {model_type} with products of 16 bits",
                model_type=name,
            ),
            _REPORT,
        ),
        fast_products(model),
    ):  # as while gradients are measured
        hidden = hidden_of_window(model, tokens).to(model.dtype)
    with failing_with(
        say(
            "The head of {model_type} cannot be run by itself, so the fidelity cannot "
            "be measured",
            model_type=name,
        ),
        _REPORT,
    ):
        if model.dtype == torch.float32:
            hidden = last_hidden(model, tokens)
        found = head_logits(model, hidden).float()
    is_finite = expected.isfinite() & found.isfinite()
    if not bool(is_finite.any()):
        return  # the evaluation says what is wrong
    error = (expected - found)[is_finite].abs()
    if float(error.max()) > _TOLERANCE * float(expected[is_finite].std()):
        raise EvaluationError(
            "The logits of {model_type} differ by up to {error:.2g} when its head is "
            "run by itself, so the fidelity cannot be measured.",
            _REPORT,
            model_type=name,
            error=float(error.max()),
        )
