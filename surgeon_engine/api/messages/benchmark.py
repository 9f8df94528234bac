"""How fast and how large models are on this machine, and what that comes to in words.

    round    each model reads a prompt and generates some tokens, one after the other
    rate     tokens per second; of several rounds the median, with its spread
    ratio    rate of the second model / rate of the first, of the same round

Rounds of two models alternate, so that what else the machine does hits both: a ratio
within a round is worth more than two rates. Spreads leave out the lowest and the
highest of seven rounds or more. If both models were equally fast, the second would win
at least all but one of seven rounds in 6 % of all measurements. Imports neither torch
nor Qt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import msgspec

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.api.formatting import format_rate, format_size

ROUNDS_TO_TRIM = 7  # from here on a spread leaves out its extremes
# Two processes with the same model differ by as much, by how their memory happens to
# lie; more rounds do not help against that.
_MIN_RATIO = 1.03
_MIN_MEMORY = 0.02  # share of the first model's: of smaller differences no word
_MIN_ZEROS = 0.01  # share of a model's weights that makes it a masked one


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """What is measured, how often, and in which number format."""

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
        """How many times some model does some work, warm-ups included."""
        return 2 * models * (self.warm_ups + self.rounds)


class Rate(msgspec.Struct, frozen=True):
    """Tokens per second."""

    median: float
    low: float  # of the spread
    high: float
    rounds: tuple[float, ...] = ()  # each by itself, in order


class Ratio(msgspec.Struct, frozen=True):
    """How many times as fast the second model is."""

    median: float
    low: float  # of the spread
    high: float

    @property
    def is_faster(self) -> bool:
        """Whether the second model is faster beyond doubt."""
        return self.median >= _MIN_RATIO and self.low > 1.0

    @property
    def is_slower(self) -> bool:
        """Whether the second model is slower beyond doubt."""
        return self.median <= 1.0 / _MIN_RATIO and self.high < 1.0


class Speedups(msgspec.Struct, frozen=True):
    """The second model against the first."""

    prompt: Ratio
    generation: Ratio


class ModelMeasured(msgspec.Struct, frozen=True):
    """One model, in a process of its own."""

    name: str
    file_bytes: int  # of the files that hold weights
    parameters: int  # tied ones counted once
    prompt: Rate
    generation: Rate
    loaded_bytes: int  # most memory in use while it was loaded
    peak_bytes: int  # most in use after that; ever, where no system tells them apart
    zeros: int = 0  # parameters that are exactly 0


class Measured(msgspec.Struct, frozen=True, tag=True):
    """One model, or two that took turns."""

    models: tuple[ModelMeasured, ...]
    threads: int
    prompt_tokens: int
    generated_tokens: int
    rounds: int
    device: str  # in words
    dtype: Dtype = Dtype.FLOAT32


def rate_of(tokens: int, seconds: Sequence[float]) -> Rate:
    """The rate at which `tokens` were done in the `seconds` of each round."""
    rounds = tuple(tokens / each for each in seconds)
    return Rate(median(rounds), *_spread(rounds), rounds)


def speedups(measured: Measured) -> Speedups:
    """How many times as fast the second of two models is, round by round."""
    first, second = measured.models
    return Speedups(
        _ratio(first.prompt, second.prompt),
        _ratio(first.generation, second.generation),
    )


def summarize(measured: Measured) -> str:
    """What to make of the figures, in a sentence or two."""
    if len(measured.models) == 1:
        (model,) = measured.models
        generation = format_rate(model.generation.median)
        prompts = format_rate(model.prompt.median)
        return (
            f"{model.name} generates {generation} tokens/s and reads prompts at "
            f"{prompts} tokens/s here; memory {format_size(model.peak_bytes)}."
        )
    if _has_zeros_in_place(measured):
        return (
            "It is not faster here: zeros stand in matrices of the same size, and the "
            "processor multiplies by them all the same."
        )
    found = speedups(measured)
    memory = _memory(measured)
    if any(x.is_faster or x.is_slower for x in (found.generation, found.prompt)):
        return f"{_generation(measured, found)}, {_prompts(found)}; {memory}."
    return (
        f"It is not measurably faster here: generation {_times(found.generation)}, "
        f"prompts {_times(found.prompt)}; {memory}."
    )


def _spread(rounds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(rounds)
    if len(ordered) >= ROUNDS_TO_TRIM:
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


def _has_zeros_in_place(measured: Measured) -> bool:
    first, second = measured.models
    return (
        first.parameters == second.parameters
        and second.zeros - first.zeros > _MIN_ZEROS * second.parameters
    )


def _generation(measured: Measured, found: Speedups) -> str:
    ratio = found.generation
    first, second = (format_rate(model.generation.median) for model in measured.models)
    against = f"({second} against {first} tokens/s)"
    if ratio.is_faster:
        return f"Generation is {ratio.median:.2f} times as fast {against}"
    if ratio.is_slower:
        return f"Generation is slower, {ratio.median:.2f} times as fast {against}"
    return f"Generation is not measurably faster {against}"


def _prompts(found: Speedups) -> str:
    ratio, other = found.prompt, found.generation
    if ratio.is_faster:
        return f"prompts {ratio.median:.2f} times" + " as fast" * (not other.is_faster)
    if ratio.is_slower:
        slower = "" if other.is_slower else "are slower, "
        return f"prompts {slower}{ratio.median:.2f} times" + " as fast" * bool(slower)
    return "prompts are not measurably faster"


def _memory(measured: Measured) -> str:
    first, second = (model.peak_bytes for model in measured.models)
    if abs(second - first) < _MIN_MEMORY * first:
        return "memory the same"
    direction = "less" if second < first else "more"
    return f"memory {format_size(abs(second - first))} {direction}"


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
