"""Labels of all settings, choices and stages, and texts about plans and runs."""

import dataclasses
import typing
from enum import Enum

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig, Structure, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope, Failed, Level
from surgeon_engine.api.messages.run import DampingChoice, Stage, TokensRemoved
from surgeon_engine.api.messages.sources import ModelInspected, StructureSupport
from surgeon_engine.api.saved_state import ResumePoint
from surgeon_gui.state import run_text, step_text
from surgeon_gui.state.app import AppState, with_request
from surgeon_gui.state.job import plan_text
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.step_text import Mark
from surgeon_gui.text import labels
from surgeon_gui.text.choices import CHOICES, choice_label
from surgeon_gui.text.problems import Kind, Problem, Step
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import exported
from tests.helpers.judgments import fidelity
from tests.helpers.queued_runs import ready_state

PARTS = typing.get_type_hints(RunConfig)
FIELDS = [
    f"{part}.{name}" for part, kind in PARTS.items() for name in settings_of(kind)
]
SPACE = "\N{NO-BREAK SPACE}"


def test_each_field_has_a_label_and_a_tooltip():
    assert set(labels.FIELDS) == set(FIELDS)
    for name, field in labels.FIELDS.items():
        assert field.label and field.tip.endswith("."), name


def test_each_choice_has_a_name_and_a_description():
    for kind in PARTS.values():
        for setting in settings_of(kind).values():
            if isinstance(setting.type, type) and issubclass(setting.type, Enum):
                for member in setting.type:
                    name, description = choice_label(member)
                    assert name
                    assert description.endswith(".")


def test_choices_with_equal_values_have_separate_labels():
    kinds = {type(member) for member in CHOICES}
    assert len(CHOICES) == sum(len(kind) for kind in kinds)


def test_each_stage_and_level_has_a_name():
    assert set(labels.STAGES) == set(labels.UNITS) == set(Stage)
    assert set(labels.LEVELS) == set(labels.FROM_LEVEL) == set(Level)


def test_plan_states_the_quality_limit():
    text = "The run ends before perplexity rises by more than 5 %."
    limited = pruning_config(max_perplexity_increase=5.0)
    for describe in (plan_text.describe_goal, plan_text.brief_sizes):
        assert text in text_of(describe, limited)
        assert "The run ends" not in text_of(describe, PruningConfig())
    assert "The target removes" in text_of(plan_text.describe_goal, limited)
    assert "At the target" in text_of(plan_text.format_sizes, limited)


def test_goal_states_the_exact_size_in_every_unit():
    goal = text_of(plan_text.describe_goal, PruningConfig())
    assert "removes 729,907 weights: 30 % of the 2,433,024 prunable weights" in goal
    assert "25.8 % of all parameters" in goal
    assert "leaves 2,098,829 parameters" in goal
    assert "in a file of 8.4 MB in float32" in goal
    assert "The original file takes 11.3 MB" in goal


@pytest.mark.parametrize(
    ("export", "text"),
    [
        (ExportConfig(format=Format.MASKED), "removed weights as zeros"),
        (
            ExportConfig(dtype=FileDtype.FLOAT16),
            "4.2 MB in float16. The original file takes 11.3 MB.",
        ),
        (ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0), "in 8 bits (Q8_0)."),
    ],
)
def test_goal_states_the_file_size(export, text):
    config = RunConfig(export=export)
    goal = plan_text.describe_goal(config, model_summary()).replace(SPACE, " ")
    assert text in goal
    assert ("in a file of" in goal) is (export.format is not Format.MASKED)


def test_goal_that_cannot_be_reached_or_keeps_the_file_is_told():
    missed = pruning_config(target=Target.PARAMETERS)
    assert text_of(plan_text.describe_goal, missed) == ""
    sparse = pruning_config(Structure.N_M)
    assert "the file keeps its size" in text_of(plan_text.describe_goal, sparse)


