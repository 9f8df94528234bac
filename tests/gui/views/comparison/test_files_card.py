"""Tables of the comparison show their titles whole."""

import pytest

from surgeon_gui.views.comparison.files_card import FilesCard
from tests.helpers.windows import wait_until


@pytest.fixture
def card(qtbot):
    card = FilesCard()
    qtbot.addWidget(card)
    card.resize(460, 400)
    card.show()
    return card


def test_long_titles_wrap_and_the_header_is_as_high_as_they_are(card):
    short = (("", "A", "B"), ("KL", "0.1", "0.2"))
    card.show_table(short)
    table = card._table
    line = table.horizontalHeader().height()
    long = "Bundled demo, 30 %, First-order gates"
    card.show_table((("", long, long), *short[1:]))
    header = table.horizontalHeader()
    lines = header.fontMetrics().horizontalAdvance(long) / header.sectionSize(1)
    assert lines > 1
    assert header.height() >= line + header.fontMetrics().lineSpacing()
    row = table.rowViewportPosition(0) + table.rowHeight(0)
    assert table.viewport().height() >= row
    item = table.horizontalHeaderItem(1)
    assert table.model().headerData(1, header.orientation()) == item.text() == long


def test_row_is_high_enough_for_a_text_that_does_not_fit_beside_its_padding(card):
    card.show_table((("", "A"), ("Memory", "0.1")))
    table = card._table
    line, metrics = table.rowHeight(0), table.fontMetrics()
    text = "15.5 MB with"
    while metrics.horizontalAdvance(text) <= table.columnWidth(1) - 14:
        text += "i"
    card.show_table((("", "A"), ("Memory", text)))
    assert metrics.horizontalAdvance(text) <= table.columnWidth(1)
    assert table.rowHeight(0) >= 2 * metrics.height()
    card.show_table((("", "A"), ("Memory", "0.1")))
    assert table.rowHeight(0) == line


def test_names_have_the_width_that_they_need(card):
    name = "SmolLM2-135M-Instruct, 50 %"
    card.show_table((("File", *"ABCDEF"), (name, *"123456")))
    table = card._table
    advance = table.fontMetrics().horizontalAdvance
    assert advance(name) < table.columnWidth(0) < advance(name) + 30
    line = table.rowHeight(0)
    assert table.horizontalScrollBar().maximum() > 0
    bottom = table.rowViewportPosition(0) + line
    assert table.viewport().height() >= bottom  # the bar covers no row
    card.show_table((("File", *"ABCDEF"), (name * 9, *"123456")))
    assert table.columnWidth(0) < table.width()  # long names wrap
    assert table.rowHeight(0) > line


def test_header_has_the_height_of_its_titles_after_each_resize(qtbot, card):
    card.resize(1150, 400)
    titles = ("Bundled demo, original", *(f"SmolLM2-135M · {n} MB" for n in (22, 16)))
    name = "Same top token, text by the model itself"
    card.show_table((("", *titles), (name, *"123")))
    table = card._table
    header, heights = table.horizontalHeader(), []
    for width in (1150, 560, 1150):
        card.resize(width, 400)
        # It is fitted after all other events, which may take any time.
        wait_until(qtbot, lambda: not card._fitting.isActive())
        heights.append(header.height())
        assert header.height() == card._height_of_titles()
        assert table.horizontalScrollBar().maximum() == 0  # labels wrap instead
        bottom = table.rowViewportPosition(0) + table.rowHeight(0)
        assert table.viewport().height() >= bottom
    assert heights[0] == heights[2] < heights[1]
