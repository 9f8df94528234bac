"""Answers of llama.cpp are those to their prompts."""

from __future__ import annotations

import pytest

from surgeon_engine.judging.conversation import Question, _together
from surgeon_engine.judging.items import Item
from surgeon_engine.judging.llama_process import LlamaProcess
from surgeon_engine.judging.messages import Answered, Ask

SPOILED = 9  # a prompt with this token leaves all without an answer


class Server:
    """Answers with the sum of the tokens, the last prompt first."""

    def handle_completions(self, request):
        prompts = request["prompt"]
        if any(SPOILED in x for x in prompts):
            return {"error": "no whole character"}
        choices = [
            {"index": n, "text": str(sum(x)), "finish_reason": "stop"}
            for n, x in enumerate(prompts)
        ]
        return {"choices": choices[::-1]}


@pytest.mark.parametrize("spoiled", [False, True])
def test_answers_are_in_the_order_of_the_prompts(spoiled):
    process = LlamaProcess()
    process._server = Server()
    prompts = ((1, 2), (SPOILED,) if spoiled else (4,), (5, 6))
    found = process.respond(Ask(prompts, 8)).answers
    second = Answered("", False) if spoiled else Answered("4", True)
    assert found == (Answered("3", True), second, Answered("11", True))


def test_prompts_with_equal_limits_go_together_and_long_ones_alone():
    short, long = (1,) * 9, (1,) * 200
    kinds = [(short, 4)] * 3 + [(short, 8), (long, 8), (long, 8), (short, 8)]
    questions = [Question(Item("", limit), tokens) for tokens, limit in kinds]
    found = list(_together(questions, 2))
    assert [(n, [len(x) for x in prompts]) for n, prompts in found] == [
        (4, [9, 9]),
        (4, [9]),
        (8, [9]),
        (8, [200]),
        (8, [200]),
        (8, [9]),
    ]
