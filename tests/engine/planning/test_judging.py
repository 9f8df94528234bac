"""The time to judge a file counts all its parts."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.judging.items import all_items
from surgeon_engine.planning.judging import ANSWERED, PROMPTED, seconds_to_judge
from tests.helpers.configs import surgeon_job
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine

MODEL, JOB = model_summary(), surgeon_job()
CHECKPOINTS = (False, False)


def seconds(config=JOB, model=MODEL, computer=None, in_llama=CHECKPOINTS):
    return seconds_to_judge(config, model, computer or machine(), in_llama=in_llama)


def test_answers_by_transformers_take_longer_than_by_llama():
    both, one, none = (
        seconds(in_llama=x) for x in ((True, True), (False, True), CHECKPOINTS)
    )
    assert both < one < none
    assert none - one == pytest.approx(one - both)


def test_text_and_the_pace_of_the_machine_count():
    texts = replace(JOB, evaluation=replace(JOB.evaluation, texts=("a", "b")))
    assert seconds(texts) > seconds()
    slow = msgspec.structs.replace(machine(), pace=2.0)
    assert seconds(computer=slow) == pytest.approx(2 * seconds())
    unknown = msgspec.structs.replace(machine(), processor=None)
    assert seconds(computer=unknown) is None


def test_tokens_are_those_of_the_questions():
    items = all_items("", 4096, quick=False)
    assert sum(x.tokens for x in items) == pytest.approx(ANSWERED, rel=0.02)
    characters = sum(len(x.prompt) for x in items)
    assert 3 < characters / PROMPTED < 6  # per token
