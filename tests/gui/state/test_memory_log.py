"""A log of memory is a value, however much longer ones are made of it."""

from __future__ import annotations

from surgeon_engine.api.messages.run import MemorySampled
from surgeon_gui.state.memory_log import MemoryLog


def of(*numbers):
    log = MemoryLog()
    for number in numbers:
        log = log.plus(number, MemorySampled(10 * number, 100 * number, 1000))
    return log


def test_it_holds_what_was_added_in_order():
    log = of(1, 2, 3)
    assert len(log) == 3
    assert list(log.seconds) == [1, 2, 3]
    assert list(log.process_bytes) == [10, 20, 30]
    assert list(log.device_bytes) == [100, 200, 300]
    assert log.device_total == 1000


def test_bytes_are_held_exactly():
    many = 8_030_261_249_123
    assert MemoryLog().plus(1.0, MemorySampled(many)).process_bytes[0] == many


def test_a_longer_one_leaves_it_as_it_is():
    short = of(1, 2)
    long = short.plus(3.0, MemorySampled(30))
    assert list(short.seconds) == [1, 2]
    assert list(long.seconds) == [1, 2, 3]
    assert len(short) == 2


def test_two_that_begin_alike_may_go_on_differently():
    begin = of(1)
    one = begin.plus(2.0, MemorySampled(20))
    other = begin.plus(3.0, MemorySampled(30))
    assert list(one.seconds) == [1, 2]
    assert list(other.seconds) == [1, 3]


def test_equal_samples_make_equal_logs():
    assert of(1, 2) == of(1, 2)
    assert of(1, 2) != of(1, 3)
    assert of(1) != of(1, 2)
    assert of(1) != [1]
