"""The results of the benchmark of coverage, and the page that is made from them."""

import pytest

from benchmarks import coverage_page
from benchmarks.small_models import KINDS
from benchmarks.small_sizes import SIZES
from tests.helpers.tiny_models import (
    FAMILIES,
    MORE_FAMILIES,
    NEURON_FAMILIES,
    tiny_model,
)

EVERY = FAMILIES | MORE_FAMILIES


def test_documentation_is_made_from_the_results_of_the_benchmark():
    results = coverage_page.read(coverage_page.RESULTS)
    page = coverage_page.PAGE.read_text(encoding="utf-8")
    assert coverage_page.page_with(results) == page
    classes = coverage_page.CLASSES.read_text(encoding="utf-8")
    assert coverage_page.classes_with(results) == classes
    assert all(x["reason"] for x in results if x["outcome"] == "sentence")
    narrowed = [x for x in results if "with_neurons" in x]
    assert narrowed and all(x["with_neurons"] or x["reason"] for x in narrowed)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("with_experts", "least"), [(False, 0.95), (True, 0.85)])
def test_nearly_all_classes_were_pruned(kind, sizes, with_experts, least):
    results = coverage_page.read(coverage_page.RESULTS)
    found = [
        x
        for x in results
        if (x["kind"], x["sizes"]) == (kind, sizes)
        and bool(x.get("experts")) is with_experts
    ]
    counts = coverage_page.counts_of(found)
    assert counts["bad"] == 0
    assert coverage_page.share_of(counts) >= least


@pytest.mark.slow
def test_results_of_the_benchmark_agree_with_the_families():
    """The benchmark has Falcon models with a single key and value head only."""
    documented = {
        x["type"]: x["outcome"]
        for x in coverage_page.read(coverage_page.RESULTS)
        if (x["kind"], x["sizes"], x["dense"]) == ("causal", "usual", False)
    }
    for family in EVERY.keys() - {"falcon", "falcon_multi_head"}:
        outcome = documented[tiny_model(family).config.model_type]
        whole = family in NEURON_FAMILIES
        assert outcome == ("neurons" if whole else "heads_and_neurons")
