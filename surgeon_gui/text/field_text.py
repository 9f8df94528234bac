"""Label, tooltip and unit of a setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldText:
    """Texts of a form for one setting."""

    label: str
    tip: str
    unit: str = ""
    unit_of_one: str = ""  # the singular, if it differs
    decimals: int = 4  # maximum, for a float
    is_share: bool = False  # a share of 1, shown as a percentage
    example: str = ""  # placeholder of an empty line
    minimum_text: str = ""  # shown in place of the smallest number

    def unit_for(self, number: float) -> str:
        """Return the unit in the singular or plural that `number` requires."""
        return (self.unit_of_one or self.unit) if number == 1 else self.unit
