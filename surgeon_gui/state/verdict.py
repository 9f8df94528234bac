"""The verdict on the file of a run, and on each text that judges."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.api.verdict import (
    Basis,
    Beyond,
    Verdict,
    basis_of,
    explained_verdict,
    file_fidelity,
    verdict_of,
    verdict_range,
)
from surgeon_gui.state.run import RunState


@dataclass(frozen=True, slots=True)
class OnText:
    """The fidelity of a file on one text, and its verdict."""

    fidelity: Fidelity
    verdict: Verdict
    ends: tuple[Verdict, Verdict]  # at both ends of its intervals, the better first


def fidelity_of(run: RunState) -> tuple[Fidelity, ...]:
    """Return the fidelity of the file of a run; of the model in memory without one."""
    return _figures(run)[0]


def verdict_of_run(run: RunState) -> Verdict | None:
    """Return the verdict on the result of a run; None: it has none, or no fidelity."""
    return _explained(run)[0]


def decision_of(run: RunState) -> Beyond | None:
    """Return the figure that has decided the verdict on a run; None: it is the best."""
    return _explained(run)[1]


def deciding_text(run: RunState) -> Fidelity | None:
    """Return the fidelity on the text that has decided, or else on the worst one."""
    decision = decision_of(run)
    if decision is not None and isinstance(decision.measured, Fidelity):
        return decision.measured
    worst = sorted(fidelity_of(run), key=lambda each: each.agreement.value)
    return next(iter(worst), None)


def _explained(run: RunState) -> tuple[Verdict | None, Beyond | None]:
    found = fidelity_of(run)
    if run.result is None or run.baseline is None or not found:
        return None, None
    probes = run.judgment.probes if run.judgment is not None else ()
    return explained_verdict(found, baseline_of(run), probes)


def rests_on_weights(run: RunState) -> bool:
    """Return True if the verdict on a file is only on the weights in memory."""
    return basis_of(run.exported, run.judgment) is Basis.WEIGHTS


def on_texts(run: RunState) -> tuple[OnText, ...]:
    """Return how the file of a run follows the original on each text."""
    before = baseline_of(run)
    found = []
    for each in fidelity_of(run):
        verdict = verdict_of((each,), before)
        if verdict is not None:
            found.append(OnText(each, verdict, verdict_range(each, before)))
    return tuple(found)


def baseline_of(run: RunState) -> tuple[Fidelity, ...]:
    """Return the fidelity of the original, whose perplexity counts, on each text."""
    return _figures(run)[1]


def _figures(run: RunState) -> tuple[tuple[Fidelity, ...], tuple[Fidelity, ...]]:
    """Return the fidelity of the file, and of the original, on each text.

    Of a file that was judged, the figures on the longer part of each text count.
    """
    evaluation = run.evaluation
    found = file_fidelity(run.exported, evaluation) if evaluation is not None else ()
    before = run.baseline.fidelity if run.baseline is not None else ()
    if run.judgment is None:
        return found, before
    originals = {each.text: each for each in before}
    pairs = [(x.fidelity, x.baseline) for x in run.judgment.texts]
    own = {x.text: (x, originals[x.text]) for x in found if x.text in originals}
    if basis_of(run.exported) is Basis.FILE:
        pairs = [max(x, own.get(x[0].text, x), key=_tokens) for x in pairs]
    return tuple(x for x, _ in pairs), tuple(x for _, x in pairs)


def _tokens(pair: tuple[Fidelity, Fidelity]) -> int:
    return pair[0].windows * pair[0].window_length


def perplexities(
    run: RunState, on: Fidelity | None = None
) -> tuple[float | None, float | None]:
    """Return the perplexity of the original and of the file of a run; None: unknown.

    Both are measured on the text of `on`, by default on the first one. Without a file,
    or its fidelity, the second is the perplexity of the model in memory.
    """
    both = run.baseline, run.evaluation
    before, after = (None if each is None else each.perplexity for each in both)
    found = on or next(iter(fidelity_of(run)), None)
    if found is None:
        return before, after
    originals = {each.text: each.perplexity.value for each in baseline_of(run)}
    return originals.get(found.text, before), found.perplexity.value
