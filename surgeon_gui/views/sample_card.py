"""A card with the sample of the original and the latest one of the pruned model."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel

from surgeon_gui.base.theme import GAP, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import sample_pair
from surgeon_gui.widgets.controls import heading, line_label, text_label

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_LINES = 3  # for which there is room before a text comes


class SampleCard(QFrame):
    """Two texts beside each other; hidden while a run has no samples.

    `name` is the prefix of the object names.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self._prompt = text_label(quiet=True, name=f"{name}_sample_prompt")
        self._when = line_label(quiet=True)
        self._original, self._pruned = text_label(), text_label()
        self._original.setObjectName(f"{name}_sample_original")
        self._pruned.setObjectName(f"{name}_sample_pruned")
        for text in (self._original, self._pruned):
            text.setMinimumHeight(_LINES * text.fontMetrics().lineSpacing())
            text.setAlignment(Qt.AlignmentFlag.AlignTop)
            text.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse
                | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
        grid = QGridLayout(self)
        grid.setContentsMargins(ROOM, ROOM, ROOM, ROOM)
        grid.setSpacing(GAP // 2)
        grid.addWidget(heading(tr("The same prompt, both models")), 0, 0, 1, 2)
        grid.addWidget(self._prompt, 1, 0, 1, 2)
        grid.addWidget(line_label(tr("Original"), quiet=True), 2, 0)
        grid.addWidget(self._when, 2, 1)
        grid.addWidget(self._original, 3, 0)
        grid.addWidget(self._pruned, 3, 1)
        grid.setHorizontalSpacing(ROOM)
        for column in range(2):
            grid.setColumnStretch(column, 1)
        self.hide()

    def show_run(self, run: RunState) -> None:
        """Show the samples of a run."""
        pair = sample_pair(run)
        self.setVisible(pair is not None)
        if pair is None:
            return
        self._prompt.setText(tr("“{prompt}”").format(prompt=pair.prompt))
        self._when.setText(pair.title)
        _show(self._original, pair.original, tr("Original"))
        _show(self._pruned, pair.pruned, pair.title)


def _show(label: QLabel, text: str, title: str) -> None:
    label.setText(text.strip() or _ELLIPSIS)
    label.setAccessibleName(title)
