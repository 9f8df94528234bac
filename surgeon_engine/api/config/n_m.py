"""The pattern N:M: of every M neighboring weights in a row, N are kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NewType

from surgeon_engine.api.config.fields import Limits
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.formatting import format_percent

Pattern = NewType("Pattern", str)  # such as "2:4"
_PATTERN = re.compile(r"(\d+):(\d+)")
MAX_OF = 32  # weights in a group
_MAX_PATTERNS = 20_000  # 8:16 has 12,870
_ROUNDING = 0.001  # 66.7 % is accepted where 2/3 is the maximum


@dataclass(frozen=True, slots=True)
class NM:
    """An N:M pattern: N of M neighboring weights in a row are kept."""

    pattern: Pattern

    def __post_init__(self) -> None:
        if not _PATTERN.fullmatch(self.pattern):
            raise ConfigError(
                "{pattern:shown} is not a pattern.",
                "Give the weights to keep and the length of a group, such as 2:4.",
                pattern=self.pattern,
            )
        for name, value, limits in (
            ("N", self.kept, Limits(1, MAX_OF - 1)),
            ("M", self.of, Limits(2, MAX_OF)),
        ):
            if not limits.contain(value):
                raise ConfigError(
                    "{name} of the pattern {pattern} is {given}, and must be {limits}.",
                    "Choose a pattern such as 2:4.",
                    name=name,
                    pattern=self.pattern,
                    limits=limits.words,
                    given=value,
                )
        if self.kept >= self.of:
            raise ConfigError(
                "{pattern} removes nothing.",
                "Keep fewer weights than a group has, such as 2 of 4.",
                pattern=self.pattern,
            )
        ways = math.comb(self.of, self.kept)
        if ways > _MAX_PATTERNS:
            raise ConfigError(
                "There are {ways:,} ways to keep {kept} of {of} weights; Surgeon "
                "compares at most {most:,} in every group.",
                "Choose shorter groups, such as 4:8.",
                ways=ways,
                kept=self.kept,
                of=self.of,
                most=_MAX_PATTERNS,
            )

    def check_sparsity(self, sparsity: float) -> None:
        """Check that the pattern can remove a share of the weights.

        Raises:
            ConfigError: It is too large.
        """
        maximum = 1 - self.kept / self.of
        if sparsity > maximum + _ROUNDING:
            raise ConfigError(
                "{pattern} removes at most {most} of the weights, but the target is "
                "{sparsity:percent}.",
                "Lower the sparsity to {most}.",
                settings=("sparsity", "pattern"),
                pattern=self.pattern,
                most=format_percent(maximum),
                sparsity=sparsity,
            )

    @property
    def kept(self) -> int:
        """N, the number of weights that a group keeps."""
        return int(self.pattern.partition(":")[0])

    @property
    def of(self) -> int:
        """M, the number of weights in a group."""
        return int(self.pattern.partition(":")[2])

    @property
    def removed(self) -> int:
        """M - N, the number of weights that a group loses."""
        return self.of - self.kept
