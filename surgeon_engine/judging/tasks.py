"""Tasks of lm_eval, an optional package, on both models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.judgment import TaskJudged
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.evaluation.intervals import outcome_of, ratio

_PACKAGE = "lm_eval"
_METRICS = ("acc_norm", "acc", "exact_match", "f1", "bleu")  # larger is better
Scores = Mapping[str, tuple[str, list[float]]]  # by task: metric, figure of each item


def check_installed(tasks: Sequence[str]) -> None:
    """Check that the tasks can be run here.

    Raises:
        ConfigError: they need lm_eval, which is not installed.
    """
    if tasks and find_spec(_PACKAGE) is None:
        raise ConfigError(
            "Tasks such as {task} need the package lm_eval, which is not installed.",
            "Install it: pip install lm_eval. Or judge without --task.",
            task=tasks[0],
        )


def scores_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    limit: int,
) -> Scores:
    """Run tasks on a model.

    Args:
        model: the model.
        tokenizer: tokenizer of the original.
        tasks: names of lm_eval.
        limit: items of each task; 0: all.

    Raises:
        ConfigError: a task is unknown, cannot be downloaded, or has no known metric.
    """
    if not tasks:
        return {}
    lm_eval: Any = import_module(_PACKAGE)
    huggingface: Any = import_module(f"{_PACKAGE}.models.huggingface")
    wrapped = huggingface.HFLM(pretrained=model, tokenizer=tokenizer)
    try:
        found = lm_eval.simple_evaluate(
            model=wrapped,
            tasks=list(tasks),
            limit=limit or None,
            log_samples=True,
            bootstrap_iters=0,
        )
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(
            "lm_eval cannot run {tasks}: {reason:clause}.",
            "Check the names: lm_eval ls tasks. Most tasks are downloaded.",
            tasks=", ".join(tasks),
            reason=error,
        ) from error
    return {name: _figures(name, items) for name, items in found["samples"].items()}


def _figures(task: str, items: Sequence[Mapping[str, Any]]) -> tuple[str, list[float]]:
    for metric in _METRICS:
        if items and all(metric in item for item in items):
            return metric, [float(item[metric]) for item in items]
    raise ConfigError(
        "The task {task} has none of the metrics {metrics}.",
        "Choose another task.",
        task=task,
        metrics=", ".join(_METRICS),
    )


def tasks_judged(original: Scores, file: Scores) -> tuple[TaskJudged, ...]:
    """Compare both models on the same items of each task, by a paired bootstrap."""
    found = []
    for task, (metric, figures) in original.items():
        _, of_file = file[task]
        before, after = torch.tensor(figures), torch.tensor(of_file)
        gain = ratio(after - before, torch.ones(len(before)))
        found.append(
            TaskJudged(
                task,
                metric,
                len(before),
                float(before.mean()),
                float(after.mean()),
                gain,
                outcome_of(gain, len(before)),
            )
        )
    return tuple(found)
