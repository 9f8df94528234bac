"""Ranks divide work and put the results together; if one fails, all fail."""

import importlib
import os
import sys

import pytest
import torch
from torch import Tensor

from surgeon_engine.base.errors import ConfigError, CurvatureError
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.failures import RankLost
from surgeon_engine.runtime.shares import Batches, add_sums, divided, owns
from tests.helpers.forked_ranks import run_ranks

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork")
ROWS = torch.arange(15.0).view(5, 3)
BATCHES = Batches(ROWS, 2)


def test_one_process_computes_everything_itself():
    assert (ranks.size(), ranks.is_first(), owns(7)) == (1, True, True)
    assert [len(x) for x in BATCHES] == [2, 2, 1]
    assert torch.equal(BATCHES.joined([*BATCHES]), ROWS)
    assert (len(Batches(ROWS[:0], 2)), [*Batches(ROWS[:0], 2)]) == (0, [])
    assert list(divided("ab", ord, str.upper)) == [("a", "A"), ("b", "B")]
    with pytest.raises(ValueError, match="made up"), ranks.together():
        raise ValueError("made up")


def test_group_is_not_kept_by_a_module_that_is_loaded_later(monkeypatch):
    # Its threads would be there when Python ends, and abort the process.
    for name in ("torch.distributed.nn", "torch.distributed.nn.functional"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def work(rank):
        functions = importlib.import_module("torch.distributed.nn.functional")
        return functions.broadcast.__defaults__

    assert run_ranks(work) == [(None,), (None,)]


@pytest.mark.slow
def test_shares_are_put_together():
    def work(rank):
        total = torch.full((2, 2), float(rank + 1)).T[:, :1]
        ranks.add([total])
        nested = {"W": ROWS.bfloat16() if rank else None, "rank": rank}
        sent = ranks.passed_on(nested, 1)
        done = list(divided(range(5), int, lambda n: (n, rank, ROWS[n] > 4)))
        one = Batches(ROWS[:1], 2)
        sums = {} if rank else {"of the first": ROWS.clone()}
        add_sums(sums, ROWS.device)
        chosen, rows = BATCHES.share_of([3, 1], [*BATCHES])
        assert torch.equal(chosen, torch.stack(rows))
        assert torch.equal(sums["of the first"], ROWS)
        return (
            BATCHES.joined([*BATCHES]),
            one.joined([*one]),
            total,
            (sent["rank"], sent["W"].dtype, sent["W"].float()),
            [(n, owner) for _, (n, owner, _) in done],
            torch.stack([mask for _, (*_, mask) in done]),
            ranks.agree(lambda: rank + 10),
            (ranks.agreed(rank + 0.5), ranks.added(rank + 0.5)),
            (next(iter(BATCHES)), chosen, BATCHES.places_of(range(5))),
        )

    for rank, found in enumerate(run_ranks(work)):
        joined, one, total, sent, owners, masks, agreed, numbers, own = found
        assert torch.equal(joined, ROWS)
        assert torch.equal(one, ROWS[:1])
        assert torch.equal(total, torch.full((2, 1), 3.0))
        assert sent[:2] == (1, torch.bfloat16)
        assert torch.equal(sent[2], ROWS)
        assert owners == [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]
        assert torch.equal(masks, ROWS > 4)
        assert agreed == 10
        assert numbers == (0.5, 2.0)
        first, chosen, places = own
        assert torch.equal(first, ROWS[rank::2][:2])
        assert torch.equal(chosen, ROWS[[3, 1]][rank::2])
        assert places == ([(0, 0), (0, 1)] if rank else [(0, 0), (0, 1), (1, 0)])


def test_failure_of_one_is_raised_on_all_and_the_work_goes_on():
    def work(rank):
        caught = []
        for error in (CurvatureError("Made up.", "Hint."), MemoryError("full")):
            try:
                with ranks.together():
                    if rank == 1:
                        raise error
                    ranks.add([torch.ones(1)])
            except (CurvatureError, MemoryError) as found:
                caught.append((type(found), str(found), getattr(found, "hint", "")))
        with ranks.alone():
            assert ranks.size() == 1
            assert ranks.started() == 2
        return caught, ranks.added(1.0)

    failures = [(CurvatureError, "Made up.", "Hint."), (MemoryError, "full", "")]
    assert run_ranks(work) == [(failures, 2.0)] * 2


def test_too_little_memory_for_an_exchange_is_raised_on_all():
    empty = torch.empty

    def full(*_):
        raise MemoryError("full")

    def full_for_rows(*sizes, **options):
        return full() if sizes == (ROWS.shape,) else empty(*sizes, **options)

    def work(rank):
        columns = ROWS.T  # not contiguous: a copy is sent
        caught = []
        for owner, name, failing, exchange in (
            (Tensor, "new_zeros", full, lambda: BATCHES.joined([*BATCHES])),
            (Tensor, "contiguous", full, lambda: ranks.add([columns])),
            (torch, "empty", full_for_rows, lambda: ranks.passed_on([ROWS], 0)),
        ):
            with pytest.MonkeyPatch.context() as patch:
                if rank == 1:
                    patch.setattr(owner, name, failing)
                try:
                    with ranks.together():
                        exchange()
                except MemoryError as error:
                    caught.append(str(error))
        return caught, ranks.added(1.0)

    assert run_ranks(work) == [(["full"] * 3, 2.0)] * 2


def test_failure_of_the_first_reaches_those_that_ask_it():
    def work(rank):
        def refuse():
            raise ConfigError("Refused.", "Hint.")

        return ranks.agree(refuse)

    for error in run_ranks(work):
        assert isinstance(error, ConfigError)
        assert error.message == "Refused."


def test_lost_rank_is_noticed():
    def work(rank):
        if rank == 1:
            os._exit(1)
        ranks.added(1.0)

    lost, ended = run_ranks(work)
    assert isinstance(lost, RankLost)
    assert ended is None


def test_ranks_out_of_step_are_noticed():
    def work(rank):
        return ranks.added(1.0) if rank else ranks.agreed(1.0)

    for error in run_ranks(work):
        assert isinstance(error, AssertionError)
        assert "out of step" in str(error)
