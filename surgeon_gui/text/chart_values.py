"""What charts and maps show, as plain values. Knows nothing of Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers


@dataclass(frozen=True, slots=True)
class Curve:
    """One line among others."""

    name: str
    xs: Sequence[float] = ()
    ys: Sequence[float] = ()


def at_shot(x: float) -> str:
    """What stands over the values of a shot."""
    return tr("Shot {n}").format(n=f"{x:g}") if x else tr("Original")


@dataclass(frozen=True, slots=True)
class Line:
    """What a line chart shows: a curve, perhaps with others beside it."""

    axis: str  # what stands beside the vertical axis
    xs: Sequence[float] = ()
    ys: Sequence[float] = ()
    last_x: float = 1.0  # where the horizontal axis ends
    baseline: float | None = None
    limit: float | None = None  # a value that may not be passed
    is_log: bool = False
    from_zero: bool = False
    name: str = ""  # of the curve; empty: as the axis
    more: tuple[Curve, ...] = ()
    x_axis: str = tr("Shot")
    has_whole_xs: bool = True  # shots, with a dot at each
    say_x: Callable[[float], str] = at_shot
    say_y: Callable[[float], str] = numbers.perplexity
    last_text: str = ""  # what the last point is, where it is not a shot

    @property
    def curves(self) -> tuple[Curve, ...]:
        """All curves."""
        return (Curve(self.name or self.axis, self.xs, self.ys), *self.more)


@dataclass(frozen=True, slots=True)
class Stack:
    """The part of each bar that is of one kind."""

    name: str
    heights: tuple[float, ...]
    colour: int  # which of the theme's series


@dataclass(frozen=True, slots=True)
class Bars:
    """What a bar chart shows: stacks on top of each other, bar by bar."""

    axis: str
    x_axis: str
    edges: tuple[tuple[float, float], ...] = ()  # left and right of each bar
    stacks: tuple[Stack, ...] = ()
    names: tuple[str, ...] = ()  # of each bar
    ticks: tuple[tuple[float, str], ...] = ()
    mark: float | None = None  # a line across the bars
    mark_name: str = ""
    say_y: Callable[[float], str] = numbers.count
    say_tick: Callable[[float], str] | None = None  # None: as they are


@dataclass(frozen=True, slots=True)
class Cell:
    """One part of the model on a map."""

    row: str
    column: int  # block
    heat: float  # 0 to 1
    label: str
    tip: str
    name: str  # of the part
