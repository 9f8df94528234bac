"""Answers of llama.cpp belong to their prompts."""

import pytest

from surgeon_engine.judging.conversation import Question, _together
from surgeon_engine.judging.items import Item
from surgeon_engine.judging.llama_process import Answered, LlamaProcess

SPOILED = 9  # a prompt with this token leaves all without an answer
LOST = 8  # one with this token loses the answers of the others


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
        if any(LOST in x for x in prompts):
            choices = [x for x in choices if LOST in prompts[x["index"]]]
        return {"choices": choices[::-1]}


@pytest.mark.parametrize(
    ("token", "answer"),
    [
        (4, Answered("4", True)),
        (LOST, Answered("8", True)),
        (SPOILED, Answered("", False)),
    ],
)
def test_answers_are_in_the_order_of_the_prompts(token, answer):
    process = LlamaProcess()
    process._server = Server()
    found = process.answer(((1, 2), (token,), (5, 6)), 8).answers
    assert found == (Answered("3", True), answer, Answered("11", True))


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
