"""The loss of each token, by the definition of cross entropy in float64."""

import math
from types import SimpleNamespace

import pytest
import torch

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.evaluation.perplexity import perplexity, token_losses

VOCABULARY = 50_000  # large enough to reveal an inaccurate sum
WINDOWS, LENGTH = 3, 8


class FixedLogits(torch.nn.Module):
    """A model with fixed random logits at each position."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(0)
        self.logits = 3 * torch.randn(WINDOWS, LENGTH, VOCABULARY, generator=drawn)
        self.tokens = torch.randint(VOCABULARY, (WINDOWS, LENGTH), generator=drawn)
        self.seen = 0

    def forward(self, tokens, use_cache):
        assert use_cache is False
        self.seen += len(tokens)
        return SimpleNamespace(logits=self.logits[self.seen - len(tokens) : self.seen])

    def get_output_embeddings(self):
        return None

    def losses(self):
        """Return -log p of each token but the first of a window."""
        log_p = self.logits[:, :-1].double().log_softmax(dim=-1)
        return -log_p.gather(2, self.tokens[:, 1:, None]).squeeze(2)


def test_token_losses_equal_the_definition():
    model = FixedLogits()
    found = token_losses(model, model.tokens)
    expected = model.losses()
    assert found.shape == (WINDOWS, LENGTH - 1)
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert abs((found - expected).mean().item()) < 5e-6  # no error all to one side


def test_perplexity_is_the_exponential_of_the_mean_loss():
    model = FixedLogits()
    expected = math.exp(model.losses().mean().item())
    assert perplexity(model, model.tokens) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("factor", "loss"), [(math.nan, "nan"), (1_000, r"\d{4}")])
def test_loss_without_a_perplexity_raises(factor, loss):
    model = FixedLogits()
    model.logits *= factor
    with pytest.raises(
        EvaluationError, match=rf"^The loss on the validation text is {loss}"
    ):
        perplexity(model, model.tokens)
