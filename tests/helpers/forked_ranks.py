"""Two processes that share work, forked from the test so that torch is loaded once."""

import multiprocessing
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from surgeon_engine.runtime import ranks
from tests.helpers.loopback_ssh import free_port

_TIMEOUT_S = 120


def run_ranks(work: Callable[[int], Any], size: int = 2) -> list[Any]:
    """Return what `work` returns, or raises, in each of `size` processes.

    It is called with the number of its process.
    """
    context = multiprocessing.get_context("fork")
    port, pipes, processes = free_port(), [], []
    for rank in range(size):
        here, there = context.Pipe()
        arguments = (work, rank, size, port, there)
        process = context.Process(target=_work, args=arguments, daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads wait
            process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        return [_received(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(pipe: Connection) -> Any:
    """Return the result of a process; None if it has ended without one."""
    assert pipe.poll(_TIMEOUT_S), "The processes wait for each other."
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return None


def _work(work: Callable[[int], Any], rank: int, size: int, port: int, pipe) -> None:
    torch.set_num_threads(1)  # the threads of the parent are not there
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    try:
        ranks.begin(uses_gpu=False)
        with ranks.together():
            result = work(rank)
        ranks.end()
    except Exception as error:  # noqa: BLE001  the test judges it
        traceback.print_exc()
        result = error
    pipe.send_bytes(pickle.dumps(result))
    pipe.close()
