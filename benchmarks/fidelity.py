"""Sentences and the table about the fidelity of a default run, from its result file.

    python benchmarks/fidelity.py

README.md, docs/guide.md and docs/results.md hold what this prints; a test compares
them. The result file has the figures of `quality.py` with the plan `fidelity`, one run
each.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "results" / "fidelity.csv"
SIZES = (10, 30, 50)
DEFAULT, RIVAL, REMOVED = "default", "rival", "removed"
_TABLE_HEAD = """\
| removed | windows | stage | KL, WikiText-2 | KL, documentation | same top token | \
perplexity | seconds |
|---|---|---|---|---|---|---|---|"""
_STAGES = {
    REMOVED: "before recovery",
    DEFAULT: "**default run**",
    RIVAL: "plain distillation",
}


class Divergence(NamedTuple):
    """A KL to the original in nats per token, with its 95 % interval if measured."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return the mean with three decimals, and the interval."""
        if self.low is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


class Figures(NamedTuple):
    """The figures of one run at one stage."""

    removed_percent: int
    windows: int
    draw: int
    job: str
    same_kind: Divergence
    other_kind: Divergence
    same_top_token: tuple[str, str]
    perplexity: str
    seconds: str


def read() -> list[Figures]:
    """Return all figures of the result file."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return [_figures(row) for row in csv.DictReader(file)]


def first_draw(job: str, removed_percent: int, windows: int = 16) -> Figures:
    """Return the figures of a job with the first draw of texts and labels."""
    (found,) = (
        each
        for each in read()
        if (each.job, each.removed_percent) == (job, removed_percent)
        and (each.windows, each.draw) == (windows, 1)
    )
    return found


def headline() -> str:
    """Return the sentence of README.md."""
    ours, rival = first_draw(DEFAULT, 30), first_draw(RIVAL, 30)
    return (
        "With 16 windows of calibration text, a default run that removes 30 % of "
        f"SmolLM2-135M as heads and neurons ends at a KL of {ours.same_kind.mean:.2f} "
        "nats per token on the calibration text's kind and "
        f"{ours.other_kind.mean:.2f} on another kind of text. Plain "
        "distillation of a first-order mask ends at "
        f"{rival.same_kind.mean:.2f} and {rival.other_kind.mean:.2f}."
    )


def usual() -> str:
    """Return the sentence of docs/guide.md."""
    kl = {size: first_draw(DEFAULT, size).same_kind.mean for size in SIZES}
    return (
        f"With 16 windows, SmolLM2-135M ends at a KL of {kl[10]:.2f} with 10 % of the "
        f"prunable weights removed, {kl[30]:.2f} with 30 % and {kl[50]:.2f} with 50 %."
    )


def table() -> str:
    """Return the table of docs/results.md: the first draw of each size."""
    lines = [
        _line(first_draw(job, size, windows))
        for size, windows in (*((size, 16) for size in SIZES), (30, 128))
        for job in (REMOVED, DEFAULT, RIVAL)
    ]
    return "\n".join((_TABLE_HEAD, *lines))


def _line(figures: Figures) -> str:
    same = ", ".join(f"{share} %" for share in figures.same_top_token if share)
    cells = (
        f"{figures.removed_percent} %",
        str(figures.windows),
        _STAGES[figures.job],
        str(figures.same_kind),
        str(figures.other_kind),
        same,
        figures.perplexity,
        figures.seconds,
    )
    return f"| {' | '.join(cells)} |"


def _figures(row: dict[str, str]) -> Figures:
    return Figures(
        int(row["removed_percent"]),
        int(row["calibration_windows"]),
        int(row["draw"]),
        row["job"],
        _divergence(row, "kl_same_kind"),
        _divergence(row, "kl_other_kind"),
        (row["same_top_percent_same_kind"], row["same_top_percent_other_kind"]),
        row["perplexity"],
        row["seconds"],
    )


def _divergence(row: dict[str, str], column: str) -> Divergence:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return Divergence(
        float(row[column]),
        float(low) if low else None,
        float(high) if high else None,
    )


if __name__ == "__main__":
    print(headline(), usual(), table(), sep="\n\n")
