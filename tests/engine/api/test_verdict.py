"""The verdict on a model follows the stated rules."""

import math

import msgspec
import pytest

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.messages.judgment import Outcome
from surgeon_engine.api.messages.run import Estimate, Evaluation, Exported
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.verdict import (
    Basis,
    Verdict,
    basis_of,
    explained_verdict,
    file_fidelity,
    judged_verdict,
    verdict_of,
    verdict_range,
)
from tests.helpers.fake_runs import write_run
from tests.helpers.judgments import fidelity, judgment, probe

# As docs/results.md has them: KL, share of same top tokens, perplexity.
MEASURED = {
    "original": ((0.0, 1.0, 38.8), Verdict.NEARLY_SAME),
    "q4_k_m": ((0.030, 0.89, 39.5), Verdict.NEARLY_SAME),
    "q4_0": ((0.171, 0.79, 43.0), Verdict.CLOSE),
    "10 % removed": ((0.232, 0.756, 43.8), Verdict.CLOSE),
    "30 % removed": ((0.708, 0.596, 53.8), Verdict.DIFFERENT),
    "half of the top tokens gone": ((0.7, 0.5, 50.0), Verdict.DIFFERENT),
    "50 % removed": ((1.289, 0.478, 73.0), Verdict.BROKEN),
    "3 bits, rounded to nearest": ((1.465, 0.446, 159.6), Verdict.BROKEN),
    "far away": ((6.0, 0.05, 9000.0), Verdict.BROKEN),
    "not a number": ((math.nan, 1.0, 38.8), Verdict.BROKEN),
}


# Only one figure differs from the original.
ALONE = [
    ((0.06, 1.0, 38.8), Verdict.CLOSE),
    ((0.0, 0.84, 38.8), Verdict.CLOSE),
    ((0.0, 1.0, 1.2 * 38.8), Verdict.CLOSE),
    ((0.0, 0.69, 38.8), Verdict.DIFFERENT),
    ((0.0, 1.0, 1.4 * 38.8), Verdict.DIFFERENT),
    ((1.1, 1.0, 38.8), Verdict.BROKEN),
    ((0.0, 0.49, 38.8), Verdict.BROKEN),
    ((0.0, 1.0, 3.1 * 38.8), Verdict.BROKEN),
]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [*(pytest.param(*case, id=name) for name, case in MEASURED.items()), *ALONE],
)
def test_verdict_is_that_of_the_worst_figure(figures, expected):
    assert verdict_of([fidelity(*figures)], [fidelity(0, 1, 38.8)]) is expected


def test_worst_text_decides():
    before = [fidelity(0, 1, 10.0), fidelity(0, 1, 20.0, "code")]
    after = [fidelity(0.01, 0.99, 10.0), fidelity(0.5, 0.6, 24.0, "code")]
    assert verdict_of(after, before) is Verdict.DIFFERENT
    assert verdict_of(after[:1], before) is Verdict.NEARLY_SAME


@pytest.mark.parametrize(
    ("figures", "decided"),
    [
        ((0.01, 0.99, 10.0), None),
        ((0.2, 0.8, 10.0), ("divergence", 0.2, 0.05)),
        ((0.24, 0.6966, 10.0), ("agreement", 0.6966, 0.70)),
        ((1.01, 0.52, 12.0), ("divergence", 1.01, 1.0)),
        ((0.01, 0.99, 14.0), ("perplexity_ratio", 1.4, 1.35)),
        ((0.01, 0.0, 10.0), ("agreement", 0.0, 0.50)),
    ],
)
def test_figure_furthest_beyond_a_limit_has_decided(figures, decided):
    good, bad = fidelity(0.0, 1.0, 10.0, "good"), fidelity(*figures, "bad")
    before = [fidelity(0, 1, 10.0, text) for text in ("good", "bad")]
    verdict, decision = explained_verdict([good, bad], before)
    assert verdict is verdict_of([good, bad], before)
    if decided is None:
        assert decision is None
        return
    assert (decision.figure, decision.value, decision.limit) == decided
    assert decision.measured is bad


