"""Load the inputs of a run: the model, its units, and the windows of all texts."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.fenced import load_windows, shipped_windows
from surgeon_engine.calibration.judging_texts import (
    own_judging_text,
    read_judging_texts,
)
from surgeon_engine.calibration.left_out import left_out
from surgeon_engine.calibration.own_samples import Author, own_samples, own_text
from surgeon_engine.calibration.windows import JudgingText, TokenWindows
from surgeon_engine.model.cpu_attention import attend_fast_on_cpus
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.run.preflight import Preflight
from surgeon_engine.runtime import fence, host_memory, ranks
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.shot import check_windows


def prepare(
    config: RunConfig, context: RunContext, found: Preflight | None = None
) -> PruningState:
    """Load the model and the text, and divide the model into units.

    Args:
        config: the job.
        context: receives the events.
        found: the preflight check of the same job, if it was made; the model is then
            not located and described again.

    Raises:
        EngineError: something that the user can act on.
    """
    host_memory.reuse_freed()
    attend_fast_on_cpus()
    with context.stage(Stage.LOAD):
        if found is None:
            loaded = load_model(config.model)
            model = describe(loaded.model, loaded.source, loaded.stored)
            goal = goal_of(config.pruning, model, file_form(config, model))
            on_cuda = loaded.device.type == "cuda"
            config = with_width_multiple(config, model, on_cuda=on_cuda)
            check_target_in_limits(goal, config.pruning, model)
        else:
            loaded = load_model(config.model, found.inspected)
            model, goal = found.model, found.goal
        units = units_of(config.pruning, loaded.model)
    if loaded.tokenizer is None:
        context.warn(
            "{tokenizer_problem} The export will not contain one.",
            tokenizer_problem=loaded.tokenizer_problem,
        )
    with context.stage(Stage.TEXT):
        epochs = config.recovery.training_epochs
        judging = config.evaluation.windows
        windows = ranks.agree(
            lambda: load_windows(config.calibration, loaded, epochs, judging)
        )
        _check_share(len(windows.calibration))
    if omitted := left_out(windows.statistics):
        context.inform(omitted)
    check_windows(config.pruning, windows.calibration, context)
    windows = _with_general_text(config, loaded, windows, context)
    return PruningState(config, loaded, windows, units, goal, model)


def _check_share(windows: int) -> None:
    """Check that each process that shares a run has windows to fit.

    Raises:
        ConfigError: there are too few.
    """
    needed = 2 * ranks.size()  # some are held out
    if ranks.size() > 1 and windows < needed:
        raise ConfigError(
            "{size} GPUs need at least {needed} calibration windows, and there are "
            "{windows}.",
            "Use more windows, or fewer GPUs.",
            size=ranks.size(),
            needed=needed,
            windows=windows,
        )


def _with_general_text(
    config: RunConfig, loaded: LoadedModel, windows: TokenWindows, context: RunContext
) -> TokenWindows:
    """Return the windows with general text and all judging texts added."""
    author = Author(
        loaded.files, loaded.model.dtype, loaded.model.config, loaded.tokenizer
    )
    length, seed = windows.calibration.shape[1], config.calibration.seed
    shipped, reserve = _shipped_text(config, loaded, length, context)
    own_windows = config.general_windows - (0 if shipped is None else len(shipped))
    text = own_text(author, own_windows, length, seed)
    judging = own_judging_text(config, author, length)
    others = ranks.agree(lambda: read_judging_texts(config, loaded, length))
    fence.close()  # all texts are read: a run may need its memory
    own = None
    if steps := text.steps + (judging.steps if judging else 0):
        with context.stage(Stage.SAMPLING, total=steps) as step:
            if text.batches:
                own = own_samples(loaded.model, text, step)
            if judging:
                written = own_samples(loaded.model, judging, step)
                others = (JudgingText(OWN_TEXT, written),)
    return dataclasses.replace(
        windows,
        own=own,
        shipped=shipped,
        reserve=reserve,
        others=windows.others + others,
    )


def _shipped_text(
    config: RunConfig, loaded: LoadedModel, length: int, context: RunContext
) -> tuple[Tensor | None, Tensor | None]:
    """Return windows of the shipped text for a run, and further ones for a training.

    None: the model cannot read it, or a window is longer than it. The model then writes
    the whole general text.

    Raises:
        CalibrationError: reading it takes too long.
    """
    count, seed = config.shipped_windows, config.calibration.seed
    if not count or loaded.tokenizer is None:
        return None, None

    def read() -> Tensor | str:
        try:
            return shipped_windows(loaded, length, seed)
        except (CalibrationError, ConfigError) as error:
            if error.is_timeout:  # a resumed run would have another text
                raise
            return error.message

    found = ranks.agree(read)
    if isinstance(found, str):
        context.inform(
            "{reason} The original writes the whole general text instead.",
            reason=found,
        )
    if isinstance(found, str) or not len(found):
        return None, None
    return found[:count], found[count:]
