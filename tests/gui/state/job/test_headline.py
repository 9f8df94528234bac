"""The headline of a draft: title, warnings, an alternative, the end."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import MAX_SHARE, Structure, Target, Widths
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.api.verdict import Verdict, expected_verdict
from surgeon_engine.planning.forecast import Basis, End, RunPoint
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.target_size import memory_of_goal
from surgeon_gui.state.app import with_request
from surgeon_gui.state.job import headline as plan
from surgeon_gui.state.job.resource_text import check_draft
from surgeon_gui.state.job.targets import context_of, goal_or_none
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text import numbers
from surgeon_gui.text.verdicts import PHRASES
from tests.helpers.configs import AUTOMATIC, pruning_config, some_tokens
from tests.helpers.fake_engine import model_summary
from tests.helpers.queued_runs import ready_state

MODEL = model_summary()
# As in a file with 4.5 bits a weight.
QUANTIZED = msgspec.structs.replace(
    MODEL, dtype="", file_bytes=int(MODEL.parameters * 4.5 / 8)
)
FLOAT32 = ExportConfig(format=Format.COMPACT)
SHORT = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_K_M)


def state_of(config, model=MODEL):
    request = Request("inspect-1", ModelInspected(model))
    return with_request(ready_state("/runs", config), RequestKind.INSPECTION, request)


def line_of(config, model=MODEL, points=()):
    state = state_of(config, model)
    return plan.headline(state, plan.draft_forecast(state, points, None))


def job(structure=Structure.HEADS_AND_NEURONS, export=FLOAT32, **pruning):
    return RunConfig(pruning=pruning_config(structure, **pruning), export=export)


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("divergence", "verdict"),
    [
        (0.0, Verdict.NEARLY_SAME),
        (0.05, Verdict.NEARLY_SAME),
        (0.06, Verdict.CLOSE),
        (0.26, Verdict.DIFFERENT),
        (2.1, Verdict.BROKEN),
    ],
)
def test_expected_verdict_is_that_of_the_limits(divergence, verdict):
    assert expected_verdict(divergence) is verdict


@pytest.mark.parametrize(
    ("config", "title"),
    [
        (job(), "11.3 MB to 8.4 MB, likely close to the original"),
        (job(sparsity=0.0), "11.3 MB to 11.3 MB, nothing is removed"),
        (
            job(max_divergence=0.2),
            "11.3 MB to 8.4 MB, as far as the quality limit allows",
        ),
        (
            job(Structure.ELEMENTS),
            "30 % of the weights become zero, likely close to the original",
        ),
    ],
)
def test_title_has_sizes_and_what_to_expect(config, title):
    assert plain(line_of(config).title) == title


def test_title_without_recovery_expects_less():
    points = (RunPoint("a", 0.3, 0.2),)
    for level, verdict in (
        (Recovery.AUTOMATIC, Verdict.CLOSE),
        (Recovery.OFF, Verdict.DIFFERENT),
    ):
        config = replace(job(), recovery=RecoveryConfig(level))
        assert line_of(config, points=points).title.endswith(PHRASES[verdict])


def test_rounding_to_few_bits_counts_as_well():
    of_file = (RunPoint("a", 0.3, 0.2),)  # which has been rounded
    for dtype, points, verdict in (
        (FileDtype.Q8_0, (), Verdict.CLOSE),
        (FileDtype.Q4_0, (), Verdict.DIFFERENT),
        (FileDtype.Q4_0, of_file, Verdict.CLOSE),
    ):
        config = job(export=ExportConfig(format=Format.GGUF, dtype=dtype))
        title = line_of(config, points=points).title
        assert title.endswith(PHRASES[verdict])


def test_file_with_code_of_its_own_is_named_so():
    words = "Compact with own code, float32"
    free, same = job(), job(widths=Widths.SAME)
    assert line_of(free).details.startswith(words)
    assert words not in line_of(same).details
    assert words not in line_of(job(sparsity=0.0)).details
    assert line_of(job(structure=Structure.ROWS_AND_COLUMNS)).details.startswith(words)
    assert words not in line_of(job(structure=Structure.ELEMENTS)).details
    dropped = job(widths=Widths.SAME, dropped_sublayers=1)
    assert line_of(dropped).details.startswith(words)


def test_file_that_becomes_larger_is_a_warning():
    line = line_of(job(), QUANTIZED)
    assert line.warning == "The file is larger than the original"
    assert line.alternative is None  # 8 bits would be larger than the original, too
    assert "of memory" in line.details
    line = line_of(job(sparsity=0.0))
    assert not line.warning


def test_quantizing_alone_is_offered_where_it_is_as_small():
    config = job()
    line = line_of(config)
    assert line.alternative is FileDtype.Q8_0
    assert line.warning == "8 bits (Q8_0) alone is as small and closer"
    alone = plan.quantized_only(config, line.alternative)
    assert alone.pruning.removes_nothing
    assert (alone.export.format, alone.export.dtype) == (Format.GGUF, FileDtype.Q8_0)
    smaller = goal_or_none(alone, MODEL).weight_bytes
    assert smaller <= goal_or_none(config, MODEL).weight_bytes
    assert line_of(alone).alternative is None
    assert line_of(job(Structure.ELEMENTS)).alternative is None
    few_bits = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    assert line_of(job(export=few_bits)).alternative is None


@pytest.mark.parametrize("context", [512, 300])
def test_memory_is_that_at_the_context_of_the_job(context):
    wide, config = msgspec.structs.replace(MODEL, cache_width=100_000), job()
    goal = goal_or_none(config, wide)
    needed = memory_of_goal(goal, context, wide, config.pruning.structure)
    if context != MODEL.longest_window:
        pruning = replace(
            config.pruning,
            target=Target.MEMORY,
            memory_gigabytes=needed / 1e9,
            context=context,
        )
        config = replace(config, pruning=pruning)
    assert context_of(config, wide) == context
    memory = f"{plain(numbers.needed_size(needed))} of memory, {context:,} tokens"
    assert memory in plain(line_of(config, wide).details)


def test_file_with_zeros_needs_the_memory_of_the_original():
    wide, sparse = msgspec.structs.replace(MODEL, cache_width=100), job(Structure.N_M)
    whole = job(sparsity=0.0)
    memory = line_of(whole, wide).details.rpartition(" · ")[2]
    assert "of memory" in memory
    assert line_of(sparse, wide).details.endswith(memory)


def test_details_have_time_and_format():
    state = state_of(job())
    check = check_draft(state)
    timed = replace(state, resource_check=check)
    found = plan.draft_forecast(timed, (), None)
    assert "about " in plain(plan.headline(timed, found).details)
    assert "about " not in plain(plan.headline(state, found).details)
    few_bits = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    assert plain(line_of(job(export=few_bits)).details).startswith(
        "GGUF, 4 bits (Q4_0)"
    )


def test_longer_training_is_expected_to_end_closer():
    state = state_of(job())
    assert state.machine is not None
    nats = [
        plan.draft_forecast(
            replace(state, config=replace(job(), recovery=RecoveryConfig(minutes=x))),
            (),
            None,
        ).at(0.3)
        for x in (0.0, 1e3)
    ]
    assert nats[1] == pytest.approx(0.788 * nats[0], rel=0.001)


def test_draft_that_cannot_be_started_has_no_headline():
    missed = replace(job().pruning, target=Target.PARAMETERS, million_parameters=0.1)
    assert line_of(replace(job(), pruning=missed)) is None
    unread = replace(state_of(job()), requests={})
    assert plan.headline(unread, None) is None
    assert plan.draft_forecast(unread, (), None) is None


def test_size_along_the_curve_has_the_unit_of_the_target():
    for config, share, size in (
        (job(), 0.0, "11.3 MB"),
        (job(), 0.3, "8.4 MB"),
        (job(Structure.ELEMENTS), 0.25, "25 %"),
    ):
        assert plain(plan.size_text(config, MODEL, share)) == size
    memory = replace(job().pruning, target=Target.MEMORY, memory_gigabytes=0.02)
    in_memory = replace(job(), pruning=memory)
    for share in (0.0, 0.1, 0.2, 0.3):
        needed = plan._size_at(in_memory, MODEL, share)  # with the context
        assert needed > plan._size_at(job(), MODEL, share)
        shown = plain(plan.size_text(in_memory, MODEL, share))
        assert needed <= 1e6 * float(shown.split()[0]) < needed + 1e5


@pytest.mark.parametrize("export", [FLOAT32, SHORT])
def test_run_of_all_tokens_has_its_size_on_the_axis_of_fewer_tokens(export):
    whole, fewer = job(export=export), job(export=export, **some_tokens(900))
    place = plan.place_of_run(fewer, MODEL, 0.3)
    size = plan._size_at(whole, MODEL, 0.3)
    assert plan._size_at(fewer, MODEL, place) == pytest.approx(size, abs=10)
    assert place < 0.25
    assert plan.place_of_run(whole, MODEL, 0.3) == pytest.approx(0.3, abs=1e-6)
    zeros = job(Structure.ELEMENTS)
    assert plan.place_of_run(zeros, MODEL, 0.3) == 0.3


@pytest.mark.parametrize(
    ("megabytes", "export", "settings"),
    [
        (7.2, FLOAT32, some_tokens(900)),
        (8.3, FLOAT32, AUTOMATIC),
        (1.0, SHORT, {"width_multiple": 32}),  # rows of 32 get more bits
    ],
)
def test_handle_has_the_size_of_the_headline(megabytes, export, settings):
    sized = {"target": Target.FILE_SIZE, "megabytes": megabytes}
    config = job(export=export, **settings, **sized)
    share = goal_or_none(config, MODEL).sparsity
    assert f"to {plan.size_text(config, MODEL, share)}," in line_of(config).title


def test_basis_says_what_a_forecast_rests_on():
    found = plan.draft_forecast(state_of(job()), (), None)
    points = tuple(RunPoint(name, 0.3, 0.2) for name in "ab")
    texts = [
        plan.basis_text(replace(found, basis=basis, points=points[:count]))
        for basis, count in (
            (Basis.SIMILAR, 0),
            (Basis.OWN_RUNS, 1),
            (Basis.OWN_RUNS, 2),
            (Basis.DIAGNOSIS, 0),
            (Basis.DIAGNOSIS, 2),
        )
    ]
    assert texts == [
        "estimated from runs of similar models",
        "estimated from 1 run of this model",
        "estimated from 2 runs of this model",
        "measured on this model",
        "measured on this model, and 2 of its runs",
    ]


def test_end_is_named():
    config = job(export=ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0))
    found = plan.draft_forecast(state_of(config), (), None)
    texts = {end: plan.end_text(config, MODEL, replace(found, end=end)) for end in End}
    assert texts[End.NOTHING] == ""
    assert texts[End.FORMAT] == "The blocks of 4 bits (Q4_0) end the curve."
    assert len(set(texts.values())) == len(End)


@pytest.mark.parametrize(
    "target",
    [
        {"target": Target.FILE_SIZE, "megabytes": 0.1},
        {"target": Target.MEMORY, "memory_gigabytes": 0.009, "context": 1000},
    ],
)
def test_smallest_size_in_bytes_is_reached_beyond_the_end_of_the_curve(target):
    narrow = [
        msgspec.structs.replace(x, groups=24 if x.kind == "heads" else x.groups)
        for x in MODEL.coupled
    ]
    coupled = {"coupled": tuple(narrow), "longest_window": 1024}
    model = msgspec.structs.replace(MODEL, **coupled)
    config = job(**target)
    state = state_of(config, model)
    share = plan.nearest_share(state, model, plan.draft_forecast(state, (), None))
    assert share > MAX_SHARE
    assert [*job_errors(config, model)]
    smallest = replace(config, pruning=plan.sized_at(config, model, share))
    assert not [*job_errors(smallest, model)]
    assert goal_or_none(smallest, model).sparsity == pytest.approx(share)
