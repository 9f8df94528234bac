"""Say why transformers cannot run a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.source import first_line
from surgeon_engine.runtime.failures import is_out_of_memory

_FAILURES = (TypeError, ValueError, AttributeError, RuntimeError, IndexError)


@contextmanager
def failing_with(problem: str, hint: str) -> Iterator[None]:
    """Raise an error with a problem and its reason if a model cannot be run.

    Raises:
        EvaluationError: It cannot; a lack of memory is raised as it is.
    """
    try:
        yield
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise EvaluationError(
            "{subject}: {reason:clause}.",
            hint,
            subject=problem,
            reason=first_line(error),
        ) from error


def on_text_alone(model: nn.Module) -> AbstractContextManager[None]:
    """Return `failing_with` for a model that is run on text."""
    name = type(model).__name__
    return failing_with(
        say("transformers cannot run {model_type} on text alone", model_type=name),
        say("Choose a model that continues text."),
    )
