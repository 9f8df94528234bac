"""Texts about the plan of a run: its target, goal and sizes, in brief and in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from surgeon_engine.api.config.export import QUANTIZED, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    SPARSE,
    PruningConfig,
    Structure,
    Target,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary, StructureSupport
from surgeon_engine.planning.automatic_settings import (
    about_multiple,
    about_own_code,
    about_same_widths,
    with_file_widths,
    with_width_multiple,
)
from surgeon_engine.planning.file_form import file_form, with_file_form
from surgeon_engine.planning.formats import impossible_formats
from surgeon_engine.planning.gguf_types import about_fallbacks
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.target_size import Goal
from surgeon_gui.base.translation import inside, ntr, tr
from surgeon_gui.state.job.file_formats import is_larger, leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none, target_field, value_text
from surgeon_gui.state.job.vocabulary_text import planned_tokens
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import CHOICES, choice_label
from surgeon_gui.text.labels import source_name


def brief_plan(pruning: PruningConfig) -> str:
    """Return target, number of shots, structure and quality limits in few words."""
    if pruning.removes_nothing and pruning.removes_tokens:
        return tr("Remove tokens alone")
    if pruning.removes_nothing:
        return tr("Write without pruning")
    shots = ntr("in {n} shot", "in {n} shots", pruning.shots)
    plan = tr("{target} {shots}, {structure}").format(
        target=brief_target(pruning),
        shots=shots.format(n=pruning.shots),
        structure=structure_phrase(pruning),
    )
    return ", ".join((plan, *_brief_limits(pruning)))


def describe_goal(config: RunConfig, model: ModelSummary) -> str:
    """Return the goal of a job in all units; empty if it cannot be reached."""
    goal = goal_or_none(config, model)
    if goal is None:
        return ""
    pruning, tokens = config.pruning, planned_tokens(config, model)
    if pruning.removes_nothing:
        return _describe_unpruned(config, model)
    notes = (
        tr("Vocabulary: {tokens}.").format(tokens=tokens) if tokens else "",
        _groups(pruning, goal),
        _depth(pruning),
        about_same_widths(config, with_file_widths(config, model)),
        *_quality_limits(pruning),
    )
    of_prunable = numbers.percent(goal.sparsity, decimals=2)
    of_all = numbers.percent(goal.removed / model.parameters, decimals=2)
    return tr(
        "The target removes {removed} weights: {of_prunable} of the {prunable} "
        "prunable weights, {of_all} of all parameters. It leaves {parameters} "
        "parameters{size}. {file}{limit}"
    ).format(
        removed=numbers.whole(goal.removed),
        of_prunable=of_prunable,
        prunable=numbers.whole(goal.prunable),
        of_all=of_all,
        parameters=numbers.whole(goal.parameters),
        size=_weight_size(config, goal, model),
        file=_file_in_full(config, goal, model),
        limit="".join(f" {note}" for note in notes if note),
    )


def chosen_format(config: RunConfig, model: ModelSummary) -> str:
    """Return that the file is a GGUF file without being asked for; else ""."""
    if with_file_form(config, model) is config:
        return ""
    form = file_form(config, model)
    return tr("For this model, that is {format} in {dtype}.").format(
        format=choice_label(form.format)[0], dtype=choice_label(form.dtype)[0]
    )


def _describe_unpruned(config: RunConfig, model: ModelSummary) -> str:
    form = file_form(config, model)
    if tokens := planned_tokens(config, model):
        return tr(
            "{model}: {tokens}; nothing else is removed. The run writes the model in "
            "{dtype} and verifies it."
        ).format(
            model=source_name(config.model.source),
            tokens=tokens,
            dtype=choice_label(form.dtype)[0],
        )
    return tr(
        "{model}: nothing is removed. The run writes the model in {dtype}, in a file "
        "of about {size} (original {original}), and verifies it."
    ).format(
        model=source_name(config.model.source),
        dtype=choice_label(form.dtype)[0],
        size=numbers.size(planned_file(model, form, config.pruning).bytes(0)),
        original=numbers.size(model.file_bytes),
    )


def quantization(
    config: RunConfig, model: ModelSummary, *, on_cuda: bool = False
) -> str:
    """Return the bits per weight of a quantized file and its widths; else ""."""
    form, goal = file_form(config, model), goal_or_none(config, model)
    if form.dtype not in QUANTIZED or goal is None or leaves_zeros(config):
        return ""
    bits = tr("{dtype} takes {bits} bits per weight.").format(
        dtype=choice_label(form.dtype)[0],
        bits=numbers.fixed(8 * goal.weight_bytes / goal.parameters, 2),
    )
    return f"{bits} {_widths(config, model, on_cuda=on_cuda)}".strip()


def _widths(config: RunConfig, model: ModelSummary, *, on_cuda: bool) -> str:
    """Return the automatic width multiple and its reason; empty: any width, or set."""
    file = planned_file(model, file_form(config, model), config.pruning)
    settled = with_width_multiple(config, model, on_cuda=on_cuda)
    return about_multiple(file, settled.pruning.width_multiple)


def quantized_note(
    config: RunConfig, model: ModelSummary, *, on_cuda: bool = False
) -> str:
    """Return what a quantized file costs, and how to quantize alone; else ""."""
    note = quantization(config, model, on_cuda=on_cuda)
    if not note or config.pruning.removes_nothing:
        return note
    hint = tr("To quantize without pruning, choose a size of 0 %.")
    return f"{note} {hint}"


def fallback_warning(config: RunConfig, model: ModelSummary) -> str:
    """Return which matrices get a longer number format, because of their widths."""
    form = file_form(config, model)
    fallbacks = planned_file(model, form, config.pruning).fallbacks
    if leaves_zeros(config):
        return ""
    return about_fallbacks(fallbacks, choice_label(form.dtype)[0])


def _groups(pruning: PruningConfig, goal: Goal) -> str:
    """Return the share of groups with the pattern; empty if all have it."""
    if (pattern := pruning.n_m) is None:
        return ""
    removable = pattern.removed / pattern.of
    share = goal.sparsity / removable
    text = numbers.percent(share, decimals=2)
    if text == numbers.percent(1.0, decimals=2):
        return ""
    return tr(
        "{share} of the groups get the pattern; the others are unchanged. To apply it "
        "to all groups, remove {full}."
    ).format(share=text, full=numbers.percent(removable, decimals=2))


def brief_sizes(
    config: RunConfig, model: ModelSummary, *, on_cuda: bool = False
) -> str:
    """Return the sizes before and after, and facts of the file, by line.

    Empty if the target cannot be reached. `on_cuda` says whether the job computes on a
    GPU that torch calls "cuda".
    """
    goal = goal_or_none(config, model)
    if goal is None:
        return ""
    parameters = tr("{before} \N{RIGHTWARDS ARROW} {after} parameters").format(
        before=numbers.count(model.parameters), after=numbers.count(goal.parameters)
    )
    if tokens := planned_tokens(config, model):
        parameters = f"{parameters}, {tokens}"
    if leaves_zeros(config):
        zeros = tr("The file keeps its size: removed weights become zeros.")
        widths = _widths(config, model, on_cuda=on_cuda)
        return "\n".join(filter(None, (parameters, zeros, widths)))
    file = tr("{before} \N{RIGHTWARDS ARROW} {after} on disk").format(
        before=numbers.size(model.file_bytes),
        after=numbers.size(goal.weight_bytes),
    )
    facts = (
        quantization(config, model, on_cuda=on_cuda)
        or _widths(config, model, on_cuda=on_cuda),
        fallback_warning(config, model),
        own_code(config, model),
        *_quality_limits(config.pruning),
    )
    return "\n".join((parameters, file, *filter(None, facts)))


def own_code(config: RunConfig, model: ModelSummary) -> str:
    """Return what a file of free widths means for other programs; else ""."""
    form = file_form(config, model)
    return about_own_code(planned_file(model, form, config.pruning))


def format_sizes(config: RunConfig, model: ModelSummary) -> str:
    """Return the sizes of the result in several number formats; empty if unknown."""
    goal = goal_or_none(config, model)
    if goal is None:
        return ""
    forms = [FileForm(dtype=x) for x in (FileDtype.FLOAT32, FileDtype.FLOAT16)]
    if Format.GGUF not in impossible_formats(config.pruning, model):
        forms += [FileForm(Format.GGUF, x) for x in (FileDtype.Q8_0, FileDtype.Q4_K_M)]
    removed = 0 if leaves_zeros(config) else goal.removed
    sizes = ", ".join(
        tr("{size} in {dtype}").format(
            size=numbers.size(planned_file(model, form, config.pruning).bytes(removed)),
            dtype=choice_label(form.dtype)[0],
        )
        for form in forms
    )
    text = tr("At the target, the result takes {sizes}. The original takes {original}.")
    return text.format(sizes=sizes, original=numbers.size(model.file_bytes))


def larger_forecast(config: RunConfig, model: ModelSummary) -> str:
    """Return a warning if the result will be larger than the original; else ""."""
    size = result_bytes(config, model)
    if not is_larger(size, model):
        return ""
    return tr(
        "The result will be larger than the original: {size} against {original}, whose "
        "weights have fewer bits. Choose a shorter number format, or remove more."
    ).format(size=numbers.size(size), original=numbers.size(model.file_bytes))


def result_bytes(config: RunConfig, model: ModelSummary) -> int:
    """Return the bytes of the weights of the result; 0 if they are not known."""
    goal = goal_or_none(config, model)
    if goal is None:
        return 0
    if not leaves_zeros(config):
        return goal.weight_bytes
    form = file_form(config, model)
    return planned_file(model, form, config.pruning).bytes(0)


def _weight_size(config: RunConfig, goal: Goal, model: ModelSummary) -> str:
    """Return the size of the remaining weights as the end of a sentence."""
    if leaves_zeros(config):
        return ""
    return tr(", in a file of {size} in {dtype}").format(
        size=numbers.size(goal.weight_bytes),
        dtype=choice_label(file_form(config, model).dtype)[0],
    )


def _file_in_full(config: RunConfig, goal: Goal, model: ModelSummary) -> str:
    if config.pruning.structure in SPARSE:
        return tr("Removed weights become zeros: the file keeps its size.")
    if leaves_zeros(config):
        return tr(
            "The masked export stores removed weights as zeros: it is not smaller."
        )
    original = tr("The original file takes {size}").format(
        size=numbers.size(model.file_bytes)
    )
    if goal.weight_bytes < model.file_bytes:
        return f"{original}."
    return tr(
        "{original}, because its weights have fewer bits: see Expert, Export."
    ).format(original=original)


def unsupported(supports: Iterable[StructureSupport]) -> str:
    """Return how many structures a model does not support, and where to read why."""
    count = sum(not support.supported for support in supports)
    if not count:
        return ""
    return ntr(
        "{n} structure cannot be chosen; see its tooltip.",
        "{n} structures cannot be chosen; see their tooltips.",
        count,
    ).format(n=count)


def structure_phrase(pruning: PruningConfig) -> str:
    """Return the structure as it is written within a sentence."""
    if (pattern := pruning.n_m) is not None:
        return tr("{kept}:{of} pattern").format(kept=pattern.kept, of=pattern.of)
    if pruning.structure is Structure.ELEMENTS:
        return tr("single weights")
    return inside(CHOICES[pruning.structure][0])


def _depth(pruning: PruningConfig) -> str:
    """Return what is removed as a whole; empty if nothing is."""
    blocks, sublayers = pruning.blocks_to_drop, pruning.sublayers_to_drop
    parts = []
    if blocks:
        parts.append(ntr("{n} block", "{n} blocks", blocks).format(n=blocks))
    if sublayers:
        text = ntr("{n} attention or MLP", "{n} attentions and MLPs", sublayers)
        parts.append(text.format(n=sublayers))
    if not parts:
        return ""
    text = tr("Removed first, as a whole: {parts}.")
    return text.format(parts=tr(" and ").join(parts))


def _quality_limits(pruning: PruningConfig) -> Iterator[str]:
    if pruning.max_perplexity_increase:
        maximum = numbers.percent(pruning.max_perplexity_increase / 100)
        yield tr("The run ends before perplexity rises by more than {maximum}.").format(
            maximum=maximum
        )
    if pruning.max_divergence:
        yield tr(
            "The run ends before the KL to the original exceeds {maximum} nats."
        ).format(maximum=numbers.significant(pruning.max_divergence, 3))


def _brief_limits(pruning: PruningConfig) -> Iterator[str]:
    if pruning.max_perplexity_increase:
        maximum = numbers.percent(pruning.max_perplexity_increase / 100)
        yield tr("perplexity up to {maximum} higher").format(maximum=maximum)
    if pruning.max_divergence:
        maximum = numbers.significant(pruning.max_divergence, 3)
        yield tr("KL up to {maximum} nats").format(maximum=maximum)


def removed_share(sparsity: float) -> str:
    """Return a share of the prunable weights as what was removed."""
    text = tr("{sparsity} of prunable weights removed")
    return text.format(sparsity=numbers.percent(sparsity))


def brief_target(pruning: PruningConfig) -> str:
    """Return the target, as true before the run as after it, in few words."""
    size = value_text(pruning.target, getattr(pruning, target_field(pruning.target)))
    match pruning.target:
        case Target.PRUNABLE_SHARE:
            text = tr("{size} fewer prunable weights")
        case Target.PARAMETER_SHARE:
            text = tr("{size} fewer parameters")
        case Target.PARAMETERS | Target.FILE_SIZE:
            text = tr("To {size}")
        case Target.MEMORY:
            text = tr("For {size} of memory")
    return text.format(size=size)
