"""Texts about the result of a run.

Pure functions of the state.
"""

from __future__ import annotations

from surgeon_engine.api.messages.run import Fidelity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.file_formats import is_larger, leaves_zeros
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import phase
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.choices import choice_label

Facts = tuple[tuple[str, str], ...]


def has_result(run: RunState) -> bool:
    """Return True if a run has ended with files, or with a failed export."""
    is_done = run.exported is not None and not run.status.is_busy
    return is_done or run.export_has_failed


def headline(run: RunState) -> str:
    """Return what was made, in a few words."""
    exported, model, config = run.exported, run.model, run.config
    if exported is None or model is None or config is None or not run.history:
        return phase(run)
    last = run.history[-1]
    if config.pruning.removes_nothing:
        made = choice_label(exported.dtype)[0]
    elif leaves_zeros(config):
        made = tr("{share} of the prunable weights are zero").format(
            share=numbers.percent(last.sparsity)
        )
    else:
        made = tr("{share} fewer parameters").format(
            share=numbers.percent(1 - last.parameters / model.parameters)
        )
    size = numbers.size(exported.weight_bytes)
    original = numbers.size(model.file_bytes)
    text = tr("{made}, {size} instead of {original}")
    if is_larger(exported.weight_bytes, model):
        text = tr("{made}, but {size} instead of {original}")
    return text.format(made=made, size=size, original=original)


def verified(run: RunState) -> str:
    """Return by what the files were checked; empty if there are none."""
    exported = run.exported
    if exported is None:
        return ""
    if not exported.tokens_compared:
        return tr("Read back by {program}; no program could run the file.").format(
            program=exported.checked_with
        )
    return tr(
        "Verified: {program} has loaded the files in a fresh process. The top token is "
        "the same as in memory for {same} of {all} tokens."
    ).format(
        program=exported.checked_with,
        same=numbers.whole(round(exported.agreement * exported.tokens_compared)),
        all=numbers.whole(exported.tokens_compared),
    )


def quality_facts(run: RunState) -> Facts:
    """Return the fidelity and the perplexity on each text that judges."""
    if run.evaluation is None or run.baseline is None:
        return ()
    before = {each.text: each for each in run.baseline.fidelity}
    facts = [
        (fidelity.text_name(each.text), _quality(each, before.get(each.text)))
        for each in run.evaluation.fidelity
    ]
    if not facts:
        change = tr("{before} \N{RIGHTWARDS ARROW} {after}").format(
            before=numbers.perplexity(run.baseline.perplexity),
            after=numbers.perplexity(run.evaluation.perplexity),
        )
        facts = [(tr("Perplexity"), change)]
    return tuple(facts)


def is_success(run: RunState) -> bool:
    """Return True if the run has ended with a verified file that is not larger."""
    exported = run.exported
    return (
        run.status is Status.FINISHED
        and exported is not None
        and bool(exported.tokens_compared)
        and not is_larger(exported.weight_bytes, run.model)
    )


def _quality(after: Fidelity, before: Fidelity | None) -> str:
    text = tr("{kl}, {agreement}").format(
        kl=tr("KL {nats}").format(nats=fidelity.divergence_interval(after)),
        agreement=fidelity.agreement(after),
    )
    if before is None:
        return text
    change = tr("perplexity {before} \N{RIGHTWARDS ARROW} {after}").format(
        before=numbers.perplexity(before.perplexity.value),
        after=numbers.perplexity(after.perplexity.value),
    )
    return f"{text}\n{change}"
