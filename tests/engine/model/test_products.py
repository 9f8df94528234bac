"""Products with 16-bit inputs, which some models cannot run with."""

from contextlib import nullcontext

import torch

from surgeon_engine.model.products import fast_products
from surgeon_engine.runtime import devices
from tests.helpers.tiny_models import tiny_model


def test_family_that_needs_exact_products_has_no_fast_ones(monkeypatch):
    fast = nullcontext()
    monkeypatch.setattr(devices, "fast_products", lambda *_: fast)
    model = tiny_model("llama")
    assert fast_products(model) is fast
    model.config.model_type = "xmod"
    assert fast_products(model) is not fast
    assert fast_products(model, torch.bfloat16) is fast
