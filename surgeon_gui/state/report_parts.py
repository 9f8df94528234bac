"""The parts of a report, and its sections on measurements after the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surgeon_engine.api.messages.benchmark import conditions
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import speed_rows, speed_titles
from surgeon_gui.state.judgment import answers, lost_rows
from surgeon_gui.state.run import RunState

PICTURE_WIDTH = 680  # an A4 page without its margins, in CSS pixels
_ANSWERS = 5  # the worst ones

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart, as PNG."""

    title: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its content, in the order in which it is shown."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    rows: Sequence[Row] = ()  # table rows, all of the same length
    titles: Row = ()  # column titles
    has_bold_labels: bool = False  # in the first column
    note: str = ""
    code: str = ""


def later_sections(run: RunState) -> Iterator[Section]:
    """Yield the sections on the judgment and on the speed of a file."""
    if run.judgment is not None:
        yield from _judged(run)
    if run.measured is not None:
        titles = ("", *speed_titles(run.measured))
        rows = [
            [f"{cell.value} ({cell.below})" for cell in row]
            for row in speed_rows(run.measured)
        ]
        note = conditions(run.measured)
        yield Section(tr("Speed"), rows=rows, titles=titles, note=note)


def _judged(run: RunState) -> Iterator[Section]:
    rows = [(row.name, row.outcome) for row in lost_rows(run)]
    yield Section(tr("What was lost"), rows=rows)
    titles = (tr("Prompt"), tr("Original"), tr("This file"))
    parted = [(x.prompt, x.original, x.pruned) for x in answers(run)[:_ANSWERS]]
    if parted:
        yield Section(tr("Where the answers part"), rows=parted, titles=titles)


def environment_rows(run: RunState, versions: Mapping[str, str]) -> Iterator[Row]:
    """Yield the versions of the libraries, the device and the folder of a run."""
    yield from versions.items()
    if run.device:
        yield tr("Device"), run.device
    if run.folder:
        yield tr("Run folder"), run.folder
    if not versions:
        yield tr("Versions"), tr("not recorded, because the run did not complete")
