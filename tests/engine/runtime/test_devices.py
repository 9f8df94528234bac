"""The device of a setting and its free memory; Apple's GPU is simulated."""

import platform
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
import torch

from surgeon_engine.api.config.run import Device
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.runtime import devices, host_memory, speed_probe
from surgeon_engine.runtime.hidden_store import Budget

MPS = torch.device("mps")
multiplies_bfloat16_fast = devices.multiplies_bfloat16_fast  # tests switch it off


@pytest.fixture
def mps(monkeypatch):
    """Let torch have Apple's GPU, with 3,000 of 8,000 bytes in use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    fake = Mock()
    fake.recommended_max_memory.return_value = 8_000
    fake.current_allocated_memory.return_value = 3_000
    fake.driver_allocated_memory.return_value = 4_000
    monkeypatch.setattr(torch, "mps", fake)
    return fake


@pytest.mark.parametrize("device", [Device.AUTO, Device.GPU])
def test_gpu_of_apple_is_chosen(mps, device):
    assert devices.choose(device) == MPS
    assert devices.choose(Device.CPU).type == "cpu"
    assert devices.display_name(MPS) == "Apple GPU"


def test_memory_of_apples_gpu_is_that_of_the_machine(mps, monkeypatch):
    assert devices.total_memory(MPS) == 8_000
    assert devices.free_memory(MPS) == 5_000
    assert devices.memory_in_use(MPS).device_bytes == 3_000
    assert devices.peak_memory(MPS) == 4_000
    assert Budget.of_free_memory(MPS).device == 0.25 * 5_000
    monkeypatch.setattr(devices, "free_host_memory", lambda: 700)
    assert devices.free_memory(MPS) == 700


def test_unused_memory_of_apples_gpu_is_released(mps):
    devices.release_memory()
    devices.synchronize(MPS)
    mps.empty_cache.assert_called_once()
    mps.synchronize.assert_called_once()


@pytest.mark.parametrize(
    ("names", "dtype"),
    [
        (["avx512_bf16"], torch.bfloat16),
        (["avx512_bf16", "avx512_fp16"], torch.float32),  # AMX is hidden
        (["avx512_bf16", "avx512_fp16", "amx_bf16"], torch.bfloat16),
        ([], torch.float32),
    ],
)
def test_processor_uses_16_bit_products_where_they_are_faster(
    monkeypatch, names, dtype
):
    x = torch.ones(2, 2)
    monkeypatch.setattr(devices, "multiplies_bfloat16_fast", multiplies_bfloat16_fast)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, 1))
    with devices.fast_products(x.device, x.dtype):
        assert (x @ x).dtype == dtype


def test_gpu_that_emulates_bfloat16_multiplies_float32(monkeypatch):
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation,
    )
    products = devices.fast_products(torch.device("cuda"), torch.float32)
    assert isinstance(products, nullcontext)


def test_no_gpu_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose(Device.AUTO).type == "cpu"
    with pytest.raises(ConfigError, match="This machine has no GPU") as raised:
        devices.choose(Device.GPU)
    assert 'model.device = "cpu"' in raised.value.hint


def test_products_are_rounded_to_tf32_on_a_gpu_alone():
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    with devices.tf32_products(torch.device("cpu")):
        assert products.allow_tf32 is before
    with pytest.raises(ValueError), devices.tf32_products(torch.device("cuda")):
        assert products.allow_tf32
        raise ValueError
    assert products.allow_tf32 is before


GB = 10**9
NO_LIMIT = 9223372036854771712  # "no limit" in version 1 of control groups


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return an empty folder of control groups, on Linux with 64 of 100 GB free."""
    memory = SimpleNamespace(total=100 * GB, available=64 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(host_memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(host_memory, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory.sys, "platform", "linux")
    return tmp_path / "groups"


def make_group(folder, version, limit, used, active, inactive):
    limit_file, usage_file, prefix = version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / usage_file).write_text(f"{used}\n")
    names = (f"{prefix}active_file {active}", f"{prefix}inactive_file {inactive}")
    lines = ["anon 1", *names]
    (folder / "memory.stat").write_text("\n".join(lines) + "\n")


def in_group(groups, line):
    (groups.parent / "cgroup").write_text(line + "\n")


def test_memory_without_groups_is_that_of_the_machine(groups):
    assert host_memory.total() == 100 * GB
    assert host_memory.free() == 64 * GB


def test_job_of_slurm_has_the_least_of_all_groups_above_it(groups):
    in_group(groups, "0::/slurm/job_7/step_0")
    make_group(groups / "slurm", host_memory._SECOND, "max", 40 * GB, 0, 0)
    make_group(groups / "slurm/job_7", host_memory._SECOND, 16 * GB, 9 * GB, 2 * GB, GB)
    step = groups / "slurm/job_7/step_0"
    make_group(step, host_memory._SECOND, 32 * GB, GB, 0, 0)

    assert host_memory.total() == 16 * GB
    assert host_memory.free() == 10 * GB  # pages of files can be given back


def test_container_sees_its_own_group_at_the_root(groups):
    in_group(groups, "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f")
    make_group(groups / "memory", host_memory._FIRST, 8 * GB, 3 * GB, GB, 0)

    assert host_memory.total() == 8 * GB
    assert host_memory.free() == 6 * GB


def test_group_without_a_limit_changes_nothing(groups):
    in_group(groups, "4:memory:/user\n0::/user")
    make_group(groups / "memory/user", host_memory._FIRST, NO_LIMIT, 3 * GB, 0, 0)
    make_group(groups / "user", host_memory._SECOND, "max", 3 * GB, 0, 0)

    assert host_memory.total() == 100 * GB
    assert host_memory.free() == 64 * GB


def test_full_group_has_nothing_free(groups):
    in_group(groups, "0::/")
    make_group(groups, host_memory._SECOND, 2 * GB, 3 * GB, 0, 0)

    assert host_memory.free() == 0


def test_engine_plans_with_the_memory_of_its_group(groups):
    in_group(groups, "0::/")
    make_group(groups, host_memory._SECOND, 8 * GB, 2 * GB, 0, 0)

    assert devices.free_memory(devices.choose(Device.CPU)) == 6 * GB
    assert speed_probe.room().ram_bytes == 8 * GB


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_reused_until_it_is_released():
    import resource  # Unix

    def new_pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(100 * 2**20, dtype=torch.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    host_memory.reuse_freed()
    new_pages()
    assert new_pages() < 1_000
    devices.release_memory()
    assert new_pages() > 20_000


def test_older_c_library_gets_the_largest_threshold_that_it_accepts(monkeypatch):
    library = Mock()
    library.mallopt.side_effect = lambda name, size: int(name != -3 or size <= 2**25)
    monkeypatch.setattr(host_memory, "_glibc", lambda: library)
    host_memory.reuse_freed()
    calls = [call.args for call in library.mallopt.call_args_list]
    assert calls == [(-3, 2**30), (-3, 2**25), (-1, 2**30), (-8, 2)]


@pytest.mark.parametrize(
    ("names", "is_exact", "precision"),
    [
        (["avx512_bf16"], True, "bf16"),  # AMD
        (["avx512_bf16"], False, "none"),
        (["avx512_bf16", "amx_bf16"], True, "none"),
        (["avx512_bf16", "avx512_fp16"], True, "none"),  # Intel
        ([], True, "none"),
    ],
)
def test_onednn_multiplies_float32_where_it_is_fast_and_exact(
    names, is_exact, precision, monkeypatch
):
    matmul = SimpleNamespace(fp32_precision="none")
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", matmul, raising=False)
    monkeypatch.setattr(devices, "multiplies_bfloat16_fast", multiplies_bfloat16_fast)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, 1))
    if not is_exact:
        exact = torch.Tensor.__matmul__

        def rounded(x, y):
            return exact(x, y if x.dtype == torch.float64 else y.bfloat16().float())

        monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    devices._multiply_by_onednn()
    assert matmul.fp32_precision == precision
