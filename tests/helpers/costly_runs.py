"""Runs on a tiny model whose loss rises with removals and falls with recovery."""

import dataclasses
import math

import msgspec

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import BaselineEvaluated, Estimate, Recovered
from surgeon_engine.evaluation.evaluate import evaluate
from surgeon_engine.shots import shot as shot_module
from tests.helpers.runs import job
from tests.helpers.tiny_models import tiny_model


def allowed(found, rise) -> float:
    """Return the highest perplexity that a budget allows."""
    (baseline,) = found.recorder.of(BaselineEvaluated)
    return baseline.evaluation.perplexity * (1 + rise / 100)


def costly_job(folder, monkeypatch, loss_of=lambda model: 0.0, **settings):
    """Return a job on a model whose loss rises with each removal.

    The loss of random models hardly rises and may even fall; here it is 3 plus the
    removed share plus `loss_of`, and the KL to the original is this rise.
    """
    settings.setdefault("method", Method.MAGNITUDE)  # the fastest
    evaluate_model = evaluate

    def evaluate_by_share(model, *arguments, **options):
        found = evaluate_model(model, *arguments, **options)
        rise = removed_share(model) + loss_of(model)
        nats = Estimate(rise, rise, rise)
        return msgspec.structs.replace(
            found,
            loss=3 + rise,
            perplexity=math.exp(3 + rise),
            fidelity=(msgspec.structs.replace(found.fidelity[0], divergence=nats),),
        )

    monkeypatch.setattr(shot_module, "evaluate", evaluate_by_share)
    return job(folder, **settings)


def costly_elements(folder, monkeypatch, shots, rise, **settings):
    """Return a job that removes single weights, half of them, in a quality budget."""
    elements = {"structure": Structure.ELEMENTS, "sparsity": 0.5, "shots": shots}
    settings = elements | settings | {"max_perplexity_increase": rise}
    return costly_job(folder, monkeypatch, **settings)


def rolled_back_by(recorder) -> list[str]:
    """Return the logged messages about rolled back shots."""
    messages = [event.message for event in recorder.of(Logged)]
    return [message for message in messages if "rolled back" in message]


def with_recovery(plain, level=Recovery.REFIT):
    """Return the job with recovery on its calibration windows."""
    recovery = RecoveryConfig(level, general_windows=0)
    return dataclasses.replace(plain, recovery=recovery)


def removed_share(model) -> float:
    """Return the share of weights that are zero or compacted away."""
    whole = weights_of(tiny_model("llama"))
    left = sum(int((p != 0).sum()) for p in weights_of(model))
    return 1 - left / sum(p.numel() for p in whole)


def weights_of(model):
    return [p for p in model.model.layers.parameters() if p.ndim == 2]


MARK = 123.0  # a weight of a model that was recovered


def is_marked(model) -> bool:
    return model.model.layers[0].self_attn.q_proj.weight[0, 0].item() == MARK


def mark(state, before, evaluate, *_):
    """Replace recovery: mark the model."""
    layer = state.loaded.layers[0]
    W = layer.weight()
    W[0, 0] = MARK
    layer.write(W)
    return Recovered(0.2, 0.1, 1, 0, evaluate(), 1.0)


def markable(folder, monkeypatch, gain):
    """Return a job without recovery; marking its model lowers the loss by `gain`."""
    return costly_job(
        folder,
        monkeypatch,
        lambda model: -gain * is_marked(model),
        windows=8,
        structure=Structure.NEURONS,
        sparsity=0.4,
        shots=4,
        max_perplexity_increase=12,
    )
