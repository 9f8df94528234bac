"""Choice of the structure to prune, as a grid of picture tiles.

The tiles act as radio buttons for keyboard and screen readers: Tab reaches the selected
one and the arrow keys select its neighbors. Structures that the model does not support
are skipped; their tooltip gives the reason. Only models with experts have the tiles of
experts. The pattern of N:M is below the tiles. A form part for both fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QPointF, QRectF, QSize, QSizeF, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QWidget
from typing_extensions import override

from surgeon_engine.api.config.pruning import (
    COUPLINGS,
    OF_EXPERTS,
    Coupling,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.messages.sources import NO_EXPERTS, StructureSupport
from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import explained, label_of, named
from surgeon_gui.widgets.forms.inputs import PatternInput
from surgeon_gui.widgets.layouts import horizontal, in_grid

_COLUMNS = 4
_STEPS = {
    Qt.Key.Key_Left.value: -1,
    Qt.Key.Key_Right.value: 1,
    Qt.Key.Key_Up.value: -_COLUMNS,
    Qt.Key.Key_Down.value: _COLUMNS,
}
_PICTURE = 40.0  # pixels high
_PADDING = 6.0
_CORNER = 6.0
_SCALE = 0.88  # relative font size, so that two lines fit
_STEP, _MAX_STEPS = 0.95, 12  # to a smaller font, where a name has no room
_MIN_WIDTH = 72
_WRAPPED = int(
    Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
)
_MATRIX_ROWS, _MATRIX_COLUMNS = 5, 8
_SPACING = 1.5
_APART = 6.0  # pixels between the kinds of a structure
_REMOVED_ROWS, _REMOVED_COLUMNS = {1, 3}, {2, 5, 6}
_PATTERN = ("1010", "0110", "1001", "0011", "1100")  # 2 of 4 neighbors are kept
_SCATTERED = {
    (0, 1), (0, 4), (0, 6), (1, 0), (1, 3), (1, 7), (2, 2), (2, 5), (3, 1), (3, 4),
    (3, 6), (4, 0), (4, 3), (4, 5), (4, 7),
}  # fmt: skip
_HEADS, _REMOVED_HEADS = 4, {1}
_NEURONS, _REMOVED_NEURONS = 5, {1, 3}
_EXPERTS, _REMOVED_EXPERTS = 4, {2}
_REMOVED: dict[Structure, Callable[[int, int], bool]] = {
    Structure.ROWS_AND_COLUMNS: lambda r, c: (
        r in _REMOVED_ROWS or c in _REMOVED_COLUMNS
    ),
    Structure.ROWS: lambda r, c: r in _REMOVED_ROWS,
    Structure.COLUMNS: lambda r, c: c in _REMOVED_COLUMNS,
    Structure.N_M: lambda r, c: _PATTERN[(r + c // 4) % len(_PATTERN)][c % 4] == "0",
    Structure.ELEMENTS: lambda r, c: (r, c) in _SCATTERED,
}


class StructureTiles(QWidget):
    """Choice of the structure to prune."""

    edited = Signal()
    names = ("structure", "pattern")

    def __init__(self) -> None:
        super().__init__()
        self._structure = PruningConfig().structure
        self._tiles = {structure: _StructureTile(structure) for structure in Structure}
        self._group = QButtonGroup(self)
        self._grid = in_grid(self, beside=GAP // 2, below=GAP // 2)
        for tile in self._tiles.values():
            self._group.addButton(tile)
            tile.stepped.connect(self._on_step)
        self._group.buttonToggled.connect(self._on_toggled)
        self._pattern = PatternInput()
        self._pattern.widget.setObjectName("pruning_pattern")
        self._pattern.widget.setAccessibleName(FIELDS["pruning.pattern"].label)
        self._pattern.edited.connect(self.edited)
        row = len(self._tiles) // _COLUMNS + 1
        self._grid.addWidget(self._pattern_row(), row, 0, 1, _COLUMNS)
        self._shown: list[_StructureTile] = []
        self._offer(structure for structure in Structure if structure not in OF_EXPERTS)
        pattern = PruningConfig().pattern
        self.show_values({"structure": self._structure, "pattern": pattern})

    def values(self) -> Mapping[str, Any]:
        """Return the values of the fields by name."""
        return {"structure": self._structure, "pattern": self._pattern.value}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the values of all fields without emitting `edited`."""
        self._structure = values["structure"]
        self._tiles[self._structure].setChecked(True)
        if not self._pattern.is_being_typed_in:
            self._pattern.show(values["pattern"])
        self._row.setVisible(self._structure is Structure.N_M)

    def field(self, name: str) -> QWidget:
        """Return the input of a field."""
        if name == "pattern":
            return self._pattern.widget
        return self._tiles[self._structure]

    def show_support(self, supports: Iterable[StructureSupport]) -> None:
        """Offer the structures of a model; the tooltip of a disabled one says why.

        Without a model all are offered but those with experts.
        """
        reasons = {each.structure: each.reason for each in supports}
        missing = NO_EXPERTS if reasons else ""
        offered = set(reasons) or {*Structure}.difference(OF_EXPERTS)
        self._offer(offered | {self._structure})
        for structure, tile in self._tiles.items():
            reason = reasons.get(structure, missing)
            tile.setEnabled(not reason or structure is self._structure)
            tile.set_unsupported(bool(reason))
            explained(tile, reason or CHOICES[structure][1])

    def _offer(self, structures: Iterable[Structure]) -> None:
        offered = {*structures}
        shown = [tile for tile in self._tiles.values() if tile.structure in offered]
        if shown == self._shown:
            return
        self._shown = shown
        for tile in self._tiles.values():
            self._grid.removeWidget(tile)
            tile.setParent(self)
            tile.setVisible(tile in shown)
        for number, tile in enumerate(shown):
            self._grid.addWidget(tile, number // _COLUMNS, number % _COLUMNS)
            if number:
                self.setTabOrder(shown[number - 1], tile)

    def _pattern_row(self) -> QWidget:
        """Return the row with the pattern, which only N:M has."""
        self._row = QWidget()
        label = label_of(FIELDS["pruning.pattern"], self._pattern.widget)
        horizontal(self._row, label, (self._pattern.widget, 1))
        return self._row

    @Slot(int)
    def _on_step(self, step: int) -> None:
        """Select the next enabled tile, `step` positions further in reading order."""
        tiles = self._shown
        place = tiles.index(self._tiles[self._structure]) + step
        while 0 <= place < len(tiles) and not tiles[place].isEnabled():
            place += 1 if step > 0 else -1
        if 0 <= place < len(tiles):
            tiles[place].setFocus(Qt.FocusReason.OtherFocusReason)
            tiles[place].click()

    @Slot(QAbstractButton, bool)
    def _on_toggled(self, button: QAbstractButton, is_checked: bool) -> None:
        assert isinstance(button, _StructureTile)
        if is_checked and button.structure is not self._structure:
            self._structure = button.structure
            self.edited.emit()


class _StructureTile(QAbstractButton):
    """The picture of a structure above its name."""

    stepped = Signal(int)  # number of tiles to move

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.structure = structure
        label, tip = CHOICES[structure]
        named(self, f"structure_{structure.value}_tile", FieldText(label, tip))
        self.setText(label.partition(" (")[0])  # there is no room for an addition
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        self._is_unsupported = False

    def set_unsupported(self, is_unsupported: bool) -> None:
        """Show whether the model supports the structure."""
        self._is_unsupported = is_unsupported
        self.update()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if step := _STEPS.get(event.key()):
            self.stepped.emit(step)
        else:
            super().keyPressEvent(event)

    @override
    def sizeHint(self) -> QSize:
        lines = 2 * self._small().pointSizeF() * 1.9
        return QSize(_MIN_WIDTH, round(_PICTURE + 3 * _PADDING + lines))

    @override
    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    @override
    def paintEvent(self, _: QPaintEvent) -> None:
        theme, painter = theme_of(self), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        is_chosen, is_enabled = self.isChecked(), not self._is_unsupported
        frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        is_marked = is_chosen or (is_enabled and self.underMouse())
        width = 2.0 if is_chosen else 1.0
        mark = theme.accent if is_enabled else theme.bad
        painter.setPen(QPen(QColor(mark if is_marked else theme.border), width))
        fill = theme.accent_soft if is_chosen else theme.surface
        painter.setBrush(QColor(fill if is_enabled else theme.window))
        painter.drawRoundedRect(frame, _CORNER, _CORNER)
        if self.hasFocus():
            painter.setPen(QPen(QColor(theme.text), 1, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            inner = frame.adjusted(3, 3, -3, -3)
            painter.drawRoundedRect(inner, _CORNER - 2, _CORNER - 2)
        ink = Ink(
            QColor(theme.accent if is_enabled else theme.faint),
            QColor(theme.muted if is_enabled else theme.border),
        )
        width = frame.width() - 2 * _PADDING
        picture = QRectF(frame.left() + _PADDING, _PADDING + 2, width, _PICTURE)
        paint_structure(painter, self.structure, picture, ink)
        label = frame.adjusted(2, _PICTURE + 2 * _PADDING, -2, -2)
        painter.setFont(self._fitted_font(label))
        painter.setPen(QColor(theme.text if is_enabled else theme.faint))
        painter.drawText(label, _WRAPPED, self.text())
        painter.end()

    def _fitted_font(self, place: QRectF) -> QFont:
        """Return the font of the name, smaller if the name does not fit in `place`."""
        font = self._small()
        for _ in range(_MAX_STEPS):
            needed = QFontMetricsF(font).boundingRect(place, _WRAPPED, self.text())
            if needed.width() <= place.width() and needed.height() <= place.height():
                break
            font.setPointSizeF(_STEP * font.pointSizeF())
        return font

    def _small(self) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * _SCALE)
        return font


@dataclass(frozen=True, slots=True)
class Ink:
    """Colors of kept and removed parts."""

    kept: QColor
    removed: QColor


def paint_structure(
    painter: QPainter, structure: Structure, place: QRectF, ink: Ink
) -> None:
    """Draw the picture of `structure` into the rectangle `place`."""
    kinds = [kind for kind in COUPLINGS.get(structure, ()) if kind in _PAINT]
    if not kinds:
        _paint_matrix(painter, place, ink, _REMOVED[structure])
        return
    inset = place.width() * 0.15 if len(kinds) == 1 else 0
    place = place.adjusted(inset, 0, -inset, 0)
    width = (place.width() - _APART * (len(kinds) - 1)) / len(kinds)
    part = QRectF(place.left(), place.top(), width, place.height())
    for kind in kinds:
        _PAINT[kind](painter, part, ink)
        part.translate(width + _APART, 0)


def _paint_heads(painter: QPainter, place: QRectF, ink: Ink) -> None:
    width = place.width() / _HEADS
    for head in range(_HEADS):
        left = place.left() + head * width
        column = QRectF(left, place.top(), width, place.height())
        is_removed = head in _REMOVED_HEADS
        _set_ink(painter, ink, is_removed=is_removed)
        painter.drawRoundedRect(
            column.adjusted(_SPACING, 1, -_SPACING, -1), width / 3, width / 3
        )


def _paint_neurons(painter: QPainter, place: QRectF, ink: Ink) -> None:
    radius = place.height() / (2.6 * _NEURONS)
    middle = place.center()
    ends = [
        QPointF(x, middle.y() + offset * place.height())
        for x in (place.left() + radius, place.right() - radius)
        for offset in (-0.22, 0.22)
    ]
    step = place.height() / _NEURONS
    neurons = [
        QPointF(middle.x(), place.top() + (number + 0.5) * step)
        for number in range(_NEURONS)
    ]
    painter.setPen(QPen(ink.kept, 0.8))
    for number, neuron in enumerate(neurons):
        if number not in _REMOVED_NEURONS:
            for end in ends:
                painter.drawLine(end, neuron)
    for number, neuron in enumerate(neurons):
        _set_ink(painter, ink, is_removed=number in _REMOVED_NEURONS)
        painter.drawEllipse(neuron, radius, radius)
    _set_ink(painter, ink, is_removed=False)
    for end in ends:
        painter.drawEllipse(end, radius, radius)


def _paint_experts(painter: QPainter, place: QRectF, ink: Ink) -> None:
    step = place.height() / _EXPERTS
    radius = step * 0.3
    router = QPointF(place.left() + radius, place.center().y())
    size = QSizeF(min(place.width() / 2, 2.5 * step), step - 2 * _SPACING)
    experts = [
        QRectF(QPointF(place.right() - size.width(), place.top() + y), size)
        for y in (number * step + _SPACING for number in range(_EXPERTS))
    ]
    painter.setPen(QPen(ink.kept, 0.8))
    for number, expert in enumerate(experts):
        if number not in _REMOVED_EXPERTS:
            painter.drawLine(router, QPointF(expert.left(), expert.center().y()))
    for number, expert in enumerate(experts):
        _set_ink(painter, ink, is_removed=number in _REMOVED_EXPERTS)
        painter.drawRoundedRect(expert, 2, 2)
    _set_ink(painter, ink, is_removed=False)
    painter.drawEllipse(router, radius, radius)


_PAINT = {
    Coupling.HEADS: _paint_heads,
    Coupling.NEURONS: _paint_neurons,
    Coupling.EXPERTS: _paint_experts,
}


def _paint_matrix(
    painter: QPainter, place: QRectF, ink: Ink, is_removed: Callable[[int, int], bool]
) -> None:
    side = min(place.width() / _MATRIX_COLUMNS, place.height() / _MATRIX_ROWS)
    left = place.center().x() - side * _MATRIX_COLUMNS / 2
    top = place.center().y() - side * _MATRIX_ROWS / 2
    for row in range(_MATRIX_ROWS):
        for column in range(_MATRIX_COLUMNS):
            cell = QRectF(left + column * side, top + row * side, side, side)
            cell.adjust(_SPACING / 2, _SPACING / 2, -_SPACING / 2, -_SPACING / 2)
            _set_ink(painter, ink, is_removed=is_removed(row, column))
            painter.drawRect(cell)


def _set_ink(painter: QPainter, ink: Ink, *, is_removed: bool) -> None:
    if is_removed:
        painter.setPen(QPen(ink.removed, 0.6, Qt.PenStyle.DotLine))
        painter.setBrush(Qt.BrushStyle.NoBrush)
    else:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink.kept)
