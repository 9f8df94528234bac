"""Readers that crash, hang or exhaust the memory end in a sentence, in a process."""

import mmap
import multiprocessing
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch

from surgeon_engine.base.errors import CalibrationError, ModelError
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.fence import Blame
from surgeon_engine.runtime.fence_process import limit_memory

pytestmark = pytest.mark.waits

BLAME = Blame(ModelError, "The file a", "Choose another one.", seconds=0.3)
HERE = "tests.helpers.foreign_readers"


REASONS = {
    "raise": "cannot be read: '>' not supported.",
    "panic": "cannot be read: no entry found.",
    "abort": "crashed (signal 6",
    "kill": "was killed",
    "hang": "takes more than 0.3 seconds",
    "memory": "of memory",
}


def misbehavior(kind):
    with pytest.raises(ModelError) as error:
        fence.call(f"{HERE}:misbehave", (kind,), type(None), BLAME)
    assert error.value.message.startswith("The file a cannot be read: ")
    assert error.value.hint.endswith(BLAME.hint)
    assert (error.value.hint != BLAME.hint) is error.value.is_timeout
    assert error.value.is_timeout is (kind == "hang")
    return error.value.message


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_every_failure_of_a_process_ends_in_a_sentence(
    fenced, tmp_path, capfd, monkeypatch
):
    """One test for all, because a process takes a while to start."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    arguments, kind = (tmp_path / "b",), tuple[str, int]
    name, process = fence.call(f"{HERE}:parts", arguments, kind, BLAME)
    assert (name, process == os.getpid()) == ("b", False)
    assert fence.call(f"{HERE}:slow", (), int, BLAME) == 7
    with pytest.raises(CalibrationError, match="It is short"):
        fence.call(f"{HERE}:misbehave", ("refuse",), type(None), BLAME)
    fence.call(f"{HERE}:misbehave", ("print",), type(None), BLAME)
    assert fence.call(f"{HERE}:parts", arguments, kind, BLAME)[1] == process
    for each, reason in REASONS.items():
        assert reason in misbehavior(each)
    assert fence.call(f"{HERE}:slow", (), int, BLAME) == 7  # by another process
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "worked", "longest"),
    [
        ("sleeping", 0, 15),
        ("running", 2, 60),
        ("disk-sleep", 0, 60),
        ("running", 11, 10),
    ],
)
def test_process_may_wait_longer_for_others_than_it_may_sleep(
    monkeypatch, status, worked, longest
):
    now, used = [0.0], [0.0]
    times = lambda: SimpleNamespace(user=used[0], system=0.0)  # noqa: E731
    process = SimpleNamespace(cpu_times=times, status=lambda: status)
    monkeypatch.setattr(fence.psutil, "Process", lambda _: process)
    monkeypatch.setattr(fence.time, "monotonic", lambda: now[0])
    clock = fence._Clock(1, 10.0)
    used[0] = worked
    now[0] = longest - 0.1
    assert not clock.is_over
    now[0] = longest + 0.1
    assert clock.is_over


def allocate_in_limits():
    taken = mmap.mmap(-1, 2 << 30)  # not written: it counts, and costs nothing
    limit_memory(1 << 30)
    assert bytearray(1 << 20)
    with pytest.raises(MemoryError):
        bytearray(2 << 30)
    taken.close()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_limit_of_memory_counts_from_what_is_used():
    """A refused allocation changes how a process takes memory: this one keeps its."""
    process = multiprocessing.get_context("fork").Process(target=allocate_in_limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads wait
        process.start()
    process.join()
    assert process.exitcode == 0


def test_pace_stops_what_is_too_slow(monkeypatch):
    clock = iter([0.0, 1.0, 20.0, 21.0])
    monkeypatch.setattr(fence.time, "monotonic", lambda: next(clock))
    rate = fence.MinimumRate(100, "characters")
    rate.count(10)  # slow, but just begun
    rate.count(2_000)
    with pytest.raises(TimeoutError, match="2,011 characters took 21 seconds"):
        rate.count(1)


def test_pace_leaves_out_the_time_of_other_work(monkeypatch):
    now = 0.0
    monkeypatch.setattr(fence.time, "monotonic", lambda: now)
    rate = fence.MinimumRate(100, "characters")
    now = 60.0  # a file was read meanwhile
    rate.leave_out()
    now = 61.0
    rate.count(5)


def test_reason_of_a_library_is_one_short_line():
    assert fence.describe(ValueError("\x1b[1mbad\nmore")) == "[1mbad"
    assert fence.describe(KeyError()) == "KeyError"
    assert len(fence.describe(ValueError("x" * 9_999))) == 300
    assert "memory" in fence.describe(MemoryError())


@pytest.mark.parametrize("shape", [(2, 3), (0, 16)])
def test_tokens_are_the_same_in_another_process(shape):
    tokens = torch.randint(0, 2**31 - 1, shape)
    sent = msgspec.json.encode(tokens, enc_hook=fence.to_plain)
    decoder = msgspec.json.Decoder(torch.Tensor, dec_hook=fence.from_plain)
    assert torch.equal(decoder.decode(sent), tokens)
