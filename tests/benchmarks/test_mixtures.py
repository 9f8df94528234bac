"""The table of small mixtures: means of seeds, by model, share, text and criterion."""

from benchmarks.mixtures import CRITERIA, Line, table
from surgeon_engine.api.messages.run import Estimate, Fidelity


def texts(*divergences):
    one = Estimate(1.0, 1.0, 1.0)
    return tuple(
        Fidelity(Estimate(kl, kl, kl), one, one, 4, 16, text)
        for kl, text in zip(divergences, ("builtin", "code_held_out.txt"), strict=True)
    )


def line(share, seed, *before, after=(), model="a", criterion=CRITERIA[0].name):
    return Line(model, share, seed, criterion, share, 0, texts(0, 0), before, after, 1)


def test_table_has_the_mean_and_the_range_of_the_seeds():
    found = table(
        [
            line(0.5, 1, *texts(0.2, 0.5)),
            line(0.5, 2, *texts(0.4, 0.5), after=texts(0.1, 0.3)),
            line(0.25, 1, *texts(9, 8), criterion=CRITERIA[2].name),
        ]
    )
    rows = {row.split(" | ")[0]: row for row in found.splitlines()[::-1]}
    assert rows[f"| {CRITERIA[2].name}"].endswith("| 9.0000 | 8.0000 | - | - |")
    before, after = found.split("after recovery")
    ending = "| - | - | 0.3000 ± 0.2000 | 0.5000 ± 0.0000 |"
    assert f"| {CRITERIA[0].name} {ending}" in before
    assert f"| {CRITERIA[0].name} | - | - | 0.1000 | 0.3000 |" in after
    assert "50 %, documentation | 50 %, code" in before
