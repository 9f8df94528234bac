"""The remaining time of recorded runs (`tests/fixtures/timed_run`)."""

import functools
import itertools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.decoding import decode_json
from surgeon_gui.state import run as run_state
from surgeon_gui.state.eta import readable

FOLDER = Path(__file__).parents[2] / "fixtures" / "timed_run"
MAX_FACTOR = 1.5
MAX_STILL = 5.0  # seconds


class Request(msgspec.Struct):
    """The first line of a file."""

    began: float
    planned: dict[Stage, float]


class Shown(NamedTuple):
    """The remaining time at one moment."""

    at: float  # seconds since the start
    remaining: float
    truth: float
    stage: Stage | None
    readable: float  # seconds that the window shows


@functools.cache
def replay(name: str, config: RunConfig | None = None) -> list[Shown]:
    """Return the remaining time at each second of a recorded run; default: 2:4."""
    first, *lines = (FOLDER / name).read_bytes().splitlines()
    request = msgspec.json.decode(first, type=Request)
    events = [decode_json(line, Envelope) for line in lines]
    if config is None:
        config = RunConfig()
        config = replace(
            config,
            pruning=replace(config.pruning, structure=Structure.N_M, pattern="2:4"),
        )
    state = run_state.requested("run", config, "run", request.began, request.planned)
    end, shown = events[-1].at, []
    now = request.began
    while now < end:
        while events and events[0].at <= now:
            state = run_state.apply(state, events.pop(0))
        state = run_state.advanced(state, now)
        remaining = state.remaining_seconds(now)
        assert remaining is not None
        figure = state.countdown.shown if state.countdown else readable(remaining)
        at, truth = now - request.began, end - now
        shown.append(Shown(at, remaining, truth, state.stage, figure))
        now += 1.0
    return shown


def longest_still(shown: list[Shown], change: float = 0.1) -> float:
    """Return the longest time in which no second brings this change or more.

    Before its first stage, a run has not begun.
    """
    longest = still = 0
    begun = [each for each in shown if each.stage is not None]
    for before, after in itertools.pairwise(begun):
        is_still = abs(after.remaining - before.remaining) < change
        still = still + 1 if is_still else 0
        longest = max(longest, still)
    return longest


def worst_factor(shown: list[Shown]) -> float:
    """Return by how much the remaining time is wrong, too long or too short."""
    return max(max(x.remaining / x.truth, x.truth / x.remaining) for x in shown)


@pytest.mark.parametrize(
    ("name", "config", "last", "change"),
    [
        ("demo_quiet.jsonl", None, 3, 0.1),
        # SmolLM2-135M, 21 minutes on one core. A step takes up to half a minute: the
        # remaining time falls slowly, but it falls.
        ("smollm2_quiet.jsonl", RunConfig(), 12, 1e-3),
    ],
)
def test_remaining_time_is_near_the_truth_and_never_stands_still(
    name, config, last, change
):
    """Within the `last` seconds a factor means nothing."""
    shown = replay(name, config)
    later = [x for x in shown if x.at > shown[-1].at / 10 and x.truth > last]
    assert len(later) > 0.8 * len(shown)
    assert worst_factor(later) < MAX_FACTOR
    assert longest_still(shown, change) <= MAX_STILL


def test_remaining_time_falls_nearly_always():
    shown = replay("demo_quiet.jsonl")
    rises = [b for a, b in itertools.pairwise(shown) if b.remaining > a.remaining]
    assert len(rises) < 0.2 * len(shown)


def test_remaining_time_on_a_busy_machine_is_right_within_a_few_times():
    """The other programs took more and more of the machine during this run."""
    shown = replay("demo_busy.jsonl")
    duration = shown[-1].at
    first_half = [x for x in shown if duration / 10 < x.at < duration / 2]
    assert worst_factor(first_half) < 2 * MAX_FACTOR
    # Its steps are overdue for long: the remaining time falls slowly, but it falls.
    assert longest_still(shown, change=1e-3) <= MAX_STILL


@pytest.mark.parametrize("name", ["demo_quiet.jsonl", "demo_busy.jsonl"])
def test_shown_time_of_a_recorded_run_hardly_ever_rises(name):
    shown = replay(name)
    rises = [b for a, b in itertools.pairwise(shown) if b.readable > a.readable]
    jumps = [b for a, b in itertools.pairwise(shown) if b.remaining > a.remaining]
    assert len(rises) <= len(jumps) / 5
    duration = shown[-1].at
    later = [x for x in shown if duration / 5 < x.at < 0.8 * duration]
    # It follows: no further from the truth than the time that jumps, or by a quarter.
    for each in later:
        assert each.readable < 1.25 * max(each.remaining, each.truth) + 15
