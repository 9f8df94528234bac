"""Threads sleep while other programs take the cores, and the result stays the same."""

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from surgeon_engine.runtime import pacing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def idle(monkeypatch):
    """Count the idle threads instead of starting OpenMP's."""
    started = []
    monkeypatch.setattr(pacing, "_INTERVAL_S", 0.001)

    def join(end):
        started.append(threading.current_thread())
        end.wait()

    monkeypatch.setattr(pacing, "_wait_idle", join)
    return started


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_idle_threads_start_while_cores_are_scarce(two_threads, idle, monkeypatch):
    waited = itertools.count()  # a second in each interval
    monkeypatch.setattr(pacing, "_seconds_waited", lambda: float(next(waited)))
    with pacing.steady_pace():
        wait_until(lambda: idle)
    wait_until(lambda: not any(each.is_alive() for each in idle))


def test_idle_threads_stop_once_cores_are_free(two_threads, idle, monkeypatch):
    waited = itertools.chain([0.0, 1.0], itertools.repeat(1.0))
    monkeypatch.setattr(pacing, "_seconds_waited", lambda: next(waited))
    with pacing.steady_pace():
        wait_until(lambda: idle and not any(each.is_alive() for each in idle))


def test_no_idle_thread_starts_on_free_cores(two_threads, idle, monkeypatch):
    calls = itertools.count()
    monkeypatch.setattr(pacing, "_seconds_waited", lambda: next(calls) * 0.0)
    with pacing.steady_pace():
        wait_until(lambda: next(calls) > 20)
    assert not idle


def test_idle_threads_make_more_threads_than_cores(two_threads):
    extra, cores = pacing._IdleThreads(), len(os.sched_getaffinity(0))
    before = threading.active_count()
    extra.start()
    extra.start()  # the same
    # Each idle thread adds one thread of OpenMP's to the two of this thread.
    assert threading.active_count() - before + 2 > cores
    extra.stop()
    wait_until(lambda: threading.active_count() == before)


def test_results_are_the_same_bit_for_bit(two_threads):
    a, b = torch.randn(64, 512), torch.randn(512, 512)
    expected, extra = (a @ b, a.sum()), pacing._IdleThreads()
    extra.start()
    assert torch.equal(a @ b, expected[0]) and torch.equal(a.sum(), expected[1])
    extra.stop()


def test_waiting_for_a_core_is_counted():
    """A busy program on the core of this thread makes it wait."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # this thread and its child processes
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = pacing._seconds_waited()
        wait_until(lambda: pacing._seconds_waited() > before + 0.02)
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "")],
)
def test_spinning_is_short_unless_the_user_has_chosen(given, expected):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    program = "import os, surgeon_engine; print(os.environ.get('GOMP_SPINCOUNT', ''))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
