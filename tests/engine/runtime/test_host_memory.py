"""The memory that a container or a batch job leaves to the engine."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / version.limit).write_text(f"{limit}\n")
    (folder / version.usage).write_text(f"{used}\n")
    names = zip(version.pages, (active, inactive), strict=True)
    lines = ["anon 1", *(f"{name} {size}" for name, size in names)]
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
