"""The outcomes of `coverage.py`: a table of docs/families.md and a page of all classes.

The results are lines of JSON in `benchmarks/results/coverage.jsonl`, one for each class
and each of the sizes. The table stands between two comments of docs/families.md, and
`benchmarks/results/coverage.md` names the classes.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "coverage.jsonl"
CLASSES = RESULTS.with_suffix(".md")
PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- coverage: begin -->\n", "<!-- coverage: end -->\n"
PRUNED = ("heads_and_neurons", "neurons", "heads", "experts")
BAD = ("WRONG", "TRACEBACK", "SIGNAL", "HANG")
_OF_TRANSFORMERS = ("not built", "not run", "not reloaded")
_NO_DECODER = "is not a decoder-only language model"
_WITH_NEURONS = "with_neurons"  # the formats of a job on experts and neurons
_KINDS = {"causal": "language models", "image": "models that read images"}
_COLUMNS = {
    "tried": "classes",
    "not built": "not built",
    "no decoder": "no decoder",
    "not run": "transformers cannot run or reload them",
    "heads_and_neurons": "lose heads and neurons",
    "neurons": "neurons",
    "heads": "heads",
    "experts": "experts",
    _WITH_NEURONS: "of these, experts and neurons",
    "sentence": "refused",
    "bad": "wrong or failed",
}

Result = Mapping[str, Any]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results in a file of lines of JSON; none if it is missing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(results: Iterable[Result]) -> str:
    """Return results as lines of JSON, in the order of their names."""
    ordered = sorted(results, key=lambda x: (x["sizes"], x["kind"], name_of(x)))
    return "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in ordered)


def name_of(result: Result) -> str:
    """Return the type of the model, marked if its experts are left out."""
    return f"{result['type']}{' without experts' if result['dense'] else ''}"


def category_of(result: Result) -> str:
    """Return the column in which a class counts."""
    outcome = str(result["outcome"])
    if outcome == "not built":
        return outcome
    if _NO_DECODER in result.get("reason", ""):
        return "no decoder"
    if outcome in _OF_TRANSFORMERS:
        return "not run"
    return "bad" if outcome in BAD else outcome


def counts_of(results: Iterable[Result]) -> Counter[str]:
    """Return the number of classes in each column.

    A variant without experts counts if it could be built.
    """
    counted = [x for x in results if not (x["dense"] and x["outcome"] == "not built")]
    more = Counter(_WITH_NEURONS for x in counted if x.get(_WITH_NEURONS))
    return Counter(map(category_of, counted)) + more + Counter(tried=len(counted))


def share_of(counts: Mapping[str, int]) -> float:
    """Return the share of decoders that lose experts, heads, neurons or both."""
    pruned = sum(counts[name] for name in PRUNED)
    return pruned / max(1, pruned + counts["sentence"] + counts["bad"])


def page_with(results: Iterable[Result]) -> str:
    """Return docs/families.md with a new table."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    lines = ["", *_table(list(results)), ""]
    return before + BEGIN + "\n".join(lines) + "\n" + END + after


def classes_with(results: Iterable[Result]) -> str:
    """Return the page that names the classes of the usual sizes."""
    usual = [x for x in results if x["sizes"] == "usual"]
    lines = [
        "# Classes of transformers",
        "",
        "This page sorts the classes by the parts that a tiny random model of usual "
        "size can lose ([method](../../docs/families.md#classes-of-transformers)).",
        "A star marks a variant whose config leaves the experts out.",
    ]
    for kind, title in _KINDS.items():
        lines += ["", *_lists([x for x in usual if x["kind"] == kind], title)]
    return "\n".join(lines) + "\n"


def _table(results: list[Result]) -> Iterator[str]:
    """Yield the lines of the table: how many classes have which outcome."""
    versions = ", ".join(sorted({x["transformers"] for x in results}))
    yield f"With transformers {versions}:"
    yield ""
    yield f"| | {' | '.join(_COLUMNS.values())} | pruned, of the decoders |"
    yield f"|---|{'---:|' * (len(_COLUMNS) + 1)}"
    by_row: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        by_row[result["kind"], result["sizes"]].append(result)
    for (kind, sizes), part in sorted(by_row.items()):
        counts = counts_of(part)
        cells = " | ".join(_cells(part, counts))
        yield f"| {_KINDS[kind]}, {sizes} sizes | {cells} | {share_of(counts):.0%} |"


def _cells(results: Iterable[Result], counts: Mapping[str, int]) -> Iterator[str]:
    """Yield the number of each column; of classes with experts, also of how many."""
    tried = sum(_WITH_NEURONS in x for x in results)
    for name in _COLUMNS:
        is_share = name == _WITH_NEURONS
        share = f"{counts[name]} of {tried} tried" if tried else "not run"
        yield share if is_share else str(counts[name])


def _lists(results: list[Result], title: str) -> Iterator[str]:
    """Yield which classes of a kind lose heads and neurons, and why others do not."""
    by_category: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=name_of):
        by_category[category_of(result)].append(result)
    yield f"## {title[0].upper()}{title[1:]}"
    yield ""
    yield f"Heads and neurons: {_names(by_category['heads_and_neurons'])}."
    yield ""
    if experts := by_category["experts"]:
        yield f"Experts: {_names(experts)}."
        yield ""
    if others := by_category["no decoder"]:
        yield f"No decoder alone: {_names(others)}."
        yield ""
    rows: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in by_category["experts"]:
        if result.get(_WITH_NEURONS) == []:
            rows["experts alone", _why(result)].append(result)
    for category in ("neurons", "heads", "sentence", "bad", "not run", "not built"):
        for result in by_category[category]:
            if not (category == "not built" and result["dense"]):
                rows[_pruned(category), _why(result)].append(result)
    yield "| other classes | pruned | why not more |"
    yield "|---|---|---|"
    for (pruned, why), classes in rows.items():
        yield f"| {_names(classes)} | {pruned} | {why} |"


def _names(results: Iterable[Result]) -> str:
    """Return the types of models; a star marks those without their experts."""
    star = {True: r"\*", False: ""}
    return ", ".join(f"`{x['type']}`{star[bool(x['dense'])]}" for x in results)


def _pruned(category: str) -> str:
    return category if category in (*PRUNED, "not built") else "no"


def _why(result: Result) -> str:
    """Return the reason in one cell of a table."""
    reason = str(result.get("reason") or result["outcome"])
    reason = re.sub(r" \(the layers of its blocks are .*?(\)|$)", "", reason)
    if result["outcome"] in _OF_TRANSFORMERS and "(" in reason[:40]:  # an exception
        reason = f"{reason[:80]} ..."
    else:  # without its hint
        reason = re.sub(r"\.?( (Choose|Report) .*)?$", ".", reason, count=1)
    return " ".join(reason.split()).replace("|", "\\|").replace("<", "&lt;")
