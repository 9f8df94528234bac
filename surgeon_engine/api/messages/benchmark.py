"""Speed and memory of one model, or of two models in comparison.

    round    each model processes a prompt and generates tokens, one after the other
    rate     tokens per second: the median of the rounds, with its spread
    ratio    rate of the second model / rate of the first, in the same round

The models alternate within a round, so that other load on the machine affects both: a
ratio within a round is more precise than two rates. Spreads exclude the lowest and the
highest of seven rounds or more. With two equally fast models, the second is faster in
at least six of seven rounds in 6 % of all measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import msgspec

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.base.formatting import format_size
from surgeon_engine.base.sentences import Text, say, say_all, say_list

_ROUNDS_TO_TRIM = 7  # minimum for spreads without extremes
# Two processes with the same model differ by up to 3 %, depending on the layout of
# their memory; more rounds do not change that.
_MIN_RATIO = 1.03
# Between the median of the rounds' ratios and the ratio of the medians.
_MAX_DISAGREEMENT = 1.15
_MIN_MEMORY = 0.02  # share of the first model's memory; smaller differences are ignored
_MIN_ZEROS = 0.01  # share of zeros that identifies a masked model


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """Settings of a speed measurement."""

    rounds: Annotated[int, Option(Limits(1, 1000))] = 7
    # Rounds before those that count.
    warm_ups: Annotated[int, Option(Limits(0, 100))] = 2
    prompt_tokens: Annotated[int, Option(Limits(1, 131_072))] = 512
    generated_tokens: Annotated[int, Option(Limits(1, 131_072))] = 32
    # 0: as many as torch uses by default.
    threads: Annotated[int, Option(Limits(0, 1024))] = 0
    seed: Annotated[int, Option(Limits(0, 2**31 - 1))] = 0
    dtype: Dtype = Dtype.FLOAT32
    device: Device = Device.AUTO

    def __post_init__(self) -> None:
        check_limits(self)

    def turns(self, models: int) -> int:
        """Return the number of timed steps of all models, warm-ups included."""
        return 2 * models * (self.warm_ups + self.rounds)


class Rate(msgspec.Struct, frozen=True):
    """Tokens per second."""

    median: float
    low: float  # lower end of the spread
    high: float
    rounds: tuple[float, ...] = ()  # the rate of each round, in order


class Ratio(msgspec.Struct, frozen=True):
    """Speed of the second model relative to the first."""

    median: float
    low: float  # lower end of the spread
    high: float

    @property
    def is_faster(self) -> bool:
        """Whether the second model is measurably faster."""
        return self.median >= _MIN_RATIO and self.low > 1.0

    @property
    def is_slower(self) -> bool:
        """Whether the second model is measurably slower."""
        return self.median <= 1.0 / _MIN_RATIO and self.high < 1.0


class Speedups(msgspec.Struct, frozen=True):
    """Ratios of the second model to the first."""

    prompt: Ratio
    generation: Ratio


class ModelMeasured(msgspec.Struct, frozen=True):
    """The figures of one model, measured in its own process."""

    name: str
    file_bytes: int  # size of the files that hold weights
    parameters: int  # tied ones counted once
    prompt: Rate
    generation: Rate
    loaded_bytes: int  # peak memory while the model was loaded
    peak_bytes: int  # peak memory afterwards, or overall if the system has only that
    zeros: int = 0  # number of parameters that are exactly 0


class Measured(msgspec.Struct, frozen=True, tag=True):
    """Response to `MeasureModels`: the figures of one model or of two."""

    models: tuple[ModelMeasured, ...]
    threads: int
    prompt_tokens: int
    generated_tokens: int
    rounds: int
    device: Text  # display name
    dtype: Dtype | None = Dtype.FLOAT32  # None: the dtype of the file


def rate_of(tokens: int, seconds: Sequence[float]) -> Rate:
    """Return the rate of rounds that took `seconds` for `tokens` each."""
    rounds = tuple(tokens / each for each in seconds)
    return Rate(median(rounds), *_spread(rounds), rounds)


def speedups(measured: Measured) -> Speedups:
    """Return the ratios of the second of two models to the first."""
    first, second = measured.models
    return Speedups(
        _ratio(first.prompt, second.prompt),
        _ratio(first.generation, second.generation),
    )


def is_masked(measured: Measured) -> bool:
    """Return True if the second model has the first one's size, but more zeros."""
    first, second = measured.models
    return (
        first.parameters == second.parameters
        and second.zeros - first.zeros > _MIN_ZEROS * second.parameters
    )


