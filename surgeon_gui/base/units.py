"""Units of sizes in bytes: MB in steps of 1000, or MiB in steps of 1024.

Call `use` before importing modules with texts, because some name the unit at import.
Job files always have MB and GB.
"""

from __future__ import annotations

from enum import StrEnum

from surgeon_engine.base import formatting


class Units(StrEnum):
    """The units of sizes in bytes."""

    DECIMAL = "decimal"
    BINARY = "binary"


def use(units: Units) -> None:
    """Show sizes in these units from now on, also in the engine's sentences."""
    formatting.use_binary_sizes(units is Units.BINARY)


def is_binary() -> bool:
    """Return True if sizes are shown in MiB and GiB."""
    return formatting.has_binary_sizes()


def megabyte() -> tuple[int, str]:
    """Return the bytes of the unit for large files, and its name."""
    return formatting.size_units()[0]


def gigabyte() -> tuple[int, str]:
    """Return the bytes of the unit for memory, and its name."""
    return formatting.size_units()[1]
