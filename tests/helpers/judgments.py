"""A judgment that never took place."""

from surgeon_engine.api.messages.judgment import (
    Answer,
    Judgment,
    Outcome,
    Probe,
    ProbeJudged,
    PromptJudged,
    TextJudged,
)
from surgeon_engine.api.messages.run import Estimate, Fidelity


def fidelity(nats, share, perplexity, text="story"):
    """Return figures whose intervals are as wide as nothing."""
    figures = [Estimate(x, x, x) for x in (nats, share, perplexity)]
    overlap = Estimate(*[(1 + share) / 2] * 3)
    return Fidelity(*figures, 32, 256, text, overlap)


def probe(lost=8, items=30, p=2 / 2**8, right=20):
    """Return the result of a probe in which the file has lost some items."""
    difference = Estimate(-lost / items, -lost / items - 0.1, -lost / items + 0.1)
    return ProbeJudged(
        probe=Probe.ARITHMETIC,
        items=items,
        original=right,
        file=right - lost,
        only_original=lost,
        only_file=0,
        difference=difference,
        p=p,
        outcome=Outcome.WORSE if p < 0.05 else Outcome.SAME,
    )


def judgment(probes=None, figures=(0.02, 0.93, 10.1)):
    """Return a judgment of a file that is close in its texts."""
    answer = Answer("Because.", 2, is_complete=True, nats_per_byte=0.5)
    loss = Estimate(0.01, 0.005, 0.015)
    text = TextJudged(fidelity(*figures), fidelity(0, 1, 10.0), loss, Outcome.WORSE)
    return Judgment(
        original="demo",
        file="run",
        original_program="transformers 5",
        file_program="llama.cpp",
        texts=(text,),
        classes=(),
        positions=(),
        prompts=(PromptJudged("Why?", False, answer, answer, None),),
        likelihood=Estimate(0.0, 0.0, 0.0),
        likelihood_outcome=Outcome.SAME,
        probes=(probe(),) if probes is None else tuple(probes),
        tasks=(),
        is_chat=True,
        seconds=60.0,
    )