def has_varied(measured: Measured) -> bool:
    """Return True if the rates over all rounds disagree with the ratio per round."""
    first, second = (model.generation.median for model in measured.models)
    ratio = speedups(measured).generation.median
    return not 1 / _MAX_DISAGREEMENT < second / first / ratio < _MAX_DISAGREEMENT


def memory_change(measured: Measured) -> int:
    """Return by how many bytes the second peak is higher; 0 for a small difference."""
    first, second = (model.peak_bytes for model in measured.models)
    is_small = abs(second - first) < _MIN_MEMORY * first
    return 0 if is_small else second - first


def summarize(measured: Measured, size_text: Callable[[int], str] = format_size) -> str:
    """Return in a sentence how much faster and smaller the second of two models is.

    One model alone is described.
    """
    if len(measured.models) == 1:
        (model,) = measured.models
        return say(
            "{name} generates {generation:rate} tokens/s and reads prompts at "
            "{prompts:rate} tokens/s here; memory {memory}.",
            name=model.name,
            generation=model.generation.median,
            prompts=model.prompt.median,
            memory=size_text(model.peak_bytes),
        )
    if is_masked(measured):
        return say(
            "Not faster: removed weights are stored as zeros in full-size matrices."
        )
    ratios, memory = speedups(measured), _memory(measured, size_text)
    if any(x.is_faster or x.is_slower for x in (ratios.generation, ratios.prompt)):
        return say(
            "{generation}, {prompts}; {memory}.",
            generation=_generation(measured, ratios.generation),
            prompts=_prompts(ratios.prompt),
            memory=memory,
        )
    return say(
        "It is not measurably faster here: generation {generation}, prompts {prompts}; "
        "{memory}.",
        generation=_times(ratios.generation),
        prompts=_times(ratios.prompt),
        memory=memory,
    )


def conditions(measured: Measured) -> str:
    """Return how the figures of a measurement were taken."""
    return say_all(
        say(
            "One round."
            if measured.rounds == 1
            else "Medians of {rounds} rounds, alternating between the models, and "
            "their range."
            if len(measured.models) == 2
            else "Medians of {rounds} rounds and their range.",
            rounds=measured.rounds,
        ),
        say("The range is without the lowest and the highest round.")
        if measured.rounds >= _ROUNDS_TO_TRIM
        else "",
        say(
            "Device: {device}. Tokens of a prompt: {prompt:count}; generated: "
            "{generated:count}.",
            device=say_list(measured.device, measured.dtype or ""),
            prompt=measured.prompt_tokens,
            generated=measured.generated_tokens,
        ),
    )


def _spread(rounds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(rounds)
    if len(ordered) >= _ROUNDS_TO_TRIM:
        ordered = ordered[1:-1]
    return ordered[0], ordered[-1]


def _ratio(first: Rate, second: Rate) -> Ratio:
    if not first.rounds or len(first.rounds) != len(second.rounds):
        return Ratio(
            second.median / first.median,
            second.low / first.high,
            second.high / first.low,
        )
    rounds = [b / a for a, b in zip(first.rounds, second.rounds, strict=True)]
    return Ratio(median(rounds), *_spread(rounds))


def _generation(measured: Measured, ratio: Ratio) -> str:
    first, second = (model.generation.median for model in measured.models)
    rates = say(
        "{after:rate} against {before:rate} tokens/s over all rounds, which varied: "
        "measure again on an idle machine"
        if has_varied(measured)
        else "{after:rate} against {before:rate} tokens/s",
        after=second,
        before=first,
    )
    return say(
        "Generation is {ratio:.2f} times as fast ({rates})"
        if ratio.is_faster
        else "Generation is slower, {ratio:.2f} times as fast ({rates})"
        if ratio.is_slower
        else "Generation is not measurably faster ({rates})",
        ratio=ratio.median,
        rates=rates,
    )


def _prompts(ratio: Ratio) -> str:
    if ratio.is_faster:
        return say("prompts {ratio:.2f} times as fast", ratio=ratio.median)
    if ratio.is_slower:
        return say("prompts are slower, {ratio:.2f} times as fast", ratio=ratio.median)
    return say("prompts are not measurably faster")


def _memory(measured: Measured, size_text: Callable[[int], str]) -> str:
    change = memory_change(measured)
    if not change:
        return say("memory the same")
    return say(
        "memory {size} less" if change < 0 else "memory {size} more",
        size=size_text(abs(change)),
    )


def _times(ratio: Ratio) -> str:
    return say(
        "{ratio:.2f} times ({low:.2f} to {high:.2f})",
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
    )
