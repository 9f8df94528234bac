"""The head alone gives the logits of a part of the tokens."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from surgeon_engine.model.head import head_logits, last_hidden
from tests.helpers.pruning_states import random_windows
from tests.helpers.tiny_models import tiny_model


def test_head_multiplies_its_weight_once_for_all_windows():
    model, tokens = tiny_model("llama"), random_windows(3, 12)
    with torch.no_grad():
        hidden = last_hidden(model, tokens)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            logits = head_logits(model, hidden[:, 2:7])
        torch.testing.assert_close(logits, model(tokens).logits[:, 2:7])
    assert "aten::bmm" not in {event.key for event in found.key_averages()}
