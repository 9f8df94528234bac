"""Every setting, choice and stage has its words, and numbers read well."""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import Method, PruningConfig, Structure, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope, Level
from surgeon_engine.api.messages.run import Corrected, DampingChoice, Stage
from surgeon_engine.api.messages.sources import StructureSupport
from surgeon_gui.state import step_text as sentences
from surgeon_gui.state.app import AppState, Step
from surgeon_gui.state.job import plan_text as plans
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.step_text import Mark
from surgeon_gui.text import labels, numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.choices import CHOICES, choice_label
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished

PARTS = typing.get_type_hints(RunConfig)
FIELDS = [
    f"{part}.{name}"
    for part, kind in PARTS.items()
    for name in settings_of(kind)
    if name != "replace"  # no setting, but an answer to a question
]
SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_a_label_and_an_explanation(name):
    words = labels.FIELDS[name]
    assert words.label
    assert words.tip.endswith(".")


def test_no_words_are_left_over_from_fields_that_are_gone():
    assert set(labels.FIELDS) == set(FIELDS)


def test_each_choice_has_a_name_and_an_explanation():
    for kind in PARTS.values():
        for setting in settings_of(kind).values():
            if isinstance(setting.type, type) and issubclass(setting.type, Enum):
                for member in setting.type:
                    name, explanation = choice_label(member)
                    assert name
                    assert explanation.endswith(".")


def test_no_two_choices_are_spelled_alike_and_so_one_key():
    kinds = {type(member) for member in CHOICES}
    assert len(CHOICES) == sum(len(kind) for kind in kinds)


def test_each_stage_and_level_has_a_name():
    assert set(labels.STAGES) == set(labels.UNITS) == set(Stage)
    assert set(labels.LEVELS) == set(labels.FROM_LEVEL) == set(Level)


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
        (numbers.percent(0.25798, decimals=2), f"25.8{SPACE}%"),
        (numbers.percent(0.3, decimals=0), f"30{SPACE}%"),
        (numbers.megabytes(8_395_316), f"8.395316{SPACE}MB"),
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
    plan = said(plans.plan, PruningConfig())
    assert "2.10 M of 2.83 M parameters remain, in a file of about 8.4 MB" in plan
    assert "(original 5.7 MB)" in plan
    assert "30 % of 2.43 M prunable weights go in 3 shots" in plan
    assert "as heads and neurons" in plan


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Structure.N_M, "in a 2:4 pattern by Wanda"),
        (Structure.ELEMENTS, "as single weights by Wanda"),
    ],
)
def test_the_plan_says_that_single_weights_become_zeros(structure, words):
    plan = said(plans.plan, pruning_config(structure, method=Method.WANDA))
    assert words in plan
    assert "the others become zeros" in plan
    assert "no file gets smaller" in said(plans.goal, pruning_config(structure))


def test_the_plan_says_where_quality_ends_it():
    words = "The run ends where perplexity would rise by more than 5 %."
    assert words in said(plans.plan, pruning_config(max_perplexity_increase=5.0))
    assert "The run ends" not in said(plans.plan, PruningConfig())


def test_a_plan_that_comes_to_no_size_is_still_a_sentence():
    plan = said(plans.plan, pruning_config(target=Target.PARAMETERS))
    assert plan == "Bundled demo is pruned in 3 shots, as heads and neurons."
    assert said(plans.goal, pruning_config(target=Target.PARAMETERS)) == ""


def test_the_goal_says_the_size_in_all_ways_and_exactly():
    goal = said(plans.goal, PruningConfig())
    assert "729,907 weights go: 30 % of the 2,433,024 prunable ones" in goal
    assert "25.8 % of all parameters" in goal
    assert "2,098,829 parameters remain" in goal
    assert "8.395316 MB in float32" in goal
    assert "The original's file takes 5.7 MB" in goal


@pytest.mark.parametrize(
    ("export", "planned", "in_full"),
    [
        (ExportConfig(format=Format.MASKED), "stay in the file as zeros", "no smaller"),
        (
            ExportConfig(dtype=FileDtype.FLOAT16),
            "a file of about 4.2 MB",
            "4.197658 MB in float16. The original's file takes 5.7 MB.",
        ),
        (
            ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0),
            "a file of about 2.2 MB",
            "MB in q8_0.",
        ),
    ],
)
def test_the_plan_and_the_goal_say_what_the_file_comes_to(export, planned, in_full):
    config = RunConfig(export=export)
    plan, goal = (
        words(config, model_summary()).replace(SPACE, " ")
        for words in (plans.plan, plans.goal)
    )
    assert planned in plan
    assert in_full in goal
    assert ("they take" in goal) is (export.format is not Format.MASKED)