def test_lost_abilities_may_have_decided():
    found = judgment([probe(lost=8)])
    texts = [[getattr(found.texts[0], name)] for name in ("fidelity", "baseline")]
    _, decision = explained_verdict(*texts, found.probes)
    assert decision.figure == "lost_items"
    assert decision.better is Verdict.CLOSE


def test_range_is_that_of_the_intervals_to_the_original():
    before = [fidelity(0, 1, 10.0)]
    close = fidelity(0.246, 0.75, 11.6)
    near = msgspec.structs.replace(
        close,
        divergence=Estimate(0.246, 0.222, 0.274),
        agreement=Estimate(0.75, 0.73, 0.77),
        perplexity=Estimate(11.6, 9.6, 14.6),
    )
    assert verdict_of([near], before) is Verdict.CLOSE
    assert verdict_range(near, before) == (Verdict.CLOSE, Verdict.DIFFERENT)
    assert verdict_range(close, before) == (Verdict.CLOSE, Verdict.CLOSE)
    single = msgspec.structs.replace(close, windows=1)
    assert verdict_range(single, before) == (Verdict.NEARLY_SAME, Verdict.BROKEN)
    wide = msgspec.structs.replace(close, agreement=Estimate(0.75, 0.69, 0.86))
    assert verdict_range(wide, before) == (Verdict.CLOSE, Verdict.DIFFERENT)


def test_without_figures_there_is_no_verdict():
    assert verdict_of([], [fidelity(0, 1, 10.0)]) is None


def test_figures_of_the_file_come_before_those_of_the_weights():
    in_memory, of_file = fidelity(0, 1, 10.0), fidelity(0.3, 0.7, 12.0)
    evaluation = Evaluation(1.0, 10.0, 32, 256, "story", fidelity=(in_memory,))
    exported = Exported("folder", 1, 64, 0.1, fidelity=(of_file,))
    assert file_fidelity(exported, evaluation) == (of_file,)
    exact = msgspec.structs.replace(exported, fidelity=())
    assert file_fidelity(exact, evaluation) == (in_memory,)
    assert file_fidelity(None, evaluation) == (in_memory,)


@pytest.mark.parametrize(
    ("dtype", "is_measured", "basis"),
    [
        (FileDtype.Q4_0, True, Basis.FILE),
        (FileDtype.Q4_0, False, Basis.WEIGHTS),
        (FileDtype.BFLOAT16, False, Basis.FILE),  # as good as the weights in memory
    ],
)
def test_basis_is_the_weights_where_rounding_was_not_measured(
    dtype, is_measured, basis
):
    figures = (fidelity(0.3, 0.7, 12.0),) if is_measured else ()
    exported = Exported("folder", 1, 64, 0.1, dtype=dtype, fidelity=figures)
    assert basis_of(exported) is basis
    assert basis_of(exported, judgment()) is Basis.FILE
    assert basis_of(None) is Basis.WEIGHTS


def test_report_has_the_verdict_on_its_file(tmp_path):
    report = RunFolder(write_run(tmp_path)).read_report()
    texts = [each.text for each in report.baseline.fidelity]
    far = tuple(fidelity(3.0, 0.2, 100.0, text) for text in texts)
    exported = msgspec.structs.replace(report.exported, fidelity=far)
    broken = msgspec.structs.replace(report, exported=exported)
    assert report.verdict not in (None, Verdict.BROKEN)
    assert broken.verdict is Verdict.BROKEN
    assert (report.basis, broken.basis) == (Basis.FILE, Basis.FILE)


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ([], Verdict.NEARLY_SAME),
        ([probe(lost=7, p=0.0156)], Verdict.NEARLY_SAME),  # one of nine may be chance
        ([probe(lost=7, p=0.009)], Verdict.CLOSE),
        ([probe(lost=7, p=0.009), probe(lost=8)], Verdict.DIFFERENT),
        ([probe(lost=20, items=20)], Verdict.DIFFERENT),
    ],
)
def test_lost_abilities_lower_the_verdict(probes, expected):
    assert judged_verdict(judgment(probes)) is expected


def test_gained_items_do_not_lower_the_verdict():
    gained = msgspec.structs.replace(
        probe(), outcome=Outcome.BETTER, difference=Estimate(0.3, 0.2, 0.4)
    )
    assert judged_verdict(judgment([gained])) is Verdict.NEARLY_SAME
