"""The central area before a model is chosen: drop zone, samples, recent models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from PySide6.QtCore import QRectF, Qt, Slot
from PySide6.QtGui import QAction, QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN, RADIUS, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.sources.resolver import model_problem, resolve_model
from surgeon_gui.state.sources.samples import SMOLLM2
from surgeon_gui.state.sources.text import sample_label, sample_obstacle
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.captions.pages import MAX_RECENT_SHOWN
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Kind, sentence
from surgeon_gui.views.new.model_card import ModelCard
from surgeon_gui.widgets.controls import (
    AnyWidget,
    button,
    described,
    enable_unless,
    heading,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import STRETCH, add_parts, in_column, in_row
from surgeon_gui.widgets.tool_tips import plain_tip

_TITLE_SCALE = 1.5
_MIN_WIDTH, _WIDTH = 440, 620
_BUTTON_HEIGHT = 34
_REFUSED = (Kind.MODEL_MISSING, Kind.NO_HUB_NAME)  # a name may still be downloaded


class EmptyState(QWidget):
    """Ways to open a model. Files can be dropped anywhere on the window."""

    def __init__(self, model: ModelCard, actions: Mapping[str, QAction]) -> None:
        super().__init__()
        self._model, self._actions = model, actions
        model.sample_changed.connect(self.show_sample)
        self.setObjectName("empty_state")
        self._hub = described(QLineEdit(), "empty_hub_edit")
        self._hub.setPlaceholderText(tr("or a model name on the Hugging Face Hub"))
        self._hub.setAcceptDrops(False)
        self._hub.returnPressed.connect(self._on_hub_entered)
        self._problem = problem_label("empty_hub_problem")
        self._hub.textEdited.connect(self._problem.hide)
        self._recent_title = _centered(tr("Recent models"))
        self._recent = [
            button(f"empty_recent_button_{number + 1}", partial(self._choose, number))
            for number in range(MAX_RECENT_SHOWN)
        ]
        self._recent_sources: Sequence[str] = ()
        self._is_drag_over = False
        column = QWidget()
        column.setMinimumWidth(_MIN_WIDTH)
        column.setMaximumWidth(_WIDTH)
        content = QVBoxLayout(column)
        content.setSpacing(MARGIN)
        self._add_open_controls(content)
        add_parts(content, self._recent_title, self._recent_rows())
        content.addSpacing(2 * GAP)
        self._add_samples(content)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(column, _WIDTH)  # as wide as there is room
        row.addStretch(1)
        add_parts(QVBoxLayout(self), STRETCH, row, STRETCH)
        self.show_recent(())
        self.show_sample(False)
        self.show_computer("")

    def show_computer(self, computer: str) -> None:
        """Show where the files of a model must be; "" is this computer."""
        self._computer = computer
        kinds = tr("A folder with config.json and safetensors files, or a .gguf file.")
        if computer:
            self._title.setText(tr("Choose a language model"))
            place = tr("The engine is on {computer}; the model must be there, too.")
        else:
            self._title.setText(tr("Drop a language model here"))
            place = tr("Everything stays on this computer.")
        self._explanation.setText(f"{kinds} {place.format(computer=computer)}")

    @Slot(bool)
    def show_sample(self, is_busy: bool) -> None:
        """Show what a click on the sample does; it may be downloading."""
        usual = CAPTIONS["empty_sample_button"].label
        label = sample_label(usual, is_busy=is_busy)
        self._sample.setText(label)
        self._sample.setAccessibleName(label)
        enable_unless(self._sample, sample_obstacle(is_busy=is_busy))

    def show_recent(self, sources: Sequence[str]) -> None:
        """Show buttons for the recently opened models, at most `MAX_RECENT_SHOWN`."""
        self._recent_sources = tuple(sources[:MAX_RECENT_SHOWN])
        self._recent_title.setVisible(bool(sources))
        for index, recent in enumerate(self._recent):
            is_used = index < len(self._recent_sources)
            recent.setVisible(is_used)
            if is_used:
                _label(recent, self._recent_sources[index])

    def show_drag(self, *, is_over: bool) -> None:
        """Show whether files are dragged over the window."""
        self._is_drag_over = is_over
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = theme.accent if self._is_drag_over else theme.border
        width = 3.0 if self._is_drag_over else 1.5
        painter.setPen(QPen(QColor(color), width, Qt.PenStyle.DashLine))
        painter.setBrush(QColor(theme.surface))
        edge = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter.drawRoundedRect(edge, RADIUS, RADIUS)

    @Slot()
    def _on_hub_entered(self) -> None:
        typed = self._hub.text().strip()
        problem = None if self._computer else model_problem(resolve_model(typed))
        if typed and problem is not None and problem.kind in _REFUSED:
            show_text(self._problem, sentence(problem))
        elif typed:
            self._problem.hide()
            self._model.choose(typed)

    def _choose(self, number: int, _: bool = False) -> None:
        self._model.choose(self._recent_sources[number])

    def _add_open_controls(self, content: QVBoxLayout) -> None:
        self._title = heading("", _TITLE_SCALE)
        self._title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._explanation = _centered()
        self._explanation.setObjectName("empty_explanation_label")
        openers = {
            "empty_folder_button": self._actions["open_folder_action"],
            "empty_gguf_button": self._actions["open_gguf_action"],
        }
        made = [_tall(button(name, each.trigger)) for name, each in openers.items()]
        look_up = _tall(button("empty_hub_button", self._on_hub_entered))
        hub_row = in_row((_tall(self._hub), 1), look_up)
        add_parts(content, self._title, self._explanation)
        add_parts(content, _centered_row(*made), hub_row, self._problem)

    def _add_samples(self, content: QVBoxLayout) -> None:
        use_demo = self._actions["use_demo_action"].trigger
        demo = _tall(button("empty_demo_button", use_demo, primary=True))
        self._sample = _tall(button("empty_sample_button", self._model.use_sample))
        about = tr(
            "No model yet? Pruning the demo takes a minute or two. {sample} is a real "
            "pretrained model and takes longer."
        ).format(sample=SMOLLM2)
        add_parts(content, _centered(about), _centered_row(demo, self._sample))

    def _recent_rows(self) -> QVBoxLayout:
        """Return rows of two buttons."""
        rows = in_column()
        for index in range(0, MAX_RECENT_SHOWN, 2):
            rows.addLayout(_centered_row(*self._recent[index : index + 2]))
        return rows


def _label(recent: QPushButton, source: str) -> None:
    """Show the elided name of a model on its button and its path in the tooltip."""
    name = source_name(source)
    width = _WIDTH // 2 - 6 * GAP
    elided = recent.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, width)
    recent.setText(elided.replace("&", "&&"))
    recent.setToolTip(plain_tip(source))
    recent.setAccessibleName(name)


def _tall(widget: AnyWidget) -> AnyWidget:
    widget.setMinimumHeight(_BUTTON_HEIGHT)
    return widget


def _centered(text: str = "") -> QLabel:
    label = text_label(text, quiet=True)
    label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    return label


def _centered_row(*widgets: QWidget) -> QHBoxLayout:
    return in_row(STRETCH, *widgets, STRETCH)
