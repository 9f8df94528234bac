"""Lets one or two models work in turns, and takes their times.

Each model lives in a process of its own and works only when it is told to. Both do the
same work in each round, one right after the other, and the one that begins changes
from round to round: what else the machine does, and how warm it is, hits both alike.
Imports neither torch nor Qt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import ConfigError, ModelError
from surgeon_engine.api.json_process import SubprocessClient
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    Rate,
    rate_of,
)
from surgeon_engine.measurement.messages import (
    BenchmarkFinished,
    FinishBenchmark,
    GenerateTokens,
    Load,
    Loaded,
    ReadPrompt,
    Reply,
    Timed,
)

_SHORT_PROMPT = 16  # tokens that generation goes on from
_MAX_MODELS = 2

Check = Callable[[], None]  # called now and then; what it raises ends the work

COMMAND = (sys.executable, "-m", "surgeon_engine.measurement.benchmark_process")


@dataclass(frozen=True, slots=True, eq=False)
class _Runner:
    """One of the models, and the seconds that it has taken."""

    child: SubprocessClient
    loaded: Loaded
    prompt: list[float] = field(default_factory=list)
    generation: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all models can do: the least of what each can."""

    prompt: int  # tokens
    short_prompt: int
    generated: int
    vocabulary: int


def measure(
    sources: Sequence[str],
    settings: BenchmarkSettings,
    check: Check,
    step: Check = lambda: None,
) -> Measured:
    """Speed and memory of the one or two models that `sources` name.

    `check` is called now and then; what it raises ends the measurement. `step` is
    called after each of the `settings.turns(len(sources))` turns.

    Raises:
        ConfigError: there are no models, or more than two.
        ModelError: one cannot be found or read, or takes less than two tokens.
        EvaluationError: a process failed, most likely for want of memory.
    """
    if not 1 <= len(sources) <= _MAX_MODELS:
        raise ConfigError(
            f"One or two models can be measured at a time, not {len(sources)}.",
            "Measure the others in a second go.",
        )
    with ExitStack() as running:
        children = [
            running.enter_context(SubprocessClient(source, COMMAND, Reply))
            for source in sources
        ]
        runners = []
        for child, source in zip(children, sources, strict=True):
            model = ModelConfig(source, settings.dtype, settings.device)
            load = Load(model, settings.threads)
            runners.append(_Runner(child, child.ask(load, Loaded, check)))
        work = _work(settings, [runner.loaded for runner in runners])
        for number in range(-settings.warm_ups, settings.rounds):
            _do_round(runners, work, number, settings.seed, (check, step))
        models = tuple(_measured(runner, work, check) for runner in runners)
    return Measured(
        models=models,
        threads=runners[0].loaded.threads,
        prompt_tokens=work.prompt,
        generated_tokens=work.generated,
        rounds=settings.rounds,
        device=runners[0].loaded.device,
        dtype=settings.dtype,
    )


def _work(settings: BenchmarkSettings, models: Sequence[Loaded]) -> _Work:
    longest = min(
        (model.longest_window for model in models if model.longest_window),
        default=settings.prompt_tokens + _SHORT_PROMPT + settings.generated_tokens,
    )
    if longest < 2:
        raise ModelError(
            "A model that takes a single token cannot generate.",
            "Choose a model with a longer window.",
        )
    short = min(_SHORT_PROMPT, longest // 2)
    return _Work(
        prompt=min(settings.prompt_tokens, longest),
        short_prompt=short,
        generated=min(settings.generated_tokens, longest - short),
        vocabulary=min(model.vocabulary for model in models),
    )


def _do_round(
    runners: Sequence[_Runner],
    work: _Work,
    number: int,
    seed: int,
    calls: tuple[Check, Check],
) -> None:
    """A round of all models; those before number 0 warm up and do not count."""
    check, step = calls
    seed += abs(number)
    order = runners if number % 2 == 0 else runners[::-1]
    read = ReadPrompt(work.prompt, work.vocabulary, seed)
    for runner in order:
        seconds = runner.child.ask(read, Timed, check).seconds
        if number >= 0:
            runner.prompt.append(seconds)
        step()
    generate = GenerateTokens(work.short_prompt, work.generated, work.vocabulary, seed)
    for runner in order:
        seconds = runner.child.ask(generate, Timed, check).seconds
        if number >= 0:
            runner.generation.append(seconds)
        step()


def _measured(runner: _Runner, work: _Work, check: Check) -> ModelMeasured:
    loaded = runner.loaded
    finished = runner.child.ask(FinishBenchmark(), BenchmarkFinished, check)
    prompt: Rate = rate_of(work.prompt, runner.prompt)
    return ModelMeasured(
        name=loaded.name,
        file_bytes=loaded.file_bytes,
        parameters=loaded.parameters,
        prompt=prompt,
        generation=rate_of(work.generated, runner.generation),
        loaded_bytes=loaded.bytes_in_use,
        peak_bytes=finished.bytes_in_use,
        zeros=finished.zeros,
    )
