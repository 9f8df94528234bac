"""What a field of a config says of itself: its range, and whether it is for experts.

Imports neither torch nor Qt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from surgeon_engine.api.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a number: from `low`, up to `high` or, if it is open, below it."""

    low: float
    high: float
    low_is_open: bool = False
    high_is_open: bool = False

    def contain(self, value: float) -> bool:
        """Whether `value` lies inside."""
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        opening = "(" if self.low_is_open else "["
        closing = ")" if self.high_is_open else "]"
        return f"{opening}{self.low:g}, {self.high:g}{closing}"


def option(
    default: Any,
    limits: Limits | None = None,
    *,
    advanced: bool = False,
    applies: Callable[[Any], bool] = lambda config: True,
) -> Any:
    """A field with what forms want to know: `applies` says to which configs."""
    metadata = {"limits": limits, "advanced": advanced, "applies": applies}
    return field(default=default, metadata=metadata)


def check_limits(config: Any) -> None:
    """Refuse a config of which a number is out of its range.

    Raises:
        ConfigError: it is; with the number and the range.
    """
    for item in dataclasses.fields(config):
        limits = item.metadata.get("limits")
        value = getattr(config, item.name)
        if limits is not None and not limits.contain(value):
            raise ConfigError(
                f"{item.name} must be in {limits}, got {value}.",
                f"Set {item.name} to a value in {limits}.",
            )
