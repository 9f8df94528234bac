"""Texts about the samples that a run has written."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.run import SampleWritten
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState


@dataclass(frozen=True, slots=True)
class SamplePair:
    """The original's continuation of a prompt, and the latest of the pruned model."""

    prompt: str
    original: str
    title: str  # when the pruned model has written
    pruned: str


def sample_pair(run: RunState) -> SamplePair | None:
    """Return what both models have written; None without samples."""
    if run.config is None or not run.samples:
        return None
    original = next((x.text for x in run.samples if x.shot == 0), "")
    last = run.samples[-1]
    pruned = last.text if last.shot else ""
    return SamplePair(run.config.samples.prompt, original, _title(last), pruned)


def _title(sample: SampleWritten) -> str:
    if sample.is_recovered:
        return tr("After recovery")
    if not sample.shot:
        return tr("After the first shot")
    return tr("After shot {n}").format(n=sample.shot)
