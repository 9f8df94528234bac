"""The device of a setting, and its memory; Apple's GPU is simulated."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch

from surgeon_engine.api.config.run import Device
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import Budget

MPS = torch.device("mps")
FAST_ON_CPU = devices.FAST_ON_CPU  # before the tests switch it off


@pytest.fixture
def mps(monkeypatch):
    """Let torch have Apple's GPU, with 8,000 bytes of which 3,000 are used."""
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


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_processor_with_16_bit_products_uses_them(monkeypatch, name):
    x = torch.ones(2, 2)
    monkeypatch.setattr(devices, "FAST_ON_CPU", FAST_ON_CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    with devices.fast_products(x.device, x.dtype):
        assert (x @ x).dtype == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: False})
    with devices.fast_products(x.device, x.dtype):
        assert (x @ x).dtype == torch.float32


def test_no_gpu_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose(Device.AUTO).type == "cpu"
    with pytest.raises(ConfigError, match="This machine has no GPU"):
        devices.choose(Device.GPU)


def test_products_are_rounded_to_tf32_on_a_gpu_alone():
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    with devices.tf32_products(torch.device("cpu")):
        assert products.allow_tf32 is before
    with pytest.raises(ValueError), devices.tf32_products(torch.device("cuda")):
        assert products.allow_tf32
        raise ValueError
    assert products.allow_tf32 is before
