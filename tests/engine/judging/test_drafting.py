"""A file drafts tokens for its original."""

import dataclasses
from pathlib import Path

import pytest
import torch

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.judgment import tokens_per_step
from surgeon_engine.api.messages.run import Progressed
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.judging import drafting
from surgeon_engine.judging.answers import Speaker
from surgeon_engine.judging.conversation import Question
from surgeon_engine.judging.drafting import DRAFTED, draft_judged, drafting_files
from surgeon_engine.judging.items import Item
from surgeon_engine.judging.llama_process import AllAnswered
from tests.helpers.gguf_files import needs_llama, written
from tests.helpers.runs import Recorder
from tests.helpers.smaller_vocabularies import demo, windows_of

GGUF = Speaker(Path("model.gguf"), ModelConfig("file"), "file")
FOLDER = dataclasses.replace(GGUF, gguf=None)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.75])
def test_tokens_per_step_are_those_of_a_capped_geometric_distribution(acceptance):
    for drafted in (0, 1, 4, 8):
        expected = (1 - acceptance ** (drafted + 1)) / (1 - acceptance)
        assert tokens_per_step(acceptance, drafted) == pytest.approx(expected)
    assert tokens_per_step(1.0, 4) == 5


def test_simulated_drafts_give_as_many_tokens():
    draw = torch.Generator().manual_seed(1)
    is_accepted = torch.rand((20_000, 4), generator=draw) < 0.6
    kept = is_accepted.long().cumprod(dim=1).sum(dim=1) + 1
    assert float(kept.double().mean()) == pytest.approx(
        tokens_per_step(0.6, 4), rel=0.01
    )


@pytest.mark.parametrize(
    ("original", "file", "has_fewer", "is_installed", "message"),
    [
        (GGUF, GGUF, True, True, "needs all tokens of the original"),
        (GGUF, GGUF, False, False, "xllamacpp is not installed"),
        (FOLDER, GGUF, False, True, "both are GGUF files"),
        (GGUF, FOLDER, False, True, "both are GGUF files"),
    ],
)
def test_file_that_cannot_draft_is_refused(
    original, file, has_fewer, is_installed, message, monkeypatch
):
    monkeypatch.setattr(drafting, "is_installed", lambda: is_installed)
    with pytest.raises(ConfigError, match=message):
        drafting_files(original, file, has_fewer_tokens=has_fewer)


class SilentClient:
    """A server that gives no timings."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def call(self, function, *args):
        if function == "open":
            return ""
        return AllAnswered(("text",), tokens=8, drafted=6, accepted=3)


def test_speed_is_unknown_without_timings(monkeypatch):
    monkeypatch.setattr(drafting, "ModelProcess", SilentClient)
    questions, recorder = [Question(Item("", 8), (1, 2))] * 9, Recorder()
    found = draft_judged(Path("a"), Path("b"), questions, recorder.context)
    last = recorder.of(Progressed)[-1]
    assert (last.done, last.total) == (16, 16)  # two times as many as are asked
    assert (found.drafted, found.accepted, found.speed) == (48, 24, 0.0)


@pytest.mark.runtimes
@pytest.mark.fresh_process
@needs_llama
def test_equal_file_drafts_what_the_original_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(drafting, "_TOKENS", 12)
    original = demo()
    written(PrunedModel(original, CompactionPlan()), tmp_path)
    rows = windows_of(original, count=2, length=24, end=False).tolist()
    questions = [Question(Item("", 8), tuple(row)) for row in rows]
    path, recorder = tmp_path / "model.gguf", Recorder()
    found = draft_judged(path, path, questions, recorder.context)
    assert recorder.of(Progressed)[-1].done == 4
    assert found.tokens == DRAFTED
    assert 0 < found.accepted <= found.drafted
    assert found.accepted > 0.9 * found.drafted  # rounding rejects a few
    assert found.speed > 0 < found.speed_alone
