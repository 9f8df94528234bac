"""Judge a file against its original: fidelity, answers, probes, tasks.

    answers of the original, then of the file, each in a process of its own
    -> the original in memory: texts, its hidden states, likelihoods, continuations
    -> the file's numbers in memory: figures of each token, continuations

One model is in memory at a time. Both get the same tokens, cut by the original's
tokenizer; a file that has fewer tokens gets the same texts, cut by its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.export_marker import replace_file
from surgeon_engine.api.messages.judgment import (
    Judged,
    JudgeSettings,
    Judgment,
    Outcome,
    Probe,
    PromptJudged,
)
from surgeon_engine.api.messages.run import Estimate, Stage
from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import JUDGMENT
from surgeon_engine.evaluation.intervals import outcome_of_loss, ratio
from surgeon_engine.export.model_card import with_judgment
from surgeon_engine.export.provenance import CARD
from surgeon_engine.judging.conversation import (
    Question,
    Replies,
    Right,
    ask_all,
    cut_to,
    in_both,
    probe_judged,
    prompt_judged,
    questions_of,
    rights_of,
    tokens_of,
    worst_first,
)
from surgeon_engine.judging.drafting import draft_judged, drafting_files
from surgeon_engine.judging.figures import judge_classes, judge_positions, judge_texts
from surgeon_engine.judging.items import all_items
from surgeon_engine.judging.likelihood import losses_of_answers
from surgeon_engine.judging.measuring import measure_file, measure_original, texts_of
from surgeon_engine.judging.target import Target, target_of
from surgeon_engine.judging.tasks import check_installed, scores_of, tasks_judged
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import locate, read_model_config, vocabulary_size
from surgeon_engine.model.tokenizer import kept_tokenizer, tokenizer_problem
from surgeon_engine.model.vocabulary.smaller import kept_tokens
from surgeon_engine.planning.windows import text_errors
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext

_WINDOW = 4096  # tokens, for models that state none
# Nats per byte of an answer by the original, from which on it is no language
# (docs/judging.md).
_NO_LANGUAGE = 2.0


def judge(
    target: str, original: str, settings: JudgeSettings, context: RunContext
) -> Judged:
    """Judge a file and write the result.

    Args:
        target: folder of a finished run, an export in it, or a model.
        original: as `ModelConfig.source`; empty: the run's original.
        settings: texts, prompts and tasks of the judgment.
        context: receives the progress, and commands to stop.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    start = context.clock()
    found = _checked_target(target, original, settings)
    tokenizer = _tokenizer(found.config.model.source)
    smaller = _smaller_tokenizer(found, tokenizer)
    files = None
    if settings.draft:
        fewer = smaller is not None
        files = drafting_files(found.original, found.file, has_fewer_tokens=fewer)
    questions, before, after = _ask(found, tokenizer, smaller, settings, context)
    draft = None
    if files is not None and questions:
        draft = draft_judged(*files, questions, context)
    with context.stage(Stage.LOAD):
        loaded = load_model(found.config.model)
    texts = texts_of(found.config, loaded, settings.text, context, quick=settings.quick)
    yardstick = measure_original(
        loaded, texts, context, quick=settings.quick, smaller=smaller
    )
    prompts = _prompts(loaded.model, tokenizer, questions, before, after)
    unlikely = _unlikely(loaded.model, tokenizer, questions, after)
    scores = scores_of(loaded.model, tokenizer, settings.tasks, settings.limit)
    del loaded  # the file's model takes its place
    devices.release_memory()
    with found.loaded() as model:
        compared, chosen = measure_file(model, yardstick, context)
        own = smaller or tokenizer
        file_scores = scores_of(model, own, settings.tasks, settings.limit)

    rights: defaultdict[Probe, list[Right]] = defaultdict(list)
    for probe, right in rights_of(questions, before, after, unlikely):
        rights[probe].append(right)
    for ours, theirs in zip(yardstick.chosen, chosen, strict=True):
        right = Right("", "", "", ours == 0, theirs == 0)
        rights[Probe.CONTINUATION].append(right)
    likelihood, likelihood_outcome = _likelihood(prompts)
    judgment = Judgment(
        original=found.config.model.source,
        file=found.name,
        original_program=before.program,
        file_program=after.program,
        texts=judge_texts(compared),
        classes=judge_classes(compared),
        positions=judge_positions(compared),
        prompts=worst_first(prompts),
        likelihood=likelihood,
        likelihood_outcome=likelihood_outcome,
        probes=tuple(probe_judged(probe, rights[probe]) for probe in rights),
        tasks=tasks_judged(scores, file_scores),
        is_chat=bool(tokenizer.chat_template),
        seconds=context.clock() - start,
        draft=draft,
    )
    return Judged(judgment, _write(judgment, found, context))


def _checked_target(target: str, original: str, settings: JudgeSettings) -> Target:
    """Check the inputs of a judgment and return its target.

    Raises:
        EngineError: a package, the device, a model or a text is missing, or the text
            is one that has calibrated the model.
    """
    check_installed(settings.tasks)
    devices.choose(settings.device)  # raises
    found = target_of(target, original, settings)
    named = (name for setting, name in found.config.texts if setting == "texts")
    texts = (*named, *filter(None, [settings.text]))
    job = replace(found.config, evaluation=EvaluationConfig(windows=1, texts=texts))
    job.check_consistency()
    for _, error in text_errors(job):
        raise error
    return found