@pytest.mark.parametrize(
    ("pruning", "text"),
    [
        (pruning_config(), "30 % fewer prunable weights in 3 shots, heads"),
        (
            pruning_config(target=Target.PARAMETER_SHARE, shots=1),
            "30 % fewer parameters in 1 shot",
        ),
        (pruning_config(target=Target.PARAMETERS), "To 100 M in"),
        (pruning_config(target=Target.FILE_SIZE), "To 400 MB in"),
        (pruning_config(max_perplexity_increase=5.0), ", perplexity up to 5 % higher"),
        (pruning_config(max_divergence=0.25), ", KL up to 0.25 nats"),
    ],
)
def test_brief_plan_uses_the_unit_of_the_target(pruning, text):
    assert text in plan_text.brief_plan(pruning).replace(SPACE, " ")


def test_unsupported_structures_are_counted_in_one_line():
    supports = [
        StructureSupport(structure, "not known.")
        for structure in (Structure.HEADS, Structure.NEURONS)
    ]
    text = plan_text.unsupported([*supports, StructureSupport(Structure.ROWS)])
    assert text == "2 structures cannot be chosen; see their tooltips."
    assert plan_text.unsupported([StructureSupport(Structure.ROWS)]) == ""


def test_damping_of_a_shot_is_in_the_log_and_beside_the_metrics():
    chosen = shot_finished(1, 3, 0.3)
    run = RunState(history=(chosen,))
    assert run_text.last_choice(run) == (
        "Shot 1: damping 0.01 for costs and 0.1 for the update, best of 9 tried\n"
        "KL 0.651 on held-out windows"
    )
    (line,) = log_lines([Envelope("run-1", 0.0, chosen)])
    assert "best of 9 tried" in line.message
    fixed = msgspec.structs.replace(chosen, damping=DampingChoice(0.01, 0.1, 0))
    (line,) = log_lines([Envelope("run-1", 0.0, fixed)])
    assert line.message.endswith("0.1 for the update, as given")


def test_method_without_damping_has_no_damping_text():
    shot = msgspec.structs.replace(shot_finished(1, 3, 0.3), damping=None)
    assert run_text.last_choice(RunState(history=(shot,))) == ""
    (line,) = log_lines([Envelope("run-1", 0.0, shot)])
    assert "damping" not in line.message


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (None, ""),
        (ResumePoint(), ""),  # it cannot be read, or nothing is done
        (ResumePoint(9.0, done=2), "It goes on after shot 2 of 5."),
        # A quality limit adds shots.
        (ResumePoint(9.0, done=7), "It goes on after shot 7 of 7."),
        (
            ResumePoint(9.0, Stage.DISTILLATION, 40, 80),
            "It goes on after 50\N{NO-BREAK SPACE}% of the training.",
        ),
        (ResumePoint(9.0, Stage.REFIT, 2, 6), "It goes on after block 2 of 6."),
        (ResumePoint(9.0, Stage.REFIT, 6, 6), "It goes on after the refit."),
        (ResumePoint(9.0, Stage.EXPORT), "It goes on by writing the model."),
    ],
)
def test_interrupted_run_says_where_it_goes_on(place, text):
    config = RunConfig(pruning=pruning_config(shots=5))
    assert run_text.continuation(place, config) == text


def finished(*history, **changes):
    """Return a finished run that was to remove 30 % in three shots."""
    run = RunState(
        status=Status.FINISHED,
        config=RunConfig(pruning=pruning_config(sparsity=0.3)),
        model=model_summary(),
        shots=3,
        baseline=evaluation(14.2),
        history=history,
    )
    return dataclasses.replace(run, **changes)


@pytest.mark.parametrize(("shots", "text"), [(1, "quality limit"), (3, "Finished")])
def test_outcome_states_that_the_quality_limit_ended_the_run(shots, text):
    config = RunConfig(pruning=pruning_config(max_perplexity_increase=5.0))
    history = [shot_finished(shot, 3, 0.3) for shot in range(1, shots + 1)]
    assert text in run_text.outcome(finished(*history, config=config))


