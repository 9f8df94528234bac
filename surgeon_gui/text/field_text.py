"""What a form shows for one setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldText:
    """What a form shows for one setting."""

    label: str
    tip: str
    unit: str = ""
    unit_of_one: str = ""  # where that is another word
    decimals: int = 4  # of a decimal number, at most
    is_share: bool = False  # a share of 1, shown as per cent
    example: str = ""  # what stands in a line while it is empty
    least: str = ""  # what a box says in place of its smallest number

    def unit_for(self, number: float) -> str:
        """The unit as it is called behind a number."""
        return (self.unit_of_one or self.unit) if number == 1 else self.unit