def _ask(
    target: Target,
    tokenizer: PreTrainedTokenizerBase,
    smaller: PreTrainedTokenizerBase | None,
    settings: JudgeSettings,
    context: RunContext,
) -> tuple[Sequence[Question], Replies, Replies]:
    """Return the questions, and the answers of the original and of the file.

    `smaller` is the tokenizer of the file if it has fewer tokens.
    """
    window = _window(target)
    items = all_items(settings.prompts, window, quick=settings.quick)
    questions = questions_of(items, tokenizer, window)
    of_file = questions
    if smaller is not None:
        questions, of_file = in_both(questions, smaller, window)
    if too_long := sum(x.is_own for x in items) - sum(x.item.is_own for x in questions):
        context.warn(
            "{count:,} of your prompts are longer than the window of the original, "
            "{window:,} tokens. They are left out.",
            count=too_long,
            window=window,
        )
    with context.stage(Stage.GENERATION, total=2 * len(questions)) as step:
        before = ask_all(target.original, questions, context, step)
        questions = questions[: len(before.answers)]
        after = ask_all(target.file, of_file[: len(questions)], context, step)
        questions = questions[: len(after.answers)]
    if smaller is not None:
        after = cut_to(questions, after, tokenizer)
    return questions, before, after


def _smaller_tokenizer(
    target: Target, original: PreTrainedTokenizerBase
) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a file that has fewer tokens; None: it has as many.

    Raises:
        ModelError: it has none, or its tokens are not some of the original's.
    """
    sources = (target.config.model.source, target.source)
    whole, size = (vocabulary_size(locate(x)) for x in sources)
    if size >= whole:
        return None
    found = _tokenizer(target.source)
    kept_tokens(original, found)  # raises before the models are asked
    return found


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model.

    Raises:
        ModelError: it has none.
    """
    source = locate(name)
    if tokenizer_problem(source):
        raise ModelError(
            "{source} has no tokenizer that can be read, so it cannot be asked "
            "anything.",
            "Put the tokenizer's files into the folder of its weights.",
            source=source.name,
        )
    return kept_tokenizer(source)


def _window(target: Target) -> int:
    """Return how many tokens the original reads at most."""
    config = read_model_config(locate(target.config.model.source)).get_text_config()
    return getattr(config, "max_position_embeddings", None) or _WINDOW


def _prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    before: Replies,
    after: Replies,
) -> list[PromptJudged]:
    """Compare the answers to prompts, with the original's likelihood of each."""
    asked = [
        (question, answers)
        for question, *answers in zip(
            questions, before.answers, after.answers, strict=False
        )
        if question.item.probe is None
    ]
    tokens = [[tokens_of(x, tokenizer) for x in answers] for _, answers in asked]
    pairs = [
        (question.tokens, answer)
        for (question, _), both in zip(asked, tokens, strict=True)
        for answer in both
    ]
    found = iter(losses_of_answers(model, pairs))
    return [
        prompt_judged(question, answers, both, (next(found), next(found)))
        for (question, answers), both in zip(asked, tokens, strict=True)
    ]


def _unlikely(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    after: Replies,
) -> frozenset[int]:
    """Return the numbers of harmless requests whose answer is no language.

    To the original, it is as unlikely as words at random.
    """
    asked = [
        (number, question, answer)
        for number, (question, answer) in enumerate(
            zip(questions, after.answers, strict=False)
        )
        if question.item.probe is Probe.ANSWERS_HARMLESS and answer.text
    ]
    pairs = [(x.tokens, tokens_of(y, tokenizer)) for _, x, y in asked]
    losses = losses_of_answers(model, pairs)
    return frozenset(
        number
        for (number, _, answer), loss in zip(asked, losses, strict=True)
        if loss > _NO_LANGUAGE * len(answer.text.encode())
    )


def _likelihood(prompts: Sequence[PromptJudged]) -> tuple[Estimate | None, Outcome]:
    """Return the mean of the differences of prompts; None: there are none."""
    found = [x.loss for x in prompts if x.loss is not None]
    if not found:
        return None, Outcome.SAME
    loss = ratio(torch.tensor(found), torch.ones(len(found)))
    return loss, outcome_of_loss(loss, len(found))


def _write(judgment: Judgment, target: Target, context: RunContext) -> str:
    """Write a judgment; return where it is, or "" with a warning."""
    if target.path is None:
        return ""
    try:
        write_atomically(target.path, sealed_json(judgment, JUDGMENT, indent=2))
        if target.export is not None:
            _add_to_card(judgment, target.export)
    except OSError as error:
        context.warn(unwritable(target.path, error))
        return ""
    return str(target.path)


def _add_to_card(judgment: Judgment, folder: Path) -> None:
    """Add the figures to the model card of an export, if it is as it was written."""
    try:
        card = read_text(folder / CARD)
    except UnreadableFileError:
        return
    replace_file(folder, CARD, with_judgment(card, judgment).encode())
