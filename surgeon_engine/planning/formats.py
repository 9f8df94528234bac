"""Which file formats the settings of a job rule out, whatever the run removes.

What depends on the widths that remain is checked with the loaded model.
"""

from __future__ import annotations

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    FOR_ANY_MODEL,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    COUPLED,
    COUPLINGS,
    SAME_WIDTHS,
    SPARSE,
    Coupling,
    PruningConfig,
    Widths,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.sentences import say, say_all, say_list
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.limits import has_partial_protection

NO_MXFP4_EXPERTS = say(
    "This number format is for experts, and the model has no experts."
)
NO_MASKED_EXPERTS = say(
    "Without an expert, the router chooses others. If its weights were zeros, it would "
    "still be chosen."
)


def impossible_formats(
    pruning: PruningConfig, model: ModelSummary | None
) -> dict[Format, str]:
    """Return the formats that no result of a run can have, with the reasons.

    The model is None if it is not inspected yet.
    """
    found = _by_structure(pruning, model)
    if model is not None and model.gguf_widths is None:
        found[Format.GGUF] = say("Surgeon writes no GGUF files of this architecture.")
    of_experts = Coupling.EXPERTS in COUPLINGS.get(pruning.structure, ())
    if of_experts and not pruning.removes_nothing:
        found[Format.MASKED] = NO_MASKED_EXPERTS
    if pruning.is_sized:
        found[Format.MASKED] = say(
            "Masked files are as large as the original: a target size cannot be "
            "reached."
        )
    return found


def check_format(config: RunConfig, model: ModelSummary) -> None:
    """Check that a result of the job can be written in its formats.

    Raises:
        ExportError: None can.
    """
    form = file_form(config, model)
    check_number_format(form.dtype, model)
    wanted = form.format
    impossible = impossible_formats(config.pruning, model)
    if reason := impossible.get(wanted):
        label = DESCRIPTIONS[wanted].label
        possible = [each for each in Format if each not in impossible]
        raise ExportError(
            say_all(say("{label} is not possible here.", label=label), reason),
            "Choose one of: {possible}.",
            possible=say_list(*possible, spec="choice"),
        )


def check_number_format(dtype: FileDtype, model: ModelSummary) -> None:
    """Check that a model has what a number format is for.

    Raises:
        ExportError: It has no experts.
    """
    if dtype is FileDtype.MXFP4_MOE and not model.experts:
        raise ExportError(
            NO_MXFP4_EXPERTS,
            "Choose one of: {possible}.",
            possible=say_list(*FOR_ANY_MODEL),
        )


def _by_structure(
    pruning: PruningConfig, model: ModelSummary | None
) -> dict[Format, str]:
    if pruning.structure in SPARSE:
        reason = say(
            "This structure sets weights to zero and removes no rows or columns."
        )
        return dict.fromkeys((Format.COMPACT, Format.PLAIN), reason)
    if pruning.structure in BY_LAYER:
        reason = say(
            "It holds no layers with removed rows and columns, only models with "
            "removed heads, neurons, experts and blocks."
        )
        return dict.fromkeys((Format.PLAIN, Format.GGUF), reason)
    if pruning.sublayers_to_drop:
        reason = say(
            "Every block of a plain model has an attention and an MLP: set "
            "{setting:choice} to 0.",
            setting="pruning.dropped_sublayers",
        )
        return {Format.PLAIN: reason}
    if pruning.structure in COUPLED and not pruning.has_same_widths:
        reason = say(
            "All layers of a plain model have the same widths: choose "
            "{setting:choice}.",
            setting=SAME_WIDTHS,
        )
        return {Format.PLAIN: reason}
    if model is not None and has_partial_protection(pruning, model):
        reason = say(
            "All its layers have the same widths, but some layers are protected and "
            "others of their kind are not."
        )
        has_one_width = model.gguf_widths is Widths.SAME
        formats = (Format.PLAIN, *((Format.GGUF,) if has_one_width else ()))
        return dict.fromkeys(formats, reason)
    return {}