def test_rows_and_columns_may_come_out_smaller():
    pruning = pruning_config(structure=Structure.ROWS_AND_COLUMNS)
    assert "in a file of at most" in said(plans.plan, pruning)


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        (PruningConfig(), "30 % in 3 shots, heads and neurons"),
        (
            pruning_config(target=Target.PARAMETER_SHARE, shots=1),
            "30 % of all in 1 shot",
        ),
        (pruning_config(target=Target.PARAMETERS), "To 100 M in"),
        (pruning_config(target=Target.FILE_SIZE), "To 400.0 MB in"),
    ],
)
def test_the_target_is_said_in_the_way_it_was_given(pruning, words):
    assert words in plans.in_brief(pruning).replace(SPACE, " ")


def test_structures_that_are_missing_for_one_reason_are_one_line():
    supports = [
        StructureSupport(structure, "not known.")
        for structure in (Structure.HEADS, Structure.NEURONS)
    ]
    words = plans.unsupported([*supports, StructureSupport(Structure.ROWS)])
    assert words == "Heads, Neurons cannot be chosen: not known."


def test_what_a_shot_chose_is_said_in_the_log_and_beside_the_figures():
    chosen = shot_finished(1, 3, 0.3)
    run = RunState(history=(chosen,))
    assert sentences.last_choice(run) == (
        "Shot 1: damping 0.01 for costs and 0.1 for the update, of 9 that were tried\n"
        "Loss 2.651 on held-out windows"
    )
    (line,) = log_lines([Envelope("run-1", 0.0, chosen)])
    assert "of 9 that were tried" in line.message
    given = msgspec.structs.replace(chosen, damping=DampingChoice(0.01, 0.1, 0))
    (line,) = log_lines([Envelope("run-1", 0.0, given)])
    assert line.message.endswith("0.1 for the update, as given.")


def test_the_log_tells_the_steps_of_a_correction_or_that_none_helped():
    steps = Corrected((0.001, 0.0002), 2.9, 2.7, evaluation(12.0), 5.0)
    none = msgspec.structs.replace(steps, lengths=())
    taken, refused = log_lines([Envelope("run-1", 0.0, x) for x in (steps, none)])
    assert "0.001, 0.0002 of a whole one" in taken.message
    assert "No step along the gradient helps" in refused.message


def test_a_method_that_damps_nothing_has_no_choice_to_tell():
    none = msgspec.structs.replace(shot_finished(1, 3, 0.3), damping=None)
    assert sentences.last_choice(RunState(history=(none,))) == ""
    (line,) = log_lines([Envelope("run-1", 0.0, none)])
    assert "damping" not in line.message


@pytest.mark.parametrize(("shots", "words"), [(1, "quality limit"), (3, "Finished")])
def test_a_run_that_ends_at_the_quality_limit_says_so(shots, words):
    run = RunState(
        status=Status.FINISHED,
        config=RunConfig(pruning=pruning_config(max_perplexity_increase=5.0)),
        model=model_summary(),
        shots=3,
        baseline=evaluation(14.2),
        history=tuple(shot_finished(shot, 3, 0.3) for shot in range(1, shots + 1)),
    )
    assert words in sentences.outcome(run)


def test_a_run_that_misses_its_target_says_by_how_much_and_why():
    shot = msgspec.structs.replace(shot_finished(3, 3, 0.3), sparsity=0.27)
    run = RunState(
        status=Status.FINISHED,
        config=RunConfig(pruning=pruning_config(sparsity=0.3)),
        model=model_summary(),
        shots=3,
        baseline=evaluation(14.2),
        history=(shot,),
    )
    said = sentences.outcome(run).replace(SPACE, " ")
    assert said.startswith("Finished at 27 % and not 30 %, as what would have gone")
    reached = msgspec.structs.replace(shot, sparsity=0.298)  # near enough
    run = dataclasses.replace(run, history=(reached,))
    assert sentences.outcome(run).startswith("Finished:")


def said(words, pruning):
    return words(RunConfig(pruning=pruning), model_summary()).replace(SPACE, " ")


def test_units_are_words_and_no_part_of_the_config():
    assert labels.FIELDS["calibration.window_length"].unit == "tokens"
    for kind in PARTS.values():
        for setting in settings_of(kind).values():
            assert not hasattr(setting.option, "unit")


def test_each_step_has_something_to_say_before_and_after_a_model_is_chosen():
    chosen = AppState(
        model_is_chosen=True, inspection=Request("inspect-1", model_summary())
    )
    for state in (AppState(), chosen):
        for step in Step:
            assert sentences.step_view(state, step).summary
    assert sentences.step_view(AppState(), Step.MODEL).mark is Mark.EMPTY
    assert sentences.step_view(chosen, Step.MODEL).mark is Mark.READY


@pytest.mark.parametrize(
    ("text", "validation", "said"),
    [
        ("builtin", "", "Built-in text, 64 windows of 256"),
        ("tokens.npy", "other.npy", "tokens.npy, all of its windows"),
        ("tokens.npy", "builtin", "tokens.npy, all of its windows"),
    ],
)
def test_windows_of_a_token_file_are_not_given_another_length(text, validation, said):
    calibration = CalibrationConfig(text=text, validation_text=validation)
    state = AppState(config=RunConfig(calibration=calibration), model_is_chosen=True)
    assert sentences.step_view(state, Step.CALIBRATION).summary == said
