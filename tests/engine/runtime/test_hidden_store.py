"""The store keeps tensors within its budget, and their numbers wherever they live."""

from pathlib import Path

import pytest
import torch

from surgeon_engine.runtime.hidden_store import Budget, HiddenStore

CPU = torch.device("cpu")
X = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """Put temporary folders into `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("budget", [(1e6, 0), (0, 1e6), (0, 0)])
def test_numbers_are_the_same_wherever_they_live(dtype, budget):
    x = X.to(dtype)
    with HiddenStore(CPU, Budget(*budget)) as store:
        kept = store.keep(x)
        assert kept.data_ptr() != x.data_ptr()
        assert kept.dtype == dtype
        assert torch.equal(kept, x)
        kept.copy_(2 * x)
        assert torch.equal(kept, 2 * x)


def test_files_are_used_where_memory_is_short_and_removed_at_the_end(temporary):
    with HiddenStore(CPU, Budget(0, 2 * X.nbytes)) as store:
        kept = [store.keep(X) for _ in range(3)]
        (folder,) = temporary.iterdir()
        assert len(list(folder.iterdir())) == 1
        assert all(torch.equal(x, X) for x in kept)
    assert not list(temporary.iterdir())


def test_dropped_tensors_leave_their_room_to_others(temporary):
    with HiddenStore(CPU, Budget(0, X.nbytes)) as store:
        for _ in range(3):
            kept = [store.keep(X)]
            store.drop(kept)
            assert kept == []
        assert not list(temporary.iterdir())
        kept = [store.keep(X), store.keep(X)]
        (folder,) = temporary.iterdir()
        store.drop(kept)
        assert not list(folder.iterdir())


def test_files_are_removed_after_an_error(temporary):
    with pytest.raises(RuntimeError), HiddenStore(CPU, Budget(0, 0)) as store:
        store.keep(X)
        raise RuntimeError
    assert not list(temporary.iterdir())


def test_empty_tensor_can_be_kept():
    with HiddenStore(CPU, Budget(0, -1)) as store:
        assert store.keep(torch.zeros(2, 0)).shape == (2, 0)


def test_memory_beside_a_cuda_gpu_is_pinned(temporary, monkeypatch):
    """It is rounded up to a power of two, and the budget counts that."""
    pinned, make = [], torch.empty_like

    def empty_like(x, *, device, pin_memory=False):
        pinned.append(pin_memory)
        return make(x, device=device)

    monkeypatch.setattr(torch, "empty_like", empty_like)
    with HiddenStore(torch.device("cuda"), Budget(0, 64)) as store:
        kept = [store.keep(X), store.keep(X)]  # 60 bytes each
        assert pinned == [True]
        (folder,) = temporary.iterdir()
        assert len(list(folder.iterdir())) == 1
        store.drop(kept)
        store.keep(X)
        assert pinned == [True, True]


def test_store_does_without_pinned_memory():
    """Torch has none here, and a system may refuse it."""
    with HiddenStore(torch.device("cuda"), Budget(0, 64)) as store:
        assert torch.equal(store.keep(X), X)


def test_default_budget_is_a_share_of_the_free_memory():
    budget = Budget.of_free_memory(CPU)
    assert budget.device == 0
    assert budget.host > 1e6
