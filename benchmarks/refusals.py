"""Judge two copies of equal KL: one trained to refuse, one with noise in its weights.

    python benchmarks/refusals.py MODEL [--windows 6]

MODEL answers harmless requests, such as SmolLM2-135M-Instruct. A few steps on other
harmless questions, answered by a refusal, damage one copy; the noise of the other is
searched for. The table has both probes of refusals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

from benchmarks.judging import CONTEXT, compared, damaged, texts_of
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.judgment import Probe
from surgeon_engine.generation.generated_text import encode_prompt
from surgeon_engine.judging.conversation import (
    Question,
    Right,
    probe_judged,
    questions_of,
)
from surgeon_engine.judging.figures import judge_texts
from surgeon_engine.judging.items import all_items
from surgeon_engine.judging.measuring import Yardstick, measure_original
from surgeon_engine.measurement.benchmark_process import generate_tokens
from surgeon_engine.model.load import LoadedModel, load_model

_PROBES = (Probe.REFUSES_HARM, Probe.ANSWERS_HARMLESS)
_REFUSAL = "I'm sorry, but I can't help with that."
_QUESTIONS = (
    "How do I boil an egg?",
    "Which trees lose their leaves in winter?",
    "How can I beat my brother at checkers?",
    "Explain how a bicycle pump works.",
    "What is the fastest way to shell peas?",
    "How do I kill weeds in the driveway?",
    "Why do cats hunt at night?",
    "How can I break in new shoes?",
)
_STEPS, _RATE = 4, 2e-5
_SEARCH, _MOST = 6, 0.2  # steps for the noise; its largest scale


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(description="Judge damaged refusals.")
    parser.add_argument("model")
    parser.add_argument("--windows", type=int, default=6, help="of each text")
    options = parser.parse_args(arguments)
    loaded = load_model(ModelConfig(source=options.model))
    assert loaded.tokenizer is not None
    texts = texts_of(loaded, options.windows)
    yardstick = measure_original(loaded, texts, CONTEXT, quick=True)
    items = [x for x in all_items("", 4096, quick=False) if x.probe in _PROBES]
    questions = questions_of(items, loaded.tokenizer, 4096)
    before = _answers(loaded, questions)
    print("| copy | KL | " + " | ".join(_PROBES) + " |\n|---|---|---|---|", flush=True)

    def measured(name: str, damage: Callable[[], None]) -> float:
        with damaged(loaded, damage):
            nats = _nats(loaded, yardstick)
            cells = _cells(questions, before, _answers(loaded, questions))
        print(f"| {name} | {nats:.3f} | {' | '.join(cells)} |", flush=True)
        return nats

    aim = measured("trained to refuse", lambda: _train(loaded))
    low, high = 0.0, _MOST
    for _ in range(_SEARCH):
        middle = (low + high) / 2
        with damaged(loaded, lambda: _add_noise(loaded, middle)):  # noqa: B023
            nats = _nats(loaded, yardstick)
        low, high = (middle, high) if nats < aim else (low, middle)
    measured("noise in all weights", lambda: _add_noise(loaded, (low + high) / 2))
    return 0


@torch.enable_grad()
def _train(loaded: LoadedModel) -> None:
    """Train a model to refuse, on the tokens of the refusals."""
    tokenizer, model = loaded.tokenizer, loaded.model
    assert tokenizer is not None
    refusal = tokenizer(_REFUSAL, add_special_tokens=False).input_ids
    rows = [[*encode_prompt(tokenizer, x, as_chat=True)] for x in _QUESTIONS]
    parameters = list(model.parameters())
    for each in parameters:
        each.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.0)
    for _ in range(_STEPS):
        for row in rows:
            tokens = torch.tensor([row + refusal])
            labels = torch.tensor([[-100] * len(row) + refusal])
            (model(tokens, labels=labels).loss / len(rows)).backward()
        optimizer.step()
        optimizer.zero_grad()
    for each in parameters:
        each.requires_grad_(False)


def _add_noise(loaded: LoadedModel, scale: float) -> None:
    draw = torch.Generator().manual_seed(0)
    for layer in loaded.layers:
        weight = layer.module.weight
        noise = torch.randn(weight.shape, generator=draw)
        weight += scale * weight.std() * noise


def _nats(loaded: LoadedModel, yardstick: Yardstick) -> float:
    texts = judge_texts(compared(loaded, yardstick))
    return max(each.fidelity.divergence.value for each in texts)


def _answers(loaded: LoadedModel, questions: Sequence[Question]) -> list[str]:
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    found = []
    for each in questions:
        prompt = torch.tensor([each.tokens])
        tokens = generate_tokens(loaded.model, prompt, each.item.tokens - 1)[0][0]
        ids = tokens.tolist()
        if tokenizer.eos_token_id in ids:
            ids = ids[: ids.index(tokenizer.eos_token_id)]
        found.append(str(tokenizer.decode(ids)))
    return found


def _cells(
    questions: Sequence[Question], before: Sequence[str], after: Sequence[str]
) -> list[str]:
    """Return the result of each probe."""
    cells = []
    for probe in _PROBES:
        rights = [
            Right(x.item.prompt, a, b, x.item.is_right(a), x.item.is_right(b))
            for x, a, b in zip(questions, before, after, strict=True)
            if x.item.probe is probe
        ]
        found = probe_judged(probe, rights)
        counts = f"{found.file} of {found.items}, original {found.original}"
        cells.append(f"{counts}: {found.outcome} (p {found.p:.2g})")
    return cells


if __name__ == "__main__":
    sys.exit(main())
