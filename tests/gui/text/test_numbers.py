"""Numbers follow the language of the window, in texts as in input boxes."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QLocale

from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH, LANGUAGES
from surgeon_gui.text import numbers


@pytest.fixture
def german():
    translation.use("de")
    yield
    translation.use(ENGLISH)


@pytest.mark.parametrize("language", LANGUAGES)
def test_localize_uses_the_signs_of_input_boxes(language):
    locale = QLocale(language)
    try:
        translation.use(language)
        assert numbers.localize("1,234.5") == locale.toString(1234.5, "f", 1)
    finally:
        translation.use(ENGLISH)


def test_english_numbers():
    assert numbers.localize("1,234.5") == "1,234.5"
    assert numbers.whole(2**53 + 1) == "9,007,199,254,740,993"
    assert numbers.count(2_812_345) == "2.81\xa0M"
    assert numbers.count(950) == "950"
    assert numbers.percent(0.3) == "30\xa0%"
    assert numbers.percent(-0.271, signed=True) == "\N{MINUS SIGN}27.1\xa0%"
    assert numbers.perplexity(14.2) == "14.20"
    assert numbers.perplexity(12345.6) == "12,346"
    assert numbers.rate(1234.4) == "1,234"
    assert numbers.two_figures(0.0012345) == "0.0012"
    assert numbers.times(1.2345) == "\N{MULTIPLICATION SIGN}1.23"
    assert numbers.scientific(0) == "0"
    assert numbers.scientific(3.14e-6) == "3.1e-06"
    assert numbers.duration(185) == "3\xa0min 05\xa0s"
    assert numbers.rough_duration(7) == "5\xa0s"
    assert numbers.clock(3723) == "1:02:03"


@pytest.mark.usefixtures("german")
def test_german_numbers():
    assert numbers.localize("1,234.5") == "1.234,5"
    assert numbers.whole(1234567) == "1.234.567"
    assert numbers.count(2_812_345) == "2,81\xa0M"
    assert numbers.percent(0.125) == "12,5\xa0%"
    assert numbers.size(5_700_000) == "5,7\xa0MB"
    assert numbers.megabytes(4_197_658) == "4,197658\xa0MB"
    assert numbers.duration(9.5) == "9,5\xa0s"
    assert numbers.significant(0.00314, 3) == "0,00314"
    assert numbers.fixed(1234.5, 1) == "1.234,5"
