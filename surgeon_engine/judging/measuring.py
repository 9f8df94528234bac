"""Measure the original and then the file on texts, one in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, real_name
from surgeon_engine.api.config.evaluation import OWN_TEXT, EvaluationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import EvaluationError, ModelError
from surgeon_engine.calibration.fenced import load_windows
from surgeon_engine.calibration.judging_texts import read_judging_texts
from surgeon_engine.calibration.own_samples import Author, own_samples, own_text
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.evaluation.evaluate import References, references_of
from surgeon_engine.evaluation.fidelity import compare_unchecked
from surgeon_engine.judging.figures import Compared
from surgeon_engine.judging.likelihood import Continuations, continuations_of
from surgeon_engine.judging.token_classes import classes_of
from surgeon_engine.model.head import head_weight
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.vocabulary.smaller import UNRELATED
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.run_context import RunContext

_WINDOWS, _QUICK_WINDOWS = 16, 6  # per text
_LENGTH = 256  # tokens of a window, at most
_CHOICES, _QUICK_CHOICES = 32, 12
_BATCH = 4  # windows


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """The results of the original."""

    references: References
    classes: tuple[Tensor | None, ...]  # classes of predicted tokens, by text
    head: Tensor  # the weight of its head
    continuations: Continuations  # in the tokens of the file
    chosen: list[int]  # the original's choices
    rows: int  # tokens that the file has embeddings of


def texts_of(
    config: RunConfig,
    loaded: LoadedModel,
    text: str,
    context: RunContext,
    *,
    quick: bool,
) -> tuple[JudgingText, ...]:
    """Return the windows of the held-out text, the other texts, and its own.

    Args:
        config: the settings of the run.
        loaded: the original.
        text: a further one; empty: none.
        context: receives the progress.
        quick: use fewer windows.

    Raises:
        CalibrationError: a text cannot be read.
    """
    count = _QUICK_WINDOWS if quick else _WINDOWS
    held_out = min(count, config.evaluation.windows)  # windows of each further text
    with context.stage(Stage.TEXT):
        windows = load_windows(config.calibration, loaded, judging=held_out)
        length = windows.validation.shape[1]
        names = (*config.evaluation.texts, *([text] if text else ()))
        if BUILTIN_TEXT not in names:
            names = (*names, BUILTIN_TEXT)
        known = set(map(real_name, config.calibration.texts_read))
        names = tuple(x for x in names if real_name(x) not in known)
        others: tuple[JudgingText, ...] = ()
        if names:
            evaluation = EvaluationConfig(windows=count, texts=names)
            settings = dataclasses.replace(config, evaluation=evaluation)
            others = read_judging_texts(settings, loaded, min(length, _LENGTH))
        fence.close()
    found = [*windows.judging, *others]
    author = Author(
        loaded.files, loaded.model.dtype, loaded.model.config, loaded.tokenizer
    )
    own = own_text(author, count, min(length, _LENGTH), config.calibration.seed + 1)
    with context.stage(Stage.SAMPLING, total=own.steps) as step:
        found.append(JudgingText(OWN_TEXT, own_samples(loaded.model, own, step)))
    return tuple(JudgingText(x.name, x.windows[:count, :_LENGTH]) for x in found)


def measure_original(
    loaded: LoadedModel,
    texts: Sequence[JudgingText],
    context: RunContext,
    *,
    quick: bool,
    smaller: PreTrainedTokenizerBase | None = None,
) -> Yardstick:
    """Run the original on the texts.

    `smaller` is the tokenizer of the file if it has fewer tokens.

    Raises:
        ModelError: its tokens are not some of the original's.
    """
    model = loaded.model
    items = _QUICK_CHOICES if quick else _CHOICES
    continuations = continuations_of(texts[0].windows, items)
    with _stage(texts, continuations, context) as step:
        references = references_of(model, texts, None, _BATCH, step, loaded.tokenizer)
        chosen = continuations.chosen(model, step)
    classes = tuple(_classes(x.windows, loaded.tokenizer) for x in texts)
    head = head_weight(model).clone()
    rows = len(head)
    if smaller is not None:
        vocabulary = SmallerVocabulary.of_file(loaded, smaller)
        references = vocabulary.references(references, model)
        continuations = continuations.recoded(vocabulary.recoding)
        rows = len(vocabulary.kept)
    return Yardstick(references, classes, head, continuations, chosen, rows)


def measure_file(
    model: PreTrainedModel, yardstick: Yardstick, context: RunContext
) -> tuple[tuple[Compared, ...], list[int]]:
    """Return the figures of a file on each text, and the continuations it chooses.

    Raises:
        ModelError: it has another vocabulary.
        EvaluationError: a figure is not finite.
    """
    _check_vocabulary(model, yardstick)
    texts = [JudgingText(name, x.windows) for name, x in yardstick.references.texts]
    head = yardstick.head.to(device=model.device, dtype=head_weight(model).dtype)
    found = []
    with _stage(texts, yardstick.continuations, context) as step:
        parts = (yardstick.references.texts, yardstick.classes)
        for (name, reference), classes in zip(*parts, strict=True):
            of_file = compare_unchecked(model, reference, step, head=head)
            if bool(of_file.nats.isinf().any()):
                raise EvaluationError(
                    "The file gives no finite predictions on {text}.",
                    "It is damaged: export the model again.",
                    text=name,
                )
            found.append(Compared(name, of_file, classes, reference))
        chosen = yardstick.continuations.chosen(model, step)
    return tuple(found), chosen


def _stage(
    texts: Sequence[JudgingText], continuations: Continuations, context: RunContext
) -> AbstractContextManager[Callable[[], None]]:
    batches = sum(-(-len(x.windows) // _BATCH) for x in texts)
    return context.stage(Stage.COMPARISON, total=batches + len(continuations))


def _classes(
    windows: Tensor, tokenizer: PreTrainedTokenizerBase | None
) -> Tensor | None:
    return None if tokenizer is None else classes_of(windows, tokenizer)


def _check_vocabulary(model: PreTrainedModel, yardstick: Yardstick) -> None:
    found, head = head_weight(model), yardstick.head
    if found.shape != (yardstick.rows, head.shape[1]):
        raise ModelError(
            "The models have heads of different sizes ({ours} and {theirs}), so their "
            "predictions cannot be compared.",
            UNRELATED,
            ours=" x ".join(map(str, head.shape)),
            theirs=" x ".join(map(str, found.shape)),
        )
