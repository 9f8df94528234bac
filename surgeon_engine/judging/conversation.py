"""Ask both models the same questions, and compare their answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.messages.judgment import (
    Answer,
    ItemJudged,
    Outcome,
    Probe,
    ProbeJudged,
    PromptJudged,
)
from surgeon_engine.evaluation.intervals import (
    difference_of_shares,
    mcnemar,
    outcome_of,
)
from surgeon_engine.generation.generated_text import encode_prompt
from surgeon_engine.judging.answers import Speaker, answering
from surgeon_engine.judging.items import Item
from surgeon_engine.judging.llama_process import Answered
from surgeon_engine.runtime.run_context import RunContext

_PLAIN = "Question: {prompt}\nAnswer:"  # for models without a chat template
_ALPHA = 0.05  # significance level of McNemar's test
_LONG = 128  # tokens of a prompt
_MORE = 1.5  # tokens of an answer by a model with fewer tokens
_SHOWN = 10  # items of a probe that have changed
_SHOWN_CHARACTERS = 600  # per prompt


@dataclass(frozen=True, slots=True)
class Question:
    """An item, and the tokens of its prompt."""

    item: Item
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replies:
    """The answers of a model to the first questions."""

    program: str  # name and version of the program that ran the model
    answers: tuple[Answered, ...]


@dataclass(frozen=True, slots=True)
class Right:
    """The answers of both models to an item of a probe, and whether they are right."""

    prompt: str
    original: str  # answers
    file: str
    original_is_right: bool
    file_is_right: bool


def questions_of(
    items: Sequence[Item], tokenizer: PreTrainedTokenizerBase, window: int
) -> tuple[Question, ...]:
    """Return the items whose prompt and answer fit into a window, as tokens."""
    as_chat = bool(tokenizer.chat_template)
    found = []
    for item in items:
        prompt = item.prompt if as_chat else _PLAIN.format(prompt=item.prompt)
        tokens = encode_prompt(tokenizer, prompt, as_chat=as_chat)
        if len(tokens) + item.tokens <= window:
            found.append(Question(item, tokens))
    return tuple(found)


def in_both(
    questions: Sequence[Question], smaller: PreTrainedTokenizerBase, window: int
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Return the questions that fit in the tokens of a smaller vocabulary, too.

    Their answers may have more tokens there.

    Returns:
        The questions as they are, and in these tokens.
    """
    items = [
        replace(x.item, tokens=math.ceil(_MORE * x.item.tokens)) for x in questions
    ]
    found = {x.item: x for x in questions_of(items, smaller, window)}
    pairs = [(x, found[y]) for x, y in zip(questions, items, strict=True) if y in found]
    return tuple(x for x, _ in pairs), tuple(x for _, x in pairs)


def cut_to(
    questions: Sequence[Question], replies: Replies, tokenizer: PreTrainedTokenizerBase
) -> Replies:
    """Cut answers to as many tokens of the original as it may answer with."""
    answers = []
    for question, answer in zip(questions, replies.answers, strict=False):
        tokens = tokens_of(answer, tokenizer)
        if len(tokens) > question.item.tokens:
            first = tokens[: question.item.tokens]
            text = tokenizer.decode(first, clean_up_tokenization_spaces=False)
            answer = Answered(str(text), is_complete=False)
        answers.append(answer)
    return Replies(replies.program, tuple(answers))


