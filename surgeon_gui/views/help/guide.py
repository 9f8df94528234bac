"""The guide, shown in a window with its pictures."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import (
    QDesktopServices,
    QImage,
    QTextBlock,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import QTextBrowser, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import button, described
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import answer_row, vertical

_SIZE = (860, 720)
_PICTURE_WIDTH = 780


def guide_path() -> Path | None:
    """Return the guide of the installed package or of the source; None: no guide."""
    resources = Path(str(files("surgeon_resources"))).resolve()
    installed = resources / "guide" / "guide.md"
    source = resources.parent / "docs" / "guide.md"
    found = (installed, source) if resources.name == "resources" else (installed,)
    return next((path for path in found if path.is_file()), None)


class GuideDialog(Dialog):
    """Shows the guide; links lead to its chapters."""

    def __init__(self, guide: Path, parent: QWidget) -> None:
        super().__init__("guide_dialog", CAPTIONS["guide_text"].label, parent, _SIZE)
        self._text = described(_GuideText(guide), "guide_text")
        close = button("guide_close_button", self.accept)
        vertical(self, (self._text, 1), answer_row(close), margin=MARGIN)


class _GuideText(QTextBrowser):
    """A Markdown file with its pictures, as wide as the window shows them."""

    def __init__(self, guide: Path) -> None:
        super().__init__()
        self._folder = guide.parent
        self.setOpenLinks(False)
        self.anchorClicked.connect(self._on_anchor_clicked)
        self.document().setMarkdown(guide.read_text(encoding="utf-8"))
        # The inserted text has moved the cursor to its end, and showing scrolls there.
        self.moveCursor(QTextCursor.MoveOperation.Start)

    @override
    def loadResource(self, kind: int, name: QUrl | str) -> Any:
        if kind == QTextDocument.ResourceType.ImageResource.value:
            path = QUrl(name).toString() if isinstance(name, str) else name.toString()
            image = QImage(str(self._folder / path))
            if image.width() > _PICTURE_WIDTH:
                smooth = Qt.TransformationMode.SmoothTransformation
                return image.scaledToWidth(_PICTURE_WIDTH, smooth)
            return image
        return super().loadResource(kind, name)

    @Slot(QUrl)
    def _on_anchor_clicked(self, link: QUrl) -> None:
        """Go to a chapter of the guide, or open a page of the web."""
        if link.scheme() in ("http", "https"):
            QDesktopServices.openUrl(link)
            return
        block = self.document().begin()
        while block.isValid():
            is_heading = block.blockFormat().headingLevel() > 0
            if is_heading and anchor(block.text()) == link.fragment():
                self._open_at(block)
                return
            block = block.next()

    def _open_at(self, block: QTextBlock) -> None:
        """Scroll to a block, which becomes the first line that is shown."""
        self.setTextCursor(QTextCursor(block))
        top = self.document().documentLayout().blockBoundingRect(block).top()
        self.verticalScrollBar().setValue(int(top))


def anchor(heading: str) -> str:
    """Return the anchor that Markdown gives to a heading."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
