"""Check a job against its model, for the window that edits it and for its start.

What a run depends on besides, such as its texts and its disk, is checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from surgeon_engine.api.config.layer_patterns import check_patterns
from surgeon_engine.api.config.pruning import COUPLINGS, Coupling, PruningConfig
from surgeon_engine.api.config.recovery import RecoveryConfig, TrainedWeights
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import EngineError, PruningError
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.fewer_tokens import check_fewer_tokens
from surgeon_engine.planning.file_form import file_form, with_file_form
from surgeon_engine.planning.formats import check_format
from surgeon_engine.planning.limits import bundle_of
from surgeon_engine.planning.target_check import check_supported, check_target_in_limits
from surgeon_engine.planning.target_size import Goal, goal_of
from surgeon_engine.planning.windows import check_tokenizer, check_window_length


def job_errors(
    config: RunConfig,
    model: ModelSummary,
    goal: Goal | None = None,
    *,
    on_cuda: bool = False,
) -> Iterator[tuple[str, EngineError]]:
    """Yield why a job is impossible, each with a setting to change: part.field.

    Without a goal, it is computed. `on_cuda`: the job computes on a GPU that torch
    calls "cuda".
    """
    yield from with_file_form(config, model).contradictions()
    pruning, calibration = config.pruning, config.calibration
    has_failed = False

    def check_target() -> None:
        settled = with_width_multiple(config, model, on_cuda=on_cuda).pruning
        known = goal or goal_of(settled, model, file_form(config, model))
        check_target_in_limits(known, settled, model)

    def check_windows() -> None:
        if calibration.cuts_windows:  # else the file determines the length
            check_window_length(calibration.window_length, model.longest_window)

    checks: tuple[tuple[str, Callable[[], None]], ...] = (
        ("pruning.structure", lambda: check_supported(pruning, model)),
        ("pruning.protect", lambda: check_patterns(pruning.protect, (), model.layers)),
        (
            "pruning.layer_min_density",
            lambda: check_patterns((), pruning.layer_min_density, model.layers),
        ),
        ("pruning.width_multiple", lambda: _check_width_multiple(pruning, model)),
        (
            "pruning.vocabulary_tokens",
            lambda: check_fewer_tokens(pruning.tokens_to_keep, model),
        ),
        ("recovery.trained_weights", lambda: _check_routers(config.recovery, model)),
        ("pruning.target", check_target),
        ("export.format", lambda: check_format(config, model)),
        ("calibration.window_length", check_windows),
        (
            "calibration.text",
            lambda: check_tokenizer(model.tokenizer_problem, calibration.texts_read),
        ),
    )
    for setting, check in checks:
        if setting == "pruning.target" and has_failed:
            continue  # its error would follow from the others
        try:
            check()
        except EngineError as error:
            has_failed = True
            part, _, name = setting.partition(".")
            yield f"{part}.{next(iter(error.settings), name)}", error


def _check_width_multiple(pruning: PruningConfig, model: ModelSummary) -> None:
    """Raise PruningError if no MLP is wider than the smallest width that may remain."""
    if pruning.removes_nothing or pruning.width_multiple <= 1:
        return
    kinds = COUPLINGS.get(pruning.structure, ())
    widths = []
    if Coupling.NEURONS in kinds:
        mlps = (x for x in model.coupled if x.kind is Coupling.NEURONS)
        widths += [(x.groups, bundle_of(x.kind, pruning)) for x in mlps]
    if Coupling.EXPERT_NEURONS in kinds:
        bundle = bundle_of(Coupling.EXPERT_NEURONS, pruning)
        widths += [(x.neurons, bundle) for x in model.experts if x.neurons]
    if not widths or any(bundle < width for width, bundle in widths):
        return
    width, bundle = max(widths)
    raise PruningError(
        "Widths have to be multiples of {multiple}, but the MLPs have at most {width} "
        "neurons: none of them could be removed.",
        "Set {setting:choice} to a smaller number, or to 0: automatic.",
        setting="pruning.width_multiple",
        multiple=bundle,
        width=width,
    )


def _check_routers(recovery: RecoveryConfig, model: ModelSummary) -> None:
    """Raise PruningError if recovery is to train routers that a model does not have."""
    trains_them = recovery.trained_weights is TrainedWeights.ROUTERS
    if recovery.trains and trains_them and not model.experts:
        raise PruningError(
            "The model has no routers that could be trained.",
            "Train all weights, or adapters (LoRA).",
        )
