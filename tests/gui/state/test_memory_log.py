"""A memory log is immutable, also if extended logs share its columns."""

from surgeon_engine.api.messages.run import MemorySampled
from surgeon_gui.state.memory_log import MemoryLog


def log_of(*numbers):
    log = MemoryLog()
    for number in numbers:
        log = log.plus(number, MemorySampled(10 * number, 100 * number, 1000))
    return log


def test_log_holds_bytes_exactly():
    many = 8_030_261_249_123
    assert MemoryLog().plus(1.0, MemorySampled(many)).process_bytes[0] == many


def test_extending_a_log_does_not_change_it():
    short = log_of(1, 2)
    long = short.plus(3.0, MemorySampled(30))
    assert list(short.seconds) == [1, 2]
    assert list(long.seconds) == [1, 2, 3]
    assert len(short) == 2


def test_logs_extended_from_the_same_log_are_independent():
    begin = log_of(1)
    one = begin.plus(2.0, MemorySampled(20))
    other = begin.plus(3.0, MemorySampled(30))
    assert list(one.seconds) == [1, 2]
    assert list(other.seconds) == [1, 3]


def test_logs_with_equal_samples_are_equal():
    assert log_of(1, 2) == log_of(1, 2)
    assert log_of(1, 2) != log_of(1, 3)
    assert log_of(1) != log_of(1, 2)
    assert log_of(1) != [1]
