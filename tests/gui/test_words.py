"""Every setting, choice and stage has its words, and numbers read well."""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum

import pytest

from surgeon_engine.config import RunConfig
from surgeon_engine.events import Level, Stage
from surgeon_gui import numbers, sentences, text
from surgeon_gui.app_state import AppState, Inquiry, Step
from surgeon_gui.captions import CAPTIONS
from surgeon_gui.sentences import Mark
from tests.helpers.fake_engine import model_summary

PARTS = typing.get_type_hints(RunConfig)
FIELDS = [
    f"{part}.{field.name}"
    for part, kind in PARTS.items()
    for field in dataclasses.fields(kind)
]
SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_a_label_and_an_explanation(name):
    words = text.FIELDS[name]
    assert words.label
    assert words.tip.endswith(".")


def test_no_words_are_left_over_from_fields_that_are_gone():
    assert set(text.FIELDS) == set(FIELDS)


def test_each_choice_has_a_name_and_an_explanation():
    for kind in PARTS.values():
        for hint in typing.get_type_hints(kind).values():
            if isinstance(hint, type) and issubclass(hint, Enum):
                for member in hint:
                    name, explanation = text.CHOICES[member]
                    assert name
                    assert explanation.endswith(".")


def test_each_stage_and_level_has_a_name():
    assert set(text.STAGES) == set(text.UNITS) == set(Stage)
    assert set(text.LEVELS) == set(text.FROM_LEVEL) == set(Level)


def test_each_control_has_a_caption():
    assert all(caption.label for caption in CAPTIONS.values())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.count(950), "950"),
        (numbers.count(2_812_345), f"2.81{SPACE}M"),
        (numbers.count(8_030_261_248), f"8.03{SPACE}B"),
        (numbers.percent(0.3), f"30{SPACE}%"),
        (numbers.percent(-0.266, signed=True), f"\N{MINUS SIGN}26.6{SPACE}%"),
        (numbers.perplexity(14.2), "14.20"),
        (numbers.perplexity(123_456.7), "123,457"),
        (numbers.duration(3.25), f"3.2{SPACE}s"),
        (numbers.duration(65), f"1{SPACE}min 05{SPACE}s"),
        (numbers.duration(3725), f"1{SPACE}h 02{SPACE}min"),
        (numbers.whole_duration(0.2), f"1{SPACE}s"),
        (numbers.clock(3725), "1:02:05"),
        (numbers.size(5_700_000), f"5.7{SPACE}MB"),
        (numbers.scientific(0.0), "0"),
    ],
)
def test_numbers_read_well(shown, expected):
    assert shown == expected


def test_the_plan_says_how_much_goes():
    plan = sentences.plan(RunConfig(), model_summary()).replace(SPACE, " ")
    assert "2.10 M of 2.83 M parameters remain; the others become zeros" in plan
    assert "30 % of 2.43 M prunable weights go in 3 shots" in plan
    assert "heads and neurons" in plan


def test_the_goal_says_that_what_goes_stays_in_the_file_as_zeros():
    goal = sentences.goal(RunConfig(), model_summary()).replace(SPACE, " ")
    assert "2.10 M of 2.83 M parameters remain" in goal
    assert "stays in the file as zeros" in goal


def test_units_are_words_and_no_part_of_the_config():
    assert text.FIELDS["calibration.window_length"].unit == "tokens"
    for kind in PARTS.values():
        for field in dataclasses.fields(kind):
            assert "unit" not in field.metadata


def test_each_step_has_something_to_say_before_and_after_a_model_is_chosen():
    chosen = AppState(
        model_is_chosen=True, inspection=Inquiry("inspect-1", model_summary())
    )
    for state in (AppState(), chosen):
        for step in Step:
            assert sentences.step_view(state, step).summary
    assert sentences.step_view(AppState(), Step.MODEL).mark is Mark.EMPTY
    assert sentences.step_view(chosen, Step.MODEL).mark is Mark.READY
