"""Go on with fewer windows at a time where a batch needs more memory than there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.run_context import RunContext

_Result = TypeVar("_Result")


def with_smaller_batches(
    state: PruningState,
    context: RunContext,
    work: Callable[[], _Result],
    undo: Callable[[], None] = lambda: None,
) -> _Result:
    """Return the result of some work; if memory is short, with half the batch.

    Later work has the smaller batch, too.

    `work` reads the batch from the state. `undo` reverts its changes before it is
    tried again.

    Raises:
        Exception: the work has raised it; memory is short even for single windows, or
            the reason is another one.
    """
    while True:
        try:
            with ranks.together():
                return work()
        except Exception as error:
            batch = state.config.calibration.batch
            if batch == 1 or not is_out_of_memory(error):
                raise
        # The error is gone by now, and with it the tensors of its frames.
        devices.release_memory()
        undo()
        state.halve_batch()
        context.warn(
            "There is not enough memory for {batch} windows at a time: the run "
            "goes on with {smaller}.",
            batch=batch,
            smaller=batch // 2,
        )
