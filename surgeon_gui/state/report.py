"""The report of a run as HTML: what was asked, what came of it, how to repeat it.

One file without anything from elsewhere: pictures are inside, as base64. It has to look
right in three places: a browser, a printed page, and Qt's own text engine, which makes
the PDF and knows only tables, a few attributes and little of CSS. So its frame is made
of tables with attributes, and its style sheet only adds to that. Pure functions from a
run to text; knows nothing of Qt.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from itertools import groupby

from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.run import Evaluation
from surgeon_gui.base.colours import LIGHT
from surgeon_gui.base.translation import language, tr
from surgeon_gui.state import export_text as export_text
from surgeon_gui.state import step_text as sentences
from surgeon_gui.state.job import settings_list as all_settings
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import source_name

PICTURE_WIDTH = 680  # of an A4 page without its margins, in CSS pixels
_ARROW = "\N{RIGHTWARDS ARROW}"

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart, as PNG."""

    title: str
    png: bytes
    width: int = PICTURE_WIDTH  # in CSS pixels


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the events of a run do not tell."""

    name: str  # what the run is called
    versions: Mapping[str, str] = field(default_factory=dict)  # of the libraries
    pictures: Sequence[Picture] = ()


def report_html(run: RunState, around: Surroundings) -> str:
    """The whole page."""
    sections = (
        _summary(run),
        _asked(run),
        _result(run),
        _charts(around.pictures),
        _shots(run),
        _layers(run),
        _verification(run),
        _environment(run, around.versions),
        _repeating(run),
    )
    title = escape(around.name)
    return (
        f'<!DOCTYPE html>\n<html lang="{language()}"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{title}</h1>\n{_begun(run)}\n{''.join(sections)}\n</body></html>\n"
    )


def _begun(run: RunState) -> str:
    when = f"{datetime.fromtimestamp(run.began):%Y-%m-%d %H:%M}"
    words = tr("Report of a pruning run by Surgeon, begun {date}.").format(date=when)
    return f'<p class="quiet">{escape(words)}</p>'


def _summary(run: RunState) -> str:
    words = [sentences.phase(run)]
    if run.error is not None:
        words += [run.error.message, run.error.hint]
    if run.status.is_busy:
        words = [tr("The run is still under way.")]
    tiles = _tiles(run)
    return f'<p class="lead">{escape(" ".join(words).strip())}</p>\n{tiles}'


def _tiles(run: RunState) -> str:
    """The figures that matter most, in a row."""
    figures = []
    if run.baseline is not None and run.evaluation is not None:
        before, after = run.baseline.perplexity, run.evaluation.perplexity
        change = numbers.percent(after / before - 1, signed=True)
        value = f"{numbers.perplexity(before)} {_ARROW} {numbers.perplexity(after)}"
        figures.append((tr("Perplexity"), value, change))
    if run.model is not None and run.history:
        before, left = run.model.parameters, run.history[-1].parameters
        change = numbers.percent(left / before - 1, signed=True)
        value = f"{numbers.count(before)} {_ARROW} {numbers.count(left)}"
        figures.append((tr("Parameters"), value, change))
    if run.model is not None and run.exported is not None:
        before, left = run.model.file_bytes, run.exported.weight_bytes
        change = numbers.percent(left / before - 1, signed=True) if before else ""
        value = f"{numbers.size(before)} {_ARROW} {numbers.size(left)}"
        figures.append((tr("Weights on disk"), value, change))
    if not figures:
        return ""
    cells = "".join(
        f'<td class="tile" bgcolor="{LIGHT.window}" width="{100 // len(figures)}%">'
        f'<span class="quiet">{escape(name)}</span><br><b class="big">{escape(value)}'
        f'</b><br><span class="quiet">{escape(change)}</span></td>'
        for name, value, change in figures
    )
    table = '<table width="100%" cellpadding="8" cellspacing="6">'
    return f"{table}<tr>{cells}</tr></table>\n"


def _asked(run: RunState) -> str:
    if run.config is None:
        return ""
    rows = []
    for part, group in groupby(all_settings.settings(run.config), lambda s: s.part):
        for number, each in enumerate(group):
            rows.append(("" if number else part, each.label, each.value))
    return _section(tr("What was asked"), _table((), rows, first_bold=True))


def _result(run: RunState) -> str:
    rows: list[Row] = []
    if run.baseline is not None:
        rows.append(_measured(tr("Perplexity of the original"), run.baseline))
    if run.history:
        label = tr("Perplexity after the last shot")
        rows.append(_measured(label, run.history[-1].evaluation))
    if run.corrected is not None:
        label = tr("Perplexity after the correction")
        rows.append(_measured(label, run.corrected.evaluation))
    if run.model is not None and run.history:
        left, whole = run.history[-1].parameters, run.model.parameters
        rows += [
            (tr("Parameters of the original"), f"{whole:,}", ""),
            (
                tr("Parameters left"),
                f"{left:,}",
                tr("{share} of the original's").format(
                    share=numbers.percent(left / whole)
                ),
            ),
            (
                tr("Sparsity"),
                numbers.percent(run.history[-1].sparsity, decimals=2),
                tr("of {n} prunable weights").format(n=f"{run.model.prunable:,}"),
            ),
        ]
    rows += [(name, value, "") for name, value in export_text.export_facts(run)]
    rows += _costs(run)
    note = export_text.unrun_note(run.exported)
    below = f"<p>{escape(note)}</p>\n" if note else ""
    return _section(tr("What came of it"), _table((), rows) + below) if rows else ""


def _costs(run: RunState) -> Iterable[Row]:
    """What the run took."""
    if run.ended is not None:
        seconds = run.result.seconds if run.result else run.seconds(run.ended)
        yield tr("Time"), numbers.duration(seconds), ""
    if run.result is not None:
        note = tr("of the engine's process; on a GPU, of its memory")
        yield tr("Peak memory"), numbers.size(run.result.peak_memory_bytes), note


def _measured(label: str, found: Evaluation) -> Row:
    """A perplexity with the protocol that gives it its meaning."""
    tokens = found.windows * found.window_length
    protocol = tr(
        "loss {loss} nats a token on {windows} held-out windows of {length} tokens "
        "({tokens} tokens), {text}"
    ).format(
        loss=numbers.perplexity(found.loss),
        windows=found.windows,
        length=found.window_length,
        tokens=f"{tokens:,}",
        text=source_name(found.text),
    )
    return label, numbers.perplexity(found.perplexity), protocol


def _charts(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    shown = "".join(
        f'<p class="chart"><img alt="{escape(each.title)}" width="{each.width}" '
        f'src="data:image/png;base64,{base64.b64encode(each.png).decode()}"></p>\n'
        for each in pictures
    )
    return _section(tr("Charts"), shown)


def _shots(run: RunState) -> str:
    if not run.history:
        return ""
    titles = (
        tr("Shot"),
        tr("Sparsity"),
        tr("Parameters left"),
        tr("Perplexity"),
        tr("Loss"),
        tr("Time"),
    )
    rows = [
        (
            str(shot.shot),
            numbers.percent(shot.sparsity, decimals=2),
            f"{shot.parameters:,}",
            numbers.perplexity(shot.evaluation.perplexity),
            numbers.perplexity(shot.evaluation.loss),
            numbers.duration(shot.seconds),
        )
        for shot in run.history
    ]
    choice = sentences.last_choice(run).replace("\n", ". ")
    below = f'<p class="quiet">{escape(choice)}.</p>\n' if choice else ""
    return _section(tr("Shot by shot"), _table(titles, rows) + below)


def _layers(run: RunState) -> str:
    if not run.history:
        return ""
    titles = (tr("Layer"), tr("Weights"), tr("Removed"), tr("Sparsity"))
    rows = [
        (
            layer.name,
            f"{layer.weights:,}",
            f"{layer.removed:,}",
            numbers.percent(layer.sparsity),
        )
        for layer in run.layers
    ]
    return _section(tr("Layer by layer"), _table(titles, rows))


def _verification(run: RunState) -> str:
    if run.exported is None:
        words = tr("Nothing was exported, so that nothing was verified.")
    elif not run.exported.tokens_compared:
        words = tr(
            "The files were read back ({program}), but not run: nothing on that "
            "computer could."
        ).format(program=run.exported.checked_with)
    else:
        words = tr(
            "A fresh process loaded the files with {program}, without Surgeon, and "
            "computed {tokens} tokens of the held-out text. Its logits differ from "
            "those of the pruned model in memory by at most {difference}; the "
            "likeliest next token is the same for {share} of them."
        ).format(
            program=run.exported.checked_with,
            tokens=f"{run.exported.tokens_compared:,}",
            difference=numbers.scientific(run.exported.largest_difference),
            share=numbers.percent(run.exported.agreement, decimals=2),
        )
    return _section(tr("How it was verified"), f"<p>{escape(words)}</p>\n")


def _environment(run: RunState, versions: Mapping[str, str]) -> str:
    rows = [(name, version) for name, version in versions.items()]
    if run.device:
        rows.append((tr("Computed on"), run.device))
    if run.folder:
        rows.append((tr("Folder of the run"), run.folder))
    if not versions:
        rows.append((tr("Versions"), tr("not recorded: the run was not completed")))
    return _section(tr("Environment"), _table((), rows))


def _repeating(run: RunState) -> str:
    if run.config is None:
        return ""
    words = tr("Save this as job.toml and run: {command}").format(
        command="surgeon run job.toml"
    )
    toml = escape(config_to_toml(run.config))
    return _section(
        tr("How to repeat it"),
        f"<p>{escape(words)}</p>\n"
        f'<table width="100%" cellpadding="8" bgcolor="{LIGHT.window}"><tr><td>'
        f"<pre>{toml}</pre></td></tr></table>\n",
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _table(titles: Row, rows: Iterable[Row], *, first_bold: bool = False) -> str:
    head = "".join(f'<th align="left">{escape(title)}</th>' for title in titles)
    lines = [f"<thead><tr>{head}</tr></thead>"] if head else []
    for number, row in enumerate(rows):
        shade = f' bgcolor="{LIGHT.window}"' if number % 2 == 0 else ""
        cells = "".join(
            f'<td valign="top">{_cell(value, is_bold=first_bold and not column)}</td>'
            for column, value in enumerate(row)
        )
        lines.append(f"<tr{shade}>{cells}</tr>")
    return (
        '<table width="100%" cellpadding="4" cellspacing="0">\n'
        + "\n".join(lines)
        + "\n</table>\n"
    )


def _cell(value: str, *, is_bold: bool) -> str:
    return f"<b>{escape(value)}</b>" if is_bold else escape(value)


def is_worth_a_report(run: RunState) -> bool:
    """Whether there is anything to tell of a run."""
    return run.status is not Status.IDLE and run.config is not None


_STYLE = f"""
body {{ font-family: system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif;
  color: {LIGHT.text}; background: {LIGHT.surface}; max-width: 800px;
  margin-block: 24px; margin-inline: auto; padding-inline: 16px; }}
h1 {{ font-size: 22px; margin-bottom: 2px; }}
h2 {{ font-size: 16px; color: {LIGHT.accent}; margin-top: 26px; }}
p, td, th {{ font-size: 12px; }}
td {{ overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
th {{ color: {LIGHT.muted}; font-weight: 600; }}
pre {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 11px;
  margin: 0; white-space: pre-wrap; }}
img {{ max-width: 100%; height: auto; }}
.quiet {{ color: {LIGHT.muted}; }}
.lead {{ font-size: 14px; }}
.big {{ font-size: 17px; }}
@media print {{
  body {{ margin-block: 0; max-width: none; padding-inline: 0; }}
  h2 {{ break-after: avoid; }}
  tr, img {{ break-inside: avoid; }}
  * {{ -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
}}
"""