def test_outcome_states_why_the_target_was_missed():
    shot = msgspec.structs.replace(shot_finished(3, 3, 0.3), sparsity=0.27)
    text = run_text.outcome(finished(shot)).replace(SPACE, " ")
    assert text.startswith("Finished at 27 % instead of 30 %: the next part to remove")
    reached = msgspec.structs.replace(shot, sparsity=0.298)  # within tolerance
    assert run_text.outcome(finished(reached)).startswith("Finished:")


def test_tokens_make_up_for_the_rest_of_the_target():
    shot = msgspec.structs.replace(shot_finished(3, 3, 0.27), sparsity=0.27)
    model = msgspec.structs.replace(model_summary(), token_parameters=192)
    removed = round(0.03 * model.prunable / 192)
    tokens = TokensRemoved(before=model.vocabulary, after=model.vocabulary - removed)
    run = finished(shot, model=model, tokens=tokens)
    assert run_text.outcome(run).startswith("Finished:")
    assert "instead of" in run_text.outcome(finished(shot, model=model))


def test_section_has_the_problem_with_its_languages(tmp_path):
    state = ready_state(tmp_path)
    assert step_text.step_view(state, Step.TARGET).mark is Mark.READY
    refused = Request("words", error=Failed("Klingon is no language."))
    state = with_request(state, RequestKind.VOCABULARY, refused)
    view = step_text.step_view(state, Step.TARGET)
    assert (view.mark, view.summary) == (Mark.PROBLEM, "Klingon is no language.")
    assert step_text.step_view(state, Step.CALIBRATION).mark is Mark.READY


def test_outcome_has_the_figures_of_the_file():
    """By the weights in memory, a run that only quantizes would be exact."""
    result = exported("there", PruningConfig(), ExportConfig())
    result = msgspec.structs.replace(result, fidelity=(fidelity(0.7, 0.6, 19.0),))
    run = finished(shot_finished(1, 1, 0.3), exported=result)
    text = run_text.outcome(run).replace(SPACE, " ")
    assert "KL 0.70, 60 % same top token, perplexity 14.20 → 19.00 on story" in text


def text_of(make_text, pruning):
    return make_text(RunConfig(pruning=pruning), model_summary()).replace(SPACE, " ")


def test_each_step_has_a_summary_before_and_after_a_model_is_chosen():
    inspection = Request("inspect-1", ModelInspected(model_summary()))
    chosen = AppState(
        model_is_chosen=True,
        run_parent="/runs",
        requests={RequestKind.INSPECTION: inspection},
    )
    for state in (AppState(run_parent="/runs"), chosen):
        for step in Step:
            assert step_text.step_view(state, step).summary
    assert step_text.step_view(AppState(), Step.MODEL).mark is Mark.EMPTY
    assert step_text.step_view(chosen, Step.MODEL).mark is Mark.READY
    problem = Problem(Kind.ERROR, {"message": "At most 18 %.", "hint": ""}, Step.RUN)
    state = dataclasses.replace(chosen, problems={Step.RUN: (problem,)})
    view = step_text.step_view(state, Step.RUN)
    assert (view.mark, view.summary) == (Mark.PROBLEM, "At most 18 %.")


def test_calibration_summary_counts_further_texts():
    more = (MoreText("a.txt"), MoreText("b.txt"))
    calibration = CalibrationConfig(more_texts=more)
    state = AppState(config=RunConfig(calibration=calibration), model_is_chosen=True)
    summary = step_text.step_view(state, Step.CALIBRATION).summary
    assert summary == "Built-in text and 2 further, 64 windows of 256"


@pytest.mark.parametrize(
    ("text", "validation", "summary"),
    [
        ("builtin", "", "Built-in text, 64 windows of 256"),
        ("tokens.npy", "other.npy", "tokens.npy, all windows"),
        ("tokens.npy", "builtin", "tokens.npy, all windows"),
    ],
)
def test_calibration_summary_of_a_token_file_has_no_window_length(
    text, validation, summary
):
    calibration = CalibrationConfig(text=text, validation_text=validation)
    state = AppState(config=RunConfig(calibration=calibration), model_is_chosen=True)
    assert step_text.step_view(state, Step.CALIBRATION).summary == summary
