"""Content of charts and heat maps as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers


@dataclass(frozen=True, slots=True)
class Curve:
    """One of the curves of a line chart."""

    name: str
    xs: Sequence[float] = ()
    ys: Sequence[float] = ()


def at_shot(x: float) -> str:
    """Return the heading above the values of a shot."""
    return tr("Shot {n}").format(n=f"{x:g}") if x else tr("Original")


@dataclass(frozen=True, slots=True)
class Line:
    """Content of a line chart: one curve or several."""

    axis: str  # label of the vertical axis
    curves: tuple[Curve, ...] = ()  # with a value at each of the same xs
    last_x: float = 1.0  # end of the horizontal axis
    baseline: float | None = None
    limit: float | None = None  # a value that may not be exceeded
    from_zero: bool = False
    x_axis: str = tr("Shot")
    has_whole_xs: bool = True  # shots, with a dot at each
    format_x: Callable[[float], str] = at_shot
    format_y: Callable[[float], str] = numbers.perplexity
    last_text: str = ""  # label of the last point, unless it is a shot

    @property
    def axes(self) -> tuple[str, str]:
        """The labels of both axes; a zoom holds until they change."""
        return self.axis, self.x_axis

    @property
    def xs(self) -> Sequence[float]:
        """Where all curves have a value."""
        return self.curves[0].xs if self.curves else ()


@dataclass(frozen=True, slots=True)
class Stack:
    """One segment of each bar."""

    name: str
    heights: tuple[float, ...]
    color: int  # index of a series color of the theme


@dataclass(frozen=True, slots=True)
class Bars:
    """Content of a bar chart: stacked segments, bar by bar."""

    axis: str
    x_axis: str
    edges: tuple[tuple[float, float], ...] = ()  # left and right of each bar
    stacks: tuple[Stack, ...] = ()
    names: tuple[str, ...] = ()  # one name for each bar
    ticks: tuple[tuple[float, str], ...] = ()
    # The ticks for a part of the horizontal axis; None: the same as for all of it.
    ticks_between: Callable[[float, float], tuple[tuple[float, str], ...]] | None = None
    mark: float | None = None  # position of a vertical line
    mark_name: str = ""
    format_y: Callable[[float], str] = numbers.count
    format_tick: Callable[[float], str] | None = None  # None: plain numbers


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a heat map: a part of the model."""

    row: str
    column: int  # block, or number in its row
    heat: float  # 0 to 1
    label: str
    tip: str
    name: str  # name of the part
    is_removed: bool = False  # drawn as an outline
