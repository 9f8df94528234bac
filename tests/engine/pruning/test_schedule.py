"""A schedule rises from 0 to 1."""

import itertools

import pytest

from surgeon_engine.api.config.pruning import Schedule
from surgeon_engine.planning.target_size import share_of_goal


@pytest.mark.parametrize("schedule", Schedule)
def test_schedule_starts_at_0_and_ends_at_1(schedule):
    assert share_of_goal(0.0, schedule) == 0
    assert share_of_goal(1.0, schedule) == 1  # exactly: the goal is a whole number


@pytest.mark.parametrize("schedule", Schedule)
def test_every_step_removes_something(schedule):
    shares = [share_of_goal(i / 24, schedule) for i in range(25)]
    assert all(later > earlier for earlier, later in itertools.pairwise(shares))


def test_linear_steps_are_equal():
    assert share_of_goal(0.25, Schedule.LINEAR) == 0.25


def test_cubic_steps_leave_the_cube_of_the_rest():
    assert share_of_goal(0.5, Schedule.CUBIC) == 1 - 0.5**3
    assert share_of_goal(0.2, Schedule.CUBIC) == pytest.approx(1 - 0.8**3)