def tokens_of(answer: Answered, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of an answer."""
    return tokenizer(answer.text, add_special_tokens=False, verbose=False).input_ids


def ask_all(
    speaker: Speaker,
    questions: Sequence[Question],
    context: RunContext,
    step: Callable[[], None],
) -> Replies:
    """Return the answers of a model; fewer if the user ends them now.

    Raises:
        EngineError: the model cannot be read, or its process has failed.
        RunCancelled: the user has cancelled.
    """
    window = max(len(x.tokens) + x.item.tokens + 1 for x in questions)
    has_ended = context.stops_after_shot  # while another model answered
    answers: list[Answered] = []
    with answering(speaker, window, context.raise_if_cancelled) as model:
        for limit, prompts in _together(questions, model.at_once):
            answers += model.answer(prompts, limit)
            for _ in prompts:
                step()
            if context.stops_after_shot and not has_ended:
                break
        return Replies(model.program, tuple(answers))


def _together(
    questions: Sequence[Question], at_once: int
) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
    """Yield the tokens of an answer and the next prompts that have so many.

    A long prompt is alone: it may share its beginning with the one before it.
    """

    def kind(question: Question) -> tuple[int, bool]:
        return question.item.tokens, len(question.tokens) > _LONG

    for (limit, is_long), group in groupby(questions, key=kind):
        prompts = [each.tokens for each in group]
        size = 1 if is_long else at_once
        for start in range(0, len(prompts), size):
            yield limit, prompts[start : start + size]


def prompt_judged(
    question: Question,
    answers: Sequence[Answered],
    tokens: Sequence[Sequence[int]],
    losses: tuple[float, float],
) -> PromptJudged:
    """Compare the answers of the original and of the file to a prompt.

    Args:
        question: has the prompt.
        answers: both.
        tokens: the tokens of both answers.
        losses: -log of the probability that the original gives to each.
    """
    pairs = zip(*tokens, strict=False)
    common = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if common is None and answers[0].text != answers[1].text:
        common = min(map(len, tokens))
    sides = [
        Answer(
            answer.text,
            len(ids),
            answer.is_complete,
            loss / len(answer.text.encode()) if ids else None,
        )
        for answer, ids, loss in zip(answers, tokens, losses, strict=True)
    ]
    item = question.item
    return PromptJudged(item.prompt, item.is_own, sides[0], sides[1], common)


def worst_first(prompts: Sequence[PromptJudged]) -> tuple[PromptJudged, ...]:
    """Order prompts by how unlikely the original finds the file's answer.

    Answers that only the file leaves empty come first, equal answers last.
    """

    def order(x: PromptJudged) -> tuple[bool, bool, float]:
        is_empty = x.file.nats_per_byte is None and x.original.nats_per_byte is not None
        return x.parts_at is None, not is_empty, -(x.loss or 0.0)

    return tuple(sorted(prompts, key=order))


def rights_of(
    questions: Sequence[Question],
    originals: Replies,
    files: Replies,
    unlikely: Container[int] = (),
) -> Iterator[tuple[Probe, Right]]:
    """Yield whether both models get the items of probes right.

    Args:
        questions: all of them.
        originals: the answers of the original.
        files: the answers of the file.
        unlikely: the numbers of the questions to which the file's answer is wrong,
            whatever it says.
    """
    for number, (question, *answers) in enumerate(
        zip(questions, originals.answers, files.answers, strict=False)
    ):
        item = question.item
        if item.probe is not None:
            original, file = (answer.text for answer in answers)
            prompt = item.prompt[:_SHOWN_CHARACTERS]
            file_is_right = number not in unlikely and item.is_right(file)
            is_right = item.is_right(original), file_is_right
            yield item.probe, Right(prompt, original, file, *is_right)


def probe_judged(probe: Probe, rights: Sequence[Right]) -> ProbeJudged:
    """Return the result of a probe, by McNemar's exact test."""
    changed = [x for x in rights if x.original_is_right != x.file_is_right]
    lost = sum(x.original_is_right for x in changed)
    gained = len(changed) - lost
    difference = difference_of_shares(lost, gained, len(rights))
    p = mcnemar(lost, gained)
    chance = p >= _ALPHA
    return ProbeJudged(
        probe=probe,
        items=len(rights),
        original=sum(x.original_is_right for x in rights),
        file=sum(x.file_is_right for x in rights),
        only_original=lost,
        only_file=gained,
        difference=difference,
        p=p,
        outcome=Outcome.SAME if chance else outcome_of(difference, len(rights)),
        changed=tuple(
            ItemJudged(x.prompt, x.original, x.file, x.original_is_right)
            for x in changed[:_SHOWN]
        ),
    )
