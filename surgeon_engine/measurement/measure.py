"""Measure the speed and memory of one or two models.

Each model runs in a process of its own. In each round both do the same work, one right
after the other, and the order alternates between rounds, so that other load and the
temperature of the machine affect both equally. GGUF files run in llama.cpp if it is
installed, unless they are compared with another kind of file. This module imports
neither torch nor Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    rate_of,
)
from surgeon_engine.api.model_info.files import gguf_of
from surgeon_engine.api.model_info.source_names import is_gguf_name
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.errors import ConfigError, ModelError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.json_process import module_command
from surgeon_engine.export.gguf.server import is_installed
from surgeon_engine.measurement.messages import Finished, Loaded

_SHORT_PROMPT = 16  # tokens before the generated ones
_MAX_MODELS = 2

Check = Callable[[], None]  # called repeatedly; may raise to stop the work

COMMAND = module_command("surgeon_engine.measurement.benchmark_process")
GGUF_COMMAND = module_command("surgeon_engine.measurement.gguf_process")


@dataclass(frozen=True, slots=True, eq=False)
class _TimedModel:
    """One of the models and its times in seconds, one for each round."""

    process: ModelProcess
    loaded: Loaded
    prompt: list[float] = field(default_factory=list)
    generation: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Workload:
    """The work of a round, within the limits of all models. Counts are in tokens."""

    prompt: int
    short_prompt: int
    generated: int
    vocabulary: int


def measure(
    sources: Sequence[str],
    settings: BenchmarkSettings,
    check: Check,
    step: Check = lambda: None,
) -> Measured:
    """Measure the one or two models that `sources` name.

    `check` is called repeatedly, and may raise to stop the measurement. `step` is
    called after each of the `settings.turns(len(sources))` turns.

    Raises:
        ConfigError: There are no models, or more than two.
        ModelError: A model cannot be found or read, or takes less than two tokens.
        EvaluationError: A process failed, probably because memory ran out.
    """
    if not 1 <= len(sources) <= _MAX_MODELS:
        raise ConfigError(
            "One or two models can be measured at a time, not {sources}.",
            "Measure the others afterwards.",
            sources=len(sources),
        )
    files = [_gguf_of(source) for source in sources]
    by_llama = all(files) and is_installed()
    if by_llama:
        sources = [str(path) for path in files]
    command = GGUF_COMMAND if by_llama else COMMAND
    window = max(settings.prompt_tokens, _SHORT_PROMPT + settings.generated_tokens)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(ModelProcess(source, command)) for source in sources
        ]
        timed_models = []
        for process, source in zip(processes, sources, strict=True):
            model = ModelConfig(source, settings.dtype, settings.device)
            arguments = (model, settings.threads, window)
            loaded = process.call("load", arguments, Loaded, check)
            timed_models.append(_TimedModel(process, loaded))
        work = _workload(settings, [each.loaded for each in timed_models])
        for number in range(-settings.warm_ups, settings.rounds):
            _run_round(timed_models, work, number, settings.seed, (check, step))
        models = tuple(_measured(each, work, check) for each in timed_models)
    return Measured(
        models=models,
        threads=timed_models[0].loaded.threads,
        prompt_tokens=work.prompt,
        generated_tokens=work.generated,
        rounds=settings.rounds,
        device=timed_models[0].loaded.device,
        dtype=None if by_llama else settings.dtype,
    )


def _gguf_of(source: str) -> Path | None:
    """Return the GGUF file that a source names, itself or by its folder."""
    path = expand_path(source)
    if path.is_dir():
        return gguf_of(path)
    return path if is_gguf_name(path.name) and path.is_file() else None


def _workload(settings: BenchmarkSettings, models: Sequence[Loaded]) -> _Workload:
    longest = min(
        (model.longest_window for model in models if model.longest_window),
        default=settings.prompt_tokens + _SHORT_PROMPT + settings.generated_tokens,
    )
    if longest < 2:
        raise ModelError(
            "A model with a window of a single token cannot generate text.",
            "Choose a model with a longer window.",
        )
    short = min(_SHORT_PROMPT, longest // 2)
    return _Workload(
        prompt=min(settings.prompt_tokens, longest),
        short_prompt=short,
        generated=min(settings.generated_tokens, longest - short),
        vocabulary=min(model.vocabulary for model in models),
    )


def _run_round(
    timed_models: Sequence[_TimedModel],
    work: _Workload,
    number: int,
    seed: int,
    callbacks: tuple[Check, Check],
) -> None:
    """Run a round with all models. Rounds with negative numbers are warm-ups."""
    check, step = callbacks
    seed += abs(number)
    order = timed_models if number % 2 == 0 else timed_models[::-1]
    for method, tokens in (
        ("read", (work.prompt,)),
        ("generate", (work.short_prompt, work.generated)),
    ):
        arguments = (*tokens, work.vocabulary, seed)
        for each in order:
            seconds = each.process.call(method, arguments, float, check)
            if number >= 0:
                times = each.prompt if method == "read" else each.generation
                times.append(seconds)
            step()


def _measured(timed_model: _TimedModel, work: _Workload, check: Check) -> ModelMeasured:
    loaded = timed_model.loaded
    finished = timed_model.process.call("finish", (), Finished, check)
    return ModelMeasured(
        name=loaded.name,
        file_bytes=loaded.file_bytes,
        parameters=loaded.parameters,
        prompt=rate_of(work.prompt, timed_model.prompt),
        generation=rate_of(work.generated, timed_model.generation),
        loaded_bytes=loaded.bytes_in_use,
        peak_bytes=finished.bytes_in_use,
        zeros=finished.zeros,
    )
