"""Judge a model that is being recovered, on windows that nothing is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from surgeon_engine.calibration.windows import digest_of
from surgeon_engine.evaluation.fidelity import Reference, compare, reference_of
from surgeon_engine.model.products import fast_products
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.runtime.kept import Kept, Key, Measurement
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Measures the divergence of a model from the original on held-out windows.

    Products of both models may take 16-bit inputs where that is fast.
    """

    model: PreTrainedModel
    held_out: Reference  # the original's hidden states on the windows
    context: RunContext  # receives the command to cancel
    dtype: torch.dtype  # the model's own; its weights are float32 while it is trained

    def divergence(self, step: Callable[[], None] | None = None) -> float:
        """Return the mean KL(original || model) in nats per token.

        `step` is called after each batch; None: one that ends a canceled run.

        Raises:
            EvaluationError: it is not finite.
            RunCancelled: the user has cancelled.
        """
        step = step or self.context.raise_if_cancelled
        with fast_products(self.model, self.dtype):
            return compare(self.model, self.held_out, step).divergence


@dataclass(frozen=True, slots=True)
class KeptText:
    """Keeps the original's hidden states on a text for later runs.

    `original` is the key without a text.
    """

    runs: Kept
    original: Key

    def find(self, text: Batches) -> Reference | None:
        """Return the reference that an earlier run has kept; None: there is none."""
        found = self.runs.find(self._key(text))
        if found is None:
            return None
        hidden = [found.tensors[str(n)] for n in range(len(found.tensors))]
        return Reference(text.windows, hidden)

    def keep(self, text: Batches, found: Reference) -> None:
        """Keep the original's hidden states, on the disk alone."""
        hidden = {str(n): x for n, x in enumerate(found.hidden)}
        self.runs.keep(self._key(text), Measurement(hidden, "{}"))
        self.runs.drop(Kind.TEXT)

    def _key(self, text: Batches) -> Key:
        of_text = (text.size, digest_of([text.windows]))
        return replace(self.original, facts=(self.original.facts, of_text))


def predictions(
    original: PreTrainedModel,
    text: Batches,
    step: Callable[[], None],
    vocabulary: SmallerVocabulary | None = None,
    kept: KeptText | None = None,
) -> Reference:
    """Return the original's hidden states on a text, at the tokens of the model.

    Windows are in the tokens of the original, whose products may take 16-bit inputs
    where that is fast. Without a vocabulary, the model has the same tokens. `kept`
    finds and keeps the states for other runs.
    """
    found = None if kept is None else kept.find(text)
    if found is None:
        with fast_products(original):
            found = reference_of(original, text.windows, text.size, step)
        if kept is not None:
            kept.keep(text, found)
    return found if vocabulary is None else vocabulary.reference(found)
