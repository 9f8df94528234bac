"""Tasks of lm_eval are run on both models and compared item by item."""

import sys
from types import ModuleType

import pytest

from surgeon_engine.api.messages.judgment import Outcome
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.judging import tasks
from surgeon_engine.judging.tasks import check_installed, scores_of, tasks_judged


@pytest.fixture
def lm_eval(monkeypatch):
    """Install a package whose tasks a model passes by its number of right items."""
    package, models = ModuleType("lm_eval"), ModuleType("lm_eval.models")
    huggingface = ModuleType("lm_eval.models.huggingface")
    huggingface.HFLM = lambda pretrained, tokenizer: (pretrained, tokenizer)
    calls = []

    def simple_evaluate(model, tasks, limit, **_):
        calls.append((tasks, limit))
        if "unknown" in tasks:
            raise KeyError("unknown")
        right, _ = model
        items = [{"acc": float(i < right), "acc_norm": 1.0} for i in range(40)]
        if "strange" in tasks:
            items = [{"perplexity": 3.0}]
        return {"samples": dict.fromkeys(tasks, items)}

    package.simple_evaluate = simple_evaluate
    for each in (package, models, huggingface):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return calls


def test_same_items_are_compared(lm_eval, monkeypatch):
    monkeypatch.setattr(tasks, "_METRICS", ("acc",))
    original, file = (scores_of(n, "tokenizer", ["boolq"], 40) for n in (30, 12))
    (found,) = tasks_judged(original, file)
    assert (found.task, found.metric, found.items) == ("boolq", "acc", 40)
    assert (found.original, found.file) == (0.75, pytest.approx(0.3))
    assert found.difference.value == pytest.approx(-0.45)
    assert found.outcome is Outcome.WORSE
    (same,) = tasks_judged(original, original)
    assert (same.difference.value, same.outcome) == (0, Outcome.SAME)
    assert lm_eval == [(["boolq"], 40)] * 2


def test_normalized_accuracy_comes_first_and_no_limit_is_none(lm_eval):
    found = scores_of(3, "tokenizer", ["arc"], 0)
    assert found["arc"] == ("acc_norm", [1.0] * 40)
    assert lm_eval == [(["arc"], None)]


def test_without_tasks_nothing_is_loaded():
    assert scores_of(3, "tokenizer", [], 10) == {}
    check_installed([])


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(tasks, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="need the package lm_eval") as error:
        check_installed(["boolq"])
    assert "pip install lm_eval" in error.value.hint


@pytest.mark.parametrize(
    ("task", "message"),
    [("unknown", "cannot run unknown"), ("strange", "none of the metrics")],
)
def test_tasks_that_cannot_be_compared_are_refused(task, message, lm_eval):
    with pytest.raises(ConfigError, match=message):
        scores_of(3, "tokenizer", [task], 10)
