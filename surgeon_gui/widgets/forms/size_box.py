"""A spin box of a size in which one can type another unit: 80 MB, 0.1 GB, 20 %."""

from __future__ import annotations

import re

from PySide6.QtCore import Signal
from typing_extensions import override

from surgeon_gui.widgets.spin_boxes import NumberBox

PERCENT = "%"
_TYPED = re.compile(r"([\d.,\s]*)(%|[kmgt]?i?b?)", re.IGNORECASE)  # or a part of it
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class SizeBox(NumberBox):
    """Keeps its number when another unit is typed, and tells what was typed."""

    share_typed = Signal(float)  # a share of 1
    bytes_typed = Signal(float)

    typed = _TYPED

    @override
    def fixup(self, text: str) -> str:
        found = _TYPED.fullmatch(self.without_unit(text))
        number = self.number_in(found[1].strip()) if found else None
        unit = found[2].lower() if found else ""
        if found and unit == self.suffix().strip().lower():
            return super().fixup(found[1].strip())
        if number is None or not (unit == PERCENT or unit.endswith("b")):
            return super().fixup(text)
        if unit == PERCENT:
            self.share_typed.emit(number / 100)
        else:
            base = 1024 if "i" in unit else 1000
            power = _POWERS[unit.rstrip("b").rstrip("i")]
            self.bytes_typed.emit(number * base**power)
        return self.textFromValue(self.value()) + self.suffix()
