"""Label, tooltip and unit of a setting."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_gui.base.translation import tr


@dataclass(frozen=True, slots=True)
class FieldText:
    """Texts of a form for one setting; label and tooltip are translated here."""

    label: str
    tip: str
    unit: str = ""
    unit_of_one: str = ""  # the singular, if it differs
    decimals: int = 4  # maximum, for a float
    is_share: bool = False  # a share of 1, shown as a percentage
    unit_bytes: int = 0  # bytes of the shown unit of a size; 0: it is no size
    stored_bytes: int = 0  # bytes of the unit of a size in a job file
    example: str = ""  # placeholder of an empty line
    minimum_text: str = ""  # shown in place of the smallest number

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", tr(self.label))
        object.__setattr__(self, "tip", tr(self.tip))

    @property
    def scale(self) -> float:
        """The number that is shown for a stored 1."""
        if self.is_share:
            return 100.0
        return self.stored_bytes / self.unit_bytes if self.unit_bytes else 1.0

    def unit_for(self, number: float) -> str:
        """Return the unit in the singular or plural that `number` requires."""
        return (self.unit_of_one or self.unit) if number == 1 else self.unit
