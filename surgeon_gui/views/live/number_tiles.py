"""Row of figures above the charts: values before and after, with the change."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.captions.views import BELOW_ORIGINAL, MEANINGS
from surgeon_gui.widgets.controls import bold, eliding_label, explained, line_label
from surgeon_gui.widgets.layouts import inside_card
from surgeon_gui.widgets.tool_tips import plain_tip

_ARROW = " \N{RIGHTWARDS ARROW} "
_DASH = "\N{EN DASH}"
_VALUE_SCALE = 1.35
_TITLES = {
    "fidelity": tr("Fidelity"),
    "perplexity": tr("Perplexity"),
    "parameters": tr("Remaining parameters"),
    "sparsity": tr("Sparsity"),
    "time": tr("Time"),
}


class NumberTiles(QWidget):
    """Tiles with fidelity, perplexity, parameters, sparsity and time."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._tiles = {
            name: _NumberTile(name, title) for name, title in _TITLES.items()
        }
        self.arrange(len(self._tiles))

    def arrange(self, columns: int) -> None:
        """Arrange the tiles in `columns` columns; the first may take several."""
        span = 1 + -len(self._tiles) % columns
        first, *others = self._tiles.values()
        self._grid.addWidget(first, 0, 0, 1, span)
        for number, tile in enumerate(others, start=span):
            self._grid.addWidget(tile, *divmod(number, columns))
        for number in range(len(self._tiles)):
            self._grid.setColumnStretch(number, 1 if number < columns else 0)

    def show_run(self, run: RunState, now: float) -> None:
        """Show the figures of a run at the time `now`."""
        self._tiles["fidelity"].show_figures(*_fidelity(run))
        self._tiles["fidelity"].show_title(_fidelity_title(run))
        self._tiles["perplexity"].show_figures(*_perplexity(run))
        self._tiles["parameters"].show_figures(*_parameters(run))
        self._tiles["sparsity"].show_figures(*_sparsity(run))
        self._tiles["time"].show_figures(*_time(run, now))


class _NumberTile(QWidget):
    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self._value = line_label(_DASH, name=f"{name}_figure")
        self._value.setFont(bold(self._value.font(), _VALUE_SCALE))
        self._note = line_label(quiet=True, name=f"{name}_note")
        self._title = eliding_label(f"{name}_title", quiet=True)
        self._title.setText(title)
        self._meaning = MEANINGS[name]
        explained(self, self._meaning)
        inside_card(self, self._title, self._value, self._note, spacing=2)

    def show_title(self, title: str) -> None:
        """Show another title."""
        if title != self._title.text():
            self._title.setText(title)

    def show_figures(self, value: str, note: str, details: str = "") -> None:
        """Show a value and a note; `details` precede the meaning in the tooltip."""
        self._value.setText(value)
        self._note.setText(note)
        tip = f"{details}\n\n{self._meaning}" if details else self._meaning
        if plain_tip(tip) != self.toolTip():
            explained(self, tip)


def _fidelity_title(run: RunState) -> str:
    """Return the title with the text of the figures, if there are any."""
    evaluation = run.evaluation or run.baseline
    if evaluation is None or not evaluation.fidelity:
        return _TITLES["fidelity"]
    return fidelity.title(evaluation.fidelity[0])


def _fidelity(run: RunState) -> tuple[str, str, str]:
    evaluation = run.evaluation or run.baseline
    if evaluation is None:
        return _DASH, "", ""
    if not evaluation.fidelity:
        return _DASH, tr("not measured"), ""
    first = evaluation.fidelity[0]
    if run.evaluation is None:
        return fidelity.divergence(first), tr("original"), ""
    details = "\n".join(map(fidelity.line, evaluation.fidelity))
    return fidelity.divergence(first), fidelity.agreement(first), details


def _perplexity(run: RunState) -> tuple[str, str, str]:
    if run.baseline is None:
        return _DASH, "", ""
    before = numbers.perplexity(run.baseline.perplexity)
    if run.evaluation is None:
        return before, tr("original"), ""
    after = run.evaluation.perplexity
    change = after / run.baseline.perplexity - 1
    value = f"{before}{_ARROW}{numbers.perplexity(after)}"
    share = numbers.percent(change, signed=True)
    if change < 0:
        note = tr("{change}, not better").format(change=share)
        return value, note, BELOW_ORIGINAL
    return value, share, ""


def _parameters(run: RunState) -> tuple[str, str]:
    if run.model is None:
        return _DASH, ""
    before = numbers.count(run.model.parameters)
    if not run.history:
        return before, tr("original")
    after = run.history[-1].parameters
    change = after / run.model.parameters - 1
    value = f"{before}{_ARROW}{numbers.count(after)}"
    return value, numbers.percent(change, signed=True)


def _sparsity(run: RunState) -> tuple[str, str]:
    if run.config is None:
        return _DASH, ""
    share = run.history[-1].sparsity if run.history else 0.0
    goal = goal_or_none(run.config, run.model) if run.model is not None else None
    note = (
        tr("target {sparsity}").format(sparsity=numbers.percent(goal.sparsity))
        if goal is not None
        else ""
    )
    return numbers.percent(share), note


def _time(run: RunState, now: float) -> tuple[str, str]:
    if run.config is None:
        return _DASH, ""
    seconds, left = run.seconds(now), run.remaining_seconds(now)
    value = numbers.clock(seconds)
    if left is not None:
        total = numbers.clock(seconds + left)
        value = tr("{time} of about {total}").format(time=value, total=total)
    if run.status is Status.PAUSED:
        return value, tr("paused")
    done = len(run.history)
    shots = max(run.shots, done)
    progress = ntr("{done} of {n} shot", "{done} of {n} shots", shots)
    return value, progress.format(done=done, n=shots)
