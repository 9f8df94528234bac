"""Render a report as PDF with Qt's text engine.

The page is laid out in CSS pixels, 96 to the inch, and painted enlarged, so lengths
mean the same as in a browser. May be called in any thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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
    QTextTable,
)

from surgeon_gui.base.colors import LIGHT
from surgeon_gui.base.translation import tr

_MARGIN = 14  # millimetres
_RESOLUTION = 300  # dots per inch
_CSS_RESOLUTION = 96
_FOOTER = 26  # pixels
_MIN_BELOW = 90  # pixels of the page that a heading needs below it
_MIN_ROWS = 3  # smaller tables may end with a lone row


def html_to_pdf(html: str, title: str) -> bytes:
    """Return `html` as a PDF file with A4 pages and `title` in the footers."""
    _loop = QEventLoop()  # the document starts timers, which need a loop in each thread
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = _writer(buffer, title)
    scale = _RESOLUTION / _CSS_RESOLUTION
    page = QSizeF(writer.width() / scale, writer.height() / scale - _FOOTER)
    document = paginated_document(html, page)
    pages = document.pageCount()
    painter = QPainter(writer)
    painter.scale(scale, scale)
    for number in range(pages):
        if number:
            writer.newPage()
        _paint_page(painter, document, page, number)
        area = QRectF(0, page.height(), page.width(), _FOOTER)
        footer = tr("{title}, page {n} of {pages}").format(
            title=title, n=number + 1, pages=pages
        )
        _paint_footer(painter, area, footer)
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
    portrait, unit = QPageLayout.Orientation.Portrait, QPageLayout.Unit.Millimeter
    writer.setPageLayout(QPageLayout(size, portrait, margins, unit))
    return writer


def paginated_document(html: str, page: QSizeF) -> QTextDocument:
    """Lay out `html` on pages: headings stay with their content, rows with others."""
    moved: set[int] = set()
    lowered: dict[int, float] = {}
    while True:
        # Built anew each time: Qt loses paragraphs when page breaks change later.
        document = _document(html, page, moved, lowered)
        orphan = _orphaned_heading(document, page)
        if orphan is not None and orphan not in moved:
            moved.add(orphan)
            continue
        table, room = _table_with_lone_row(document, page)
        if table is None or table in lowered:
            return document
        lowered[table] = room


def _orphaned_heading(document: QTextDocument, page: QSizeF) -> int | None:
    """Return the block number of the first heading parted from its content, or None."""
    layout, height = document.documentLayout(), page.height()
    block = document.begin()
    while block.isValid():
        following = block.next()
        if block.blockFormat().headingLevel() and following.isValid():
            bottom = layout.blockBoundingRect(block).bottom()
            content_top = layout.blockBoundingRect(following).top()
            # A line that does not fit moves to the next page within its block.
            content_top += following.layout().lineAt(0).y()
            is_low = math.fmod(bottom, height) > height - _MIN_BELOW
            if is_low or content_top // height > bottom // height:
                return block.blockNumber()
        block = following
    return None


def _table_with_lone_row(
    document: QTextDocument, page: QSizeF
) -> tuple[int | None, float]:
    """Return the first table whose last row is alone on a page, and the row's height.

    Lowered by that height, the table takes the row before along.
    """
    box = document.documentLayout().blockBoundingRect
    for number, table in enumerate(_tables(document)):
        if table.rows() < _MIN_ROWS:
            continue
        last, before = (
            box(table.cellAt(table.rows() - each, 0).firstCursorPosition().block())
            for each in (1, 2)
        )
        if last.top() // page.height() > before.top() // page.height():
            cells = (table.cellAt(table.rows() - 1, x) for x in range(table.columns()))
            ends = (box(cell.lastCursorPosition().block()).bottom() for cell in cells)
            padding = 2 * table.format().cellPadding()
            return number, max(ends) - last.top() + padding
    return None, 0.0


def _tables(document: QTextDocument) -> list[QTextTable]:
    frames = document.rootFrame().childFrames()
    return [frame for frame in frames if isinstance(frame, QTextTable)]


def _document(
    html: str, page: QSizeF, moved: set[int], lowered: Mapping[int, float]
) -> QTextDocument:
    """Lay out `html`.

    The blocks with the numbers in `moved` start a page. The tables with the numbers in
    `lowered` get so much room above them.
    """
    document = QTextDocument()
    font = QFont("DejaVu Sans")
    font.setPixelSize(12)
    document.setDefaultFont(font)
    document.setDocumentMargin(0)
    document.setHtml(html)
    for number in moved:
        block = document.findBlockByNumber(number)
        block_format = block.blockFormat()
        page_break = QTextFormat.PageBreakFlag.PageBreak_AlwaysBefore
        block_format.setPageBreakPolicy(page_break)
        QTextCursor(block).setBlockFormat(block_format)
    tables = _tables(document)
    for number, room in lowered.items():
        table_format = tables[number].format()
        table_format.setTopMargin(table_format.topMargin() + room)
        tables[number].setFormat(table_format)
    document.setPageSize(page)
    return document


def _paint_page(
    painter: QPainter, document: QTextDocument, page: QSizeF, number: int
) -> None:
    top = number * page.height()
    painter.save()
    painter.translate(0, -top)
    # One pixel less than the page, which would touch the first line of the next.
    document.drawContents(painter, QRectF(0, top, page.width(), page.height() - 1))
    painter.restore()


def _paint_footer(painter: QPainter, area: QRectF, text: str) -> None:
    font = QFont("DejaVu Sans")
    font.setPixelSize(10)
    painter.setFont(font)
    painter.setPen(QColor(LIGHT.muted))
    align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom
    painter.drawText(area, align, text)
