"""Numbers follow the language of the window, in texts as in input boxes."""

import subprocess
import sys

import pytest
from PySide6.QtCore import QLocale

from surgeon_engine.api.config.fields import Limits
from surgeon_engine.api.messages.events import Envelope, Level, Logged
from surgeon_engine.base import formatting
from surgeon_engine.base.sentences import from_plain, reworded
from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH, LANGUAGES
from surgeon_gui.state import charts
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.widgets.forms.inputs import NumberInput


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


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("95 % of 2.3 GB", "95~% of 2.3~GB"),
        ("(18.2 %), in 5 min 10 s.", "(18.2~%), in 5~min 10~s."),
        ("30 MiB/s, 1.2 M", "30~MiB/s, 1.2~M"),
        ("1,5 kB; 0,2 nats", "1,5~kB; 0,2~nats"),
        ("3 shots of 5 heads, 2 steps, a % sign, 8 bits", ""),
    ],
)
def test_number_and_unit_stay_on_one_line(text, kept):
    expected = kept.replace("~", "\N{NO-BREAK SPACE}") or text
    assert numbers.keep_units(text) == numbers.keep_units(expected) == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.localize("1,234.5"), "1,234.5"),
        (numbers.whole(2**53 + 1), "9,007,199,254,740,993"),
        (numbers.count(950), "950"),
        (numbers.count(2_812_345), "2.81~M"),
        (numbers.count(8_030_261_248), "8.03~B"),
        (numbers.percent(0.3), "30~%"),
        (numbers.percent(0.3, decimals=0), "30~%"),
        (numbers.percent(0.62, zeros=True), "62.0~%"),
        (numbers.percent(0.25798, decimals=2), "25.8~%"),
        (numbers.percent(-0.271, signed=True), "\N{MINUS SIGN}27.1~%"),
        (numbers.perplexity(14.2), "14.20"),
        (numbers.perplexity(123_456.7), "123,457"),
        (numbers.rate(1234.4), "1,234"),
        (numbers.significant(0.0012345, 2), "0.0012"),
        (numbers.nats(0.03), "0.030"),
        (numbers.nats(0.5), "0.50"),
        (numbers.times(1.2345), "\N{MULTIPLICATION SIGN}1.23"),
        (numbers.scientific(0), "0"),
        (numbers.scientific(3.14e-6), "3.1e-06"),
        (numbers.size(5_700_000), "5.7~MB"),
        (numbers.size(91_720_000), "91.7~MB"),
        (numbers.size(4_203_840), "4.2~MB"),  # 74 % of 5.7 MB
        (numbers.needed_size(91_720_000), "91.8~MB"),
        (numbers.needed_size(999_960_000), "1.0~GB"),
        (numbers.free_size(91_770_000), "91.7~MB"),
        (numbers.free_size(999_960_000), "999.9~MB"),
        (numbers.size(999_960_000), "1.0~GB"),
        (numbers.chosen_size(3_720_000), "3.72~MB"),
        (numbers.chosen_size(400_000_000), "400~MB"),
        (numbers.duration(3.25), "3.2~s"),
        (numbers.duration(65), "1~min 05~s"),
        (numbers.duration(7505), "2~h 05~min"),
        (numbers.whole_duration(0.2), "1~s"),
        (numbers.readable_duration(75), "1~min 15~s"),
        (numbers.readable_duration(120), "2~min"),
        (numbers.readable_duration(3600), "1~h"),
        (numbers.readable_duration(3900), "1~h 05~min"),
        (numbers.rough_duration(7), "5~s"),
        (numbers.rough_duration(117), "115~s"),
        (numbers.rough_duration(118), "2~min"),
        (numbers.rough_duration(7169), "119~min"),
        (numbers.rough_duration(7171), "2~h"),
        (numbers.clock(3723), "1:02:03"),
        (numbers.tokens(1), "1 token"),
        (numbers.tokens(4096), "4,096 tokens"),
    ],
)
def test_english_numbers(shown, expected):
    assert shown == expected.replace("~", "\N{NO-BREAK SPACE}")


@pytest.mark.usefixtures("german")
def test_german_numbers():
    assert numbers.localize("1,234.5") == "1.234,5"
    assert numbers.whole(1234567) == "1.234.567"
    assert numbers.count(2_812_345) == "2,81\xa0M"
    assert numbers.percent(0.125) == "12,5\xa0%"
    assert numbers.size(5_700_000) == "5,7\xa0MB"
    assert numbers.duration(9.5) == "9,5\xa0s"
    assert numbers.significant(0.00314, 3) == "0,00314"
    assert numbers.fixed(1234.5, 1) == "1.234,5"


@pytest.fixture
def binary_units():
    formatting.use_binary_sizes(True)
    yield
    formatting.use_binary_sizes(False)


def test_sizes_are_shown_in_the_chosen_units(binary_units):
    assert numbers.size(3 * 2**20) == "3.0\xa0MiB"
    assert numbers.size(round(5.401 * 2**20)) == "5.4\xa0MiB"
    formatting.use_binary_sizes(False)
    assert numbers.size(3 * 10**6) == "3.0\xa0MB"


def test_engine_sentences_have_the_chosen_units(binary_units):
    plain = {
        "template": "{a:size} are needed, {b:room} are free.",
        "values": {"a": 3 << 20, "b": 5 << 30},
    }
    (line,) = log_lines([Envelope("", 0.0, Logged(Level.INFO, from_plain(plain)))])
    assert line.message == "3.0 MiB are needed, 5.00 GiB are free."
    formatting.use_binary_sizes(False)
    assert reworded(line.message) == "3.2 MB are needed, 5.36 GB are free."


def test_memory_chart_is_in_the_chosen_units(binary_units):
    assert charts.memory_line(RunState()).axis == "Memory (GiB)"


@pytest.mark.slow
def test_inputs_and_comparison_are_in_the_units_chosen_at_the_start():
    code = """
from surgeon_engine.base import formatting
formatting.use_binary_sizes(True)
from surgeon_gui.state.comparison import SIZE
from surgeon_gui.text.labels import FIELDS
file, shard = FIELDS["pruning.megabytes"], FIELDS["export.shard_gigabytes"]
assert (file.unit, shard.unit) == ("MiB", "GiB")
assert file.scale == 10**6 / 2**20
assert shard.scale == 10**9 / 2**30
assert SIZE == "Size of the file (MiB)"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_input_converts_between_the_job_file_and_the_chosen_unit(qtbot):
    text = FieldText("", "", "MiB", decimals=6, unit_bytes=2**20, stored_bytes=10**6)
    entry = NumberInput(Limits(1, 10_000), text)
    qtbot.addWidget(entry.widget)
    entry.show(104.8576)
    assert entry.widget.value() == 100
    entry.widget.setValue(200)
    assert entry.value == 209.7152
