"""A report as PDF, by Qt's own text engine.

The page is laid out in CSS pixels, of which there are 96 to the inch, and painted
enlarged: so lengths mean the same as in a browser. A heading that would be the last
thing on its page goes to the next. May be called in any thread.
"""

from __future__ import annotations

import math

from PySide6.QtCore import QBuffer, QEventLoop, QIODevice, QMarginsF, QRectF, QSizeF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QPageLayout,
    QPageSize,
    QPainter,
    QPdfWriter,
    QTextCursor,
    QTextDocument,
    QTextFormat,
)

from surgeon_gui.base.colours import LIGHT
from surgeon_gui.base.translation import tr

_MARGIN = 14  # millimetres
_RESOLUTION = 300  # dots per inch
_CSS_RESOLUTION = 96
_FOOTER = 26  # pixels
_MIN_BELOW = 90  # pixels of the page that a heading has to have below it


def pdf_of(html: str, title: str) -> bytes:
    """The pages that `html` comes to, on A4."""
    _loop = QEventLoop()  # a document starts timers, also in a thread without any
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = _writer(buffer, title)
    scale = _RESOLUTION / _CSS_RESOLUTION
    whole = QSizeF(writer.width() / scale, writer.height() / scale)
    page = QSizeF(whole.width(), whole.height() - _FOOTER)
    document = _paged(html, page)
    pages = document.pageCount()
    painter = QPainter(writer)
    painter.scale(scale, scale)
    for number in range(pages):
        if number:
            writer.newPage()
        _paint_page(painter, document, page, number)
        footer = QRectF(0, page.height(), page.width(), _FOOTER)
        words = tr("{title}, page {n} of {pages}").format(
            title=title, n=number + 1, pages=pages
        )
        _paint_footer(painter, footer, words)
    painter.end()
    buffer.close()
    return bytes(buffer.data().data())


def _writer(buffer: QBuffer, title: str) -> QPdfWriter:
    writer = QPdfWriter(buffer)
    writer.setTitle(title)
    writer.setCreator("Surgeon")
    writer.setResolution(_RESOLUTION)
    size = QPageSize(QPageSize.PageSizeId.A4)
    margins = QMarginsF(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
    upright, unit = QPageLayout.Orientation.Portrait, QPageLayout.Unit.Millimeter
    writer.setPageLayout(QPageLayout(size, upright, margins, unit))
    return writer


def _paged(html: str, page: QSizeF) -> QTextDocument:
    """The document with no heading at the foot of a page."""
    moved: set[int] = set()
    while True:
        # Made anew each time: Qt loses paragraphs when pages change under it.
        document = _document(html, page, moved)
        lonely = _lonely_heading(document, page)
        if lonely in moved or lonely is None:
            return document
        moved.add(lonely)


def _lonely_heading(document: QTextDocument, page: QSizeF) -> int | None:
    """The number of the first block that is one; None: there is none."""
    lowest = page.height() - _MIN_BELOW
    block = document.begin()
    while block.isValid():
        if block.blockFormat().headingLevel():
            box = document.documentLayout().blockBoundingRect(block)
            if math.fmod(box.bottom(), page.height()) > lowest:
                return block.blockNumber()
        block = block.next()
    return None


def _document(html: str, page: QSizeF, moved: set[int]) -> QTextDocument:
    document = QTextDocument()
    font = QFont("DejaVu Sans")
    font.setPixelSize(12)
    document.setDefaultFont(font)
    document.setDocumentMargin(0)
    document.setHtml(html)
    for number in moved:
        block = document.findBlockByNumber(number)
        form = block.blockFormat()
        form.setPageBreakPolicy(QTextFormat.PageBreakFlag.PageBreak_AlwaysBefore)
        QTextCursor(block).setBlockFormat(form)
    document.setPageSize(page)
    return document


def _paint_page(
    painter: QPainter, document: QTextDocument, page: QSizeF, number: int
) -> None:
    top, high = number * page.height(), page.height() - 1  # not the edge of the next
    part = QRectF(0, top, page.width(), high)
    painter.save()
    painter.translate(0, -part.top())
    document.drawContents(painter, part)
    painter.restore()


def _paint_footer(painter: QPainter, place: QRectF, words: str) -> None:
    font = QFont("DejaVu Sans")
    font.setPixelSize(10)
    painter.setFont(font)
    painter.setPen(QColor(LIGHT.muted))
    bottom = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom
    painter.drawText(place, bottom, words)
