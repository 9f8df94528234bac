"""The report of a run as one HTML page without external resources.

This module collects what the report contains as plain values; the layout is
resources/templates/report.html.jinja. Results come first, then the settings and what is
needed to reproduce the run.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.run import Evaluation, format_estimate
from surgeon_engine.planning.target_size import prunable_weights
from surgeon_gui.base.colors import LIGHT
from surgeon_gui.base.translation import inside, language, tr
from surgeon_gui.state import export_text, ladder, run_text
from surgeon_gui.state.experts import left_text
from surgeon_gui.state.job import alternatives
from surgeon_gui.state.job.settings_list import settings
from surgeon_gui.state.parts import early_end
from surgeon_gui.state.report_parts import (
    PICTURE_WIDTH,
    Picture,
    Row,
    Section,
    environment_rows,
    later_sections,
)
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.verdict import (
    baseline_of,
    deciding_text,
    decision_of,
    fidelity_of,
    perplexities,
    rests_on_weights,
    verdict_of_run,
)
from surgeon_gui.text import fidelity, memory, numbers
from surgeon_gui.text.captions.views import BELOW_ORIGINAL
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import beginning_note
from surgeon_gui.text.verdicts import ON_WEIGHTS, VERDICTS

if TYPE_CHECKING:
    from jinja2 import Template

_ARROW = "\N{RIGHTWARDS ARROW}"


class Tile(NamedTuple):
    """A figure at the top of the report: before and after, and the change."""

    name: str
    value: str
    change: str


def has_report(run: RunState) -> bool:
    """Return whether there is anything to report about a run."""
    return run.status is not Status.IDLE and run.config is not None


def report_html(
    run: RunState,
    name: str,
    versions: Mapping[str, str] | None = None,
    pictures: Sequence[Picture] = (),
) -> str:
    """Return the report of `run` as an HTML page, with the versions of libraries."""
    start = f"{datetime.fromtimestamp(run.began):%Y-%m-%d %H:%M}"
    subtitle = tr("Surgeon pruning report. The run started on {date}.")
    return _template().render(
        language=language(),
        colors=LIGHT,
        title=name,
        subtitle=subtitle.format(date=start),
        summary=_summary(run),
        tiles=list(_tiles(run)),
        sections=list(_sections(run, versions or {}, pictures)),
        picture_width=PICTURE_WIDTH,
    )


@cache
def _template() -> Template:
    # Imported here, in the thread that writes reports, because it takes 40 ms.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(str(files("surgeon_resources"))) / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.get_template("report.html.jinja")


def _sections(
    run: RunState, versions: Mapping[str, str], pictures: Sequence[Picture]
) -> Iterator[Section]:
    results = [*_quality_rows(run), *_size_rows(run), *_resource_rows(run)]
    of_texts = _fidelity_section(run)
    if results:
        note = export_text.unrun_note(run.exported)
        yield Section(tr("Results"), rows=results, note=note)
    if of_texts is not None:
        yield of_texts
    yield from later_sections(run)
    if (in_fewer_bits := _in_fewer_bits(run)) is not None:
        yield in_fewer_bits
    if contexts := ladder.context_rows(run):
        titles, *rows = contexts
        title = tr("Memory to run it")
        yield Section(title, memory.MEANING, rows=rows, titles=titles)
    if pictures:
        yield Section(tr("Charts"), pictures=pictures)
    if run.history:
        yield _shots(run)
        yield _layers(run)
    yield Section(tr("Verification"), text=_verification(run))
    assert run.config is not None
    chosen = list(_setting_rows(run.config))
    yield Section(tr("Settings"), rows=chosen, has_bold_labels=True)
    yield Section(tr("Environment"), rows=list(environment_rows(run, versions)))
    text = tr("Save this as job.toml and run: {command}")
    yield Section(
        tr("Reproduce this run"),
        text=text.format(command="surgeon run job.toml"),
        code=config_to_toml(run.config),
    )


def _summary(run: RunState) -> str:
    if run.status.is_busy:
        return tr("The run is still in progress.")
    sentences = [run_text.run_ending(run)]
    if (verdict := verdict_of_run(run)) is not None:
        decision = decision_of(run)
        basis = (ON_WEIGHTS,) if rests_on_weights(run) else ()
        why = () if decision is None else (fidelity.explained_decision(decision),)
        sentences[:0] = (f"{VERDICTS[verdict]}.", *why, *basis)
    if run.error is not None:
        sentences += [run.error.message, run.error.hint]
    return " ".join(sentences).strip()


def _tiles(run: RunState) -> Iterator[Tile]:
    found = deciding_text(run)
    if found is not None:
        title, nats = fidelity.title(found), fidelity.divergence(found)
        yield Tile(title, nats, fidelity.agreement(found))
    compared: list[tuple[str, Callable[[Any], str], float, float]] = []
    before, after = perplexities(run, found)
    if before is not None and after is not None:
        title = tr("Perplexity")
        if found is not None:
            title = tr("Perplexity, {text}").format(
                text=fidelity.text_phrase(found.text)
            )
        compared.append((title, numbers.perplexity, before, after))
    if run.model is not None and run.history:
        total, left = run.model.parameters, run.history[-1].parameters
        compared.append((tr("Parameters"), numbers.count, total, left))
    if run.tokens is not None:
        before, after = run.tokens.before, run.tokens.after
        compared.append((tr("Tokens"), numbers.whole, before, after))
    if run.model is not None and run.exported is not None:
        old, new = run.model.file_bytes, run.exported.weight_bytes
        compared.append((tr("Weights on disk"), numbers.size, old, new))
    for name, to_text, was, now in compared:
        change = numbers.percent(now / was - 1, signed=True) if was else ""
        yield Tile(name, f"{to_text(was)} {_ARROW} {to_text(now)}", change)


def _quality_rows(run: RunState) -> Iterator[Row]:
    if run.baseline is not None:
        yield _evaluation_row(tr("Perplexity of the original"), run.baseline)
    is_rounded = run.exported is not None and bool(run.exported.fidelity)
    note = tr(", before the weights were rounded for the file") if is_rounded else ""
    if run.history and (found := run.history[-1].evaluation) is not None:
        yield _evaluation_row(tr("Perplexity after the last shot"), found, note)
    if run.recovered is not None:
        found = run.recovered.evaluation
        yield _evaluation_row(tr("Perplexity after recovery"), found, note)
        yield (
            tr("KL to the original, before and after recovery"),
            f"{numbers.significant(run.recovered.nats_before, 3)} {_ARROW} "
            f"{numbers.significant(run.recovered.nats_after, 3)}",
            tr(
                "nats per token, on windows that recovery holds out ({texts}); those "
                "of Fidelity are others"
            ).format(texts=_recovery_texts(run)),
        )
    done, steps = early_end(run)
    if done:
        ended = tr("ended at step {number} of {count}")
        yield tr("Distillation"), ended.format(number=done, count=steps), ""


def _recovery_texts(run: RunState) -> str:
    assert run.config is not None
    names = list(run.config.calibration.all_texts)
    phrases = [fidelity.text_phrase(name) for name in names]
    if run.config.general_windows:
        phrases.append(inside(tr("General text")))
    return ", ".join(phrases)


def _fidelity_section(run: RunState) -> Section | None:
    """Return the fidelity of the file on each text; None: not measured."""
    found, before = fidelity_of(run), {each.text: each for each in baseline_of(run)}
    if not found or not before:
        return None
    titles = (
        tr("Text"),
        tr("KL to the original"),
        tr("Same top token"),
        tr("Perplexity"),
        tr("Perplexity of the original"),
        tr("Bits per byte"),
        tr("Bits per byte of the original"),
        tr("Windows"),
    )
    rows = [
        (
            fidelity.text_name(each.text),
            fidelity.divergence_interval(each),
            fidelity.agreement_interval(each),
            format_estimate(each.perplexity, numbers.perplexity),
            format_estimate(before[each.text].perplexity, numbers.perplexity),
            fidelity.bits_interval(each),
            fidelity.original_bits(each),
            tr("{windows} of {length} tokens").format(
                windows=numbers.whole(each.windows),
                length=numbers.whole(each.window_length),
            ),
        )
        for each in found
        if each.text in before
    ]
    text = tr(
        "KL measures how far the predictions of the file are from the "
        "original's, in nats per token: 0 if both predict the same. Same top token is "
        "the share of tokens that both find most likely. Bits per byte is the loss on "
        "the text, whatever the tokens of a model are. In brackets: 95 % intervals."
    )
    first, original = found[0].perplexity, before[found[0].text].perplexity
    note = BELOW_ORIGINAL if first.value < original.value else ""
    if fidelity.compared(found):
        note = f"{fidelity.about_tokens(found)} {note}".strip()
    return Section(tr("Fidelity"), text, rows=rows, titles=titles, note=note)


def _in_fewer_bits(run: RunState) -> Section | None:
    """Return the sizes of the original in fewer bits; None if they are no rivals."""
    config = run.settled_config
    if run.model is None or run.exported is None or config is None:
        return None
    files = alternatives.quantized_files(config, run.model)
    if not files:
        return None
    size, left = run.exported.weight_bytes, run.history[-1].parameters
    model = run.model
    rows = [
        _file_row(tr("Pruned model"), size, left),
        _file_row(tr("Original"), model.file_bytes, model.parameters),
    ]
    for dtype, file in files.items():
        name = tr("Original in {dtype}").format(dtype=choice_label(dtype)[0])
        rows.append(_file_row(name, file.bytes(0), model.parameters))
    return Section(
        tr("The original in fewer bits"),
        alternatives.sentence(files, size),
        rows=rows,
        titles=(tr("File"), tr("Size"), tr("Bits per weight")),
        note=tr(
            "The files in fewer bits are forecasts, and their quality was not "
            "measured in this run. A format takes more bits than its name says where "
            "the rows of matrices do not fill its blocks."
        ),
    )


def _file_row(name: str, size: int, weights: int) -> Row:
    return name, numbers.size(size), numbers.fixed(8 * size / weights, 2)


def _evaluation_row(label: str, evaluation: Evaluation, note: str = "") -> Row:
    """Return a perplexity with the protocol by which it was measured, and a note."""
    protocol = tr(
        "loss {loss} nats per token on {windows} held-out windows of {length} tokens "
        "({tokens} tokens), {text}"
    ).format(
        loss=numbers.perplexity(evaluation.loss),
        windows=evaluation.windows,
        length=evaluation.window_length,
        tokens=numbers.whole(evaluation.windows * evaluation.window_length),
        text=fidelity.text_phrase(evaluation.text),
    )
    protocol += beginning_note(evaluation.beginning) + note
    if evaluation.rounding is not None:
        protocol += tr(", products of 16 bits (error of KL: {error})").format(
            error=numbers.scientific(evaluation.rounding)
        )
    return label, numbers.perplexity(evaluation.perplexity), protocol


def _size_rows(run: RunState) -> Iterator[Row]:
    if run.model is not None and run.history:
        last, total = run.history[-1], run.model.parameters
        if run.tokens is not None:
            yield tr("Tokens of the original"), numbers.whole(run.tokens.before), ""
            yield tr("Tokens left"), numbers.whole(run.tokens.after), ""
        yield tr("Parameters of the original"), numbers.whole(total), ""
        share = numbers.percent(last.parameters / total)
        note = tr("{share} of the original").format(share=share)
        yield tr("Parameters left"), numbers.whole(last.parameters), note
        if experts := left_text(run):
            yield tr("Experts"), experts, ""
        note = ""
        if run.config is not None:
            prunable = prunable_weights(run.config.pruning, run.model)
            note = tr("of {n} prunable weights").format(n=numbers.whole(prunable))
        yield tr("Sparsity"), numbers.percent(last.sparsity, decimals=2), note
    for name, value in export_text.export_facts(run):
        yield name, value, ""


def _resource_rows(run: RunState) -> Iterator[Row]:
    if run.ended is not None:
        seconds = run.result.seconds if run.result else run.seconds(run.ended)
        yield tr("Time"), numbers.duration(seconds), ""
    if run.result is not None:
        note = tr("of the engine process, or of GPU memory on a GPU")
        peak = numbers.size(run.result.peak_memory_bytes)
        yield tr("Peak memory of the run"), peak, note


def _shots(run: RunState) -> Section:
    found = [shot.evaluation for shot in run.history if shot.evaluation is not None]
    has_fidelity = all(each.fidelity for each in found)
    titles = (
        tr("Shot"),
        tr("Sparsity"),
        tr("Parameters left"),
        *((tr("KL"), tr("Same top token")) if has_fidelity else ()),
        tr("Perplexity"),
        tr("Loss"),
        tr("Time"),
    )
    rows = [
        (
            str(shot.shot),
            numbers.percent(shot.sparsity, decimals=2),
            numbers.whole(shot.parameters),
            *_figures(shot.evaluation, has_fidelity=has_fidelity),
            numbers.duration(shot.seconds),
        )
        for shot in run.history
    ]
    choice = run_text.last_choice(run).replace("\n", ". ")
    notes = [f"{choice}."] if choice else []
    if has_fidelity and found:
        texts = [fidelity.text_phrase(x.text) for x in found[-1].fidelity]
        text = tr("KL and same top token: {texts}.")
        notes.insert(0, text.format(texts=" / ".join(texts)))
    note = " ".join(notes)
    return Section(tr("Shot by shot"), rows=rows, titles=titles, note=note)


def _figures(evaluation: Evaluation | None, *, has_fidelity: bool) -> Row:
    """Return the quality after a shot; dashes if it was not evaluated."""
    if evaluation is None:
        return ("\N{EN DASH}",) * (4 if has_fidelity else 2)
    return (
        *(_fidelity_figures(evaluation) if has_fidelity else ()),
        numbers.perplexity(evaluation.perplexity),
        numbers.perplexity(evaluation.loss),
    )


def _fidelity_figures(evaluation: Evaluation) -> Row:
    return (
        " / ".join(numbers.nats(x.divergence.value) for x in evaluation.fidelity),
        " / ".join(
            fidelity.whole_percent(x.agreement.value) for x in evaluation.fidelity
        ),
    )


def _layers(run: RunState) -> Section:
    titles = (tr("Layer"), tr("Weights"), tr("Removed"), tr("Sparsity"))
    rows = [
        (
            layer.name,
            numbers.whole(layer.weights),
            numbers.whole(layer.removed),
            numbers.percent(layer.sparsity),
        )
        for layer in run.layers
    ]
    return Section(tr("Layer by layer"), rows=rows, titles=titles)


def _verification(run: RunState) -> str:
    exported = run.exported
    if exported is None:
        return tr("Nothing was exported, so nothing was verified.")
    if not exported.tokens_compared:
        return tr(
            "The files were read back ({program}) but not run, because no program that "
            "can run them was found on that computer."
        ).format(program=exported.checked_with)
    return tr(
        "A fresh process loaded the files with {program}, without Surgeon, and "
        "evaluated {tokens} tokens of the held-out text. Compared with the pruned "
        "model in memory, the top token is the same for {share} of them, and the "
        "maximum logit difference is {difference}."
    ).format(
        program=exported.checked_with,
        tokens=numbers.whole(exported.tokens_compared),
        difference=numbers.scientific(exported.largest_difference),
        share=numbers.percent(exported.agreement, decimals=2),
    )


def _setting_rows(config: RunConfig) -> Iterator[Row]:
    """Yield step, label and value of each setting; the step in its first row only."""
    for step, group in groupby(settings(config), lambda setting: setting.part):
        for number, setting in enumerate(group):
            yield "" if number else step, setting.label, setting.value
