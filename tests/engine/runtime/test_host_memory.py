"""The memory that is free for the engine, and what becomes of what it frees."""

from __future__ import annotations

import platform
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
import torch

from surgeon_engine.api.config.run import Device
from surgeon_engine.runtime import devices, host_memory, speed_probe

GB = 10**9
NO_LIMIT = 9223372036854771712  # what the first version says


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
    assert calls == [(-3, 2**30), (-3, 2**25), (-1, 2**30)]
