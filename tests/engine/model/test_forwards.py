"""Offloaded blocks run one at a time on all batches: the results are the same."""

import weakref
from itertools import chain

import pytest
import torch

from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    block_gates,
    input_covariances,
    routed_outputs,
)
from surgeon_engine.curvature.measured import Gate
from surgeon_engine.evaluation.evaluate import evaluate, references_of
from surgeon_engine.judging.likelihood import continuations_of, losses_of_answers
from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.head import last_hidden
from surgeon_engine.model.layers import find_blocks, linear_layers, prunable_layers
from surgeon_engine.model.offload import OffloadedBlocks
from surgeon_engine.runtime.hidden_store import HiddenStore
from tests.helpers.pretended_gpu import GPU, pretended_gpu
from tests.helpers.shared_keys import model_with_shared_keys
from tests.helpers.tiny_models import VOCABULARY, tiny_model

_RANDOM = torch.Generator().manual_seed(0)
WINDOWS = torch.randint(1, VOCABULARY, (7, 12), generator=_RANDOM)
SHORTER = torch.randint(1, VOCABULARY, (3, 5), generator=_RANDOM)
BATCHES = [*WINDOWS.split(2), *SHORTER.split(2)]  # four shapes


def model_of(family, *, offloads=True):
    shares = family == "gemma4_text"
    model = model_with_shared_keys(family) if shares else tiny_model(family)
    if offloads:
        OffloadedBlocks(model, find_blocks(model), torch.device("cpu"), in_files=True)
    return model


def numbers_of(model):
    """Return numbers that the engine gets by running a model on batches."""
    layers = prunable_layers(model)
    request = CurvatureRequest(model, find_blocks(model), layers, WINDOWS, 2)
    of_blocks = chain.from_iterable(
        found.values() for found in block_gates(request, (Gate.COLUMNS,), lambda: None)
    )
    yield from (gates.columns for gates in of_blocks)
    linear = CurvatureRequest(model, request.blocks, linear_layers(layers), WINDOWS, 2)
    yield from (x.A for x in input_covariances(linear, lambda: None).values())
    yield from (x.norms for x in routed_outputs(request, lambda: None).values())
    pairs = [(x[:n], x[n:]) for n, x in enumerate(WINDOWS.tolist(), 2)]
    yield torch.tensor(losses_of_answers(model, pairs))
    texts = (JudgingText("", WINDOWS), JudgingText("short", SHORTER))
    references = references_of(model, texts, WINDOWS[:3], 2, lambda: None)
    yield from references.tensors().values()
    with torch.no_grad():
        for parameter in find_blocks(model)[0].parameters():
            parameter.mul_(1.1)
    for at_once in (2, 1):
        found = evaluate(model, references, lambda: None, at_once=at_once)
        yield from (torch.tensor(x.divergence.value) for x in found.fidelity)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma4_text"])
def test_numbers_equal_those_of_a_resident_model(family):
    expected = [*numbers_of(model_of(family, offloads=False))]
    found = [*numbers_of(model_of(family))]
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def runs_of(model, batches):
    """Return the blocks in the order in which they run, and steps between them."""
    expected = [last_hidden(model, tokens) for tokens in batches]
    order = []

    def hooks():
        for index, block in enumerate(find_blocks(model)):
            yield block.register_forward_hook(lambda *_, n=index: order.append(n))

    forwards = Forwards(model, batches, lambda: order.append("step"), hooks=hooks)
    for hidden, other in zip(forwards, expected, strict=True):
        assert torch.equal(hidden, other)
    return order


def test_each_block_runs_on_all_batches_and_steps_come_evenly():
    order = runs_of(model_of("llama"), BATCHES[:3])
    assert order == [0, 0, 0, "step", 1, 1, 1, "step", "step"]
    order = runs_of(model_of("llama", offloads=False), BATCHES[:3])
    assert order == [0, 1, "step"] * 3


def test_each_block_runs_on_all_continuations():
    model, order, steps = model_of("llama"), [], []
    for index, block in enumerate(find_blocks(model)):
        block.register_forward_hook(lambda *_, n=index: order.append(n))
    texts = torch.randint(1, VOCABULARY, (5, 64), generator=_RANDOM)
    chosen = continuations_of(texts, 5).chosen(model, lambda: steps.append(0))
    assert len(chosen) == len(steps) == 5
    # The first forward probes the blocks, and the last ones pass through them.
    assert order == [0, 1, *[0] * 3, *[1] * 3, *[0, 1] * 3]


def test_blocks_that_depend_on_each_other_run_batch_by_batch():
    model = model_of("llama")
    blocks = find_blocks(model)
    blocks[1].register_forward_pre_hook(lambda _, args: (2 * args[0], *args[1:]))
    assert runs_of(model, BATCHES) == [0, 1, "step"] * len(BATCHES)


@pytest.mark.slow
def test_batches_may_be_on_different_devices():
    model = model_of("llama", offloads=False)
    expected = [last_hidden(model, tokens) for tokens in BATCHES]
    with pretended_gpu(), torch.no_grad():
        OffloadedBlocks(model, find_blocks(model), GPU, in_files=False)
        batches = [x.to(GPU) if n % 2 else x for n, x in enumerate(BATCHES)]
        found = [hidden.cpu() for hidden in Forwards(model, batches)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_hidden_states_are_forgotten_when_their_batch_is_yielded():
    kept = []

    class Store(HiddenStore):
        def keep(self, x):
            kept.append(weakref.ref(found := super().keep(x)))
            return found

    store = Store(torch.device("cpu"))
    forwards = Forwards(model_of("llama"), BATCHES, store=store)
    with torch.no_grad():
        for done, _ in enumerate(forwards, 1):
            alive = sum(x() is not None for x in kept)
            assert alive == len(BATCHES) - done
