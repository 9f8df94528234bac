"""Weights of offloaded blocks come to the device one block at a time, and go back."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surgeon_engine.api.config.pruning import Coupling, Damping, Method
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, ModelConfig, Offload
from surgeon_engine.compaction.plan import CompactionPlan, KeptGroups
from surgeon_engine.compaction.shrink import shrink_in_place
from surgeon_engine.model import offload
from surgeon_engine.model.block_runner import BlockRunner
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.model.load import load_model, load_original
from surgeon_engine.model.offload import on_device, one_at_a_time
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.mapped_tensors import read_ahead
from tests.helpers.pretended_gpu import GPU, pretended_gpu
from tests.helpers.runs import Recorder, assert_same_tensors, exported_tensors, job
from tests.helpers.tiny_models import save_tiny_model

TOKENS = torch.arange(12).view(2, 6)


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "model", "llama")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(devices, "choose", lambda _: GPU)
    with pretended_gpu() as gpu:
        yield gpu


def load(folder: Path):
    return load_model(ModelConfig(str(folder), offload=Offload.ON))


def bytes_of(modules) -> int:
    return sum(p.nbytes for module in modules for p in module.parameters())


def run(loaded):
    with torch.no_grad():
        tokens = TOKENS.to(loaded.device)
        return loaded.model(tokens, use_cache=False).logits.cpu()


@pytest.mark.slow
def test_forward_copies_each_block_once_and_keeps_none(folder, gpu):
    loaded = load(folder)
    blocks = bytes_of(loaded.blocks)
    resident = gpu.live
    for _ in range(3):
        gpu.copied.clear()
        run(loaded)
        tokens = TOKENS.nbytes
        assert blocks <= gpu.copied["to GPU"] <= blocks + 2 * tokens
        assert gpu.live == resident


@pytest.mark.slow
def test_blocks_may_come_backwards(folder, gpu):
    loaded = load(folder)
    run(loaded)
    gpu.copied.clear()
    for block in reversed(loaded.blocks):
        with on_device(block):
            assert {p.device for p in block.parameters()} == {GPU}
        assert {p.device.type for p in block.parameters()} == {"cpu"}
    assert gpu.copied["to GPU"] == bytes_of(loaded.blocks)


def test_no_block_is_copied_ahead_where_each_is_worked_on_for_long(folder, gpu):
    loaded = load(folder)
    with one_at_a_time(loaded.blocks):
        for block in loaded.blocks:
            before = gpu.live
            with on_device(block):
                assert gpu.live - before == bytes_of([block])


@pytest.mark.slow
def test_change_comes_back_to_the_host(folder, gpu):
    loaded = load(folder)
    before, block = run(loaded), loaded.blocks[0]
    weight = next(block.parameters())
    with on_device(block, changes=True), torch.no_grad():
        weight.mul_(2)
    assert weight.device.type == "cpu"
    assert not torch.equal(run(loaded), before)
    with on_device(block, changes=True), torch.no_grad():
        weight.mul_(0.5)
    assert torch.equal(run(loaded), before)


@pytest.mark.slow
def test_change_on_the_host_reaches_a_block_that_was_copied_ahead(folder, gpu):
    loaded = load(folder)
    expected = run(loaded)
    for block in loaded.blocks[:2]:
        with on_device(block):
            pass  # the second begins to copy the third
    with torch.no_grad():
        for parameter in loaded.blocks[-1].parameters():
            parameter.zero_()
    with on_device(loaded.blocks[-1]):
        weight = next(loaded.blocks[-1].parameters())
        assert not weight.cpu().any()
    assert not torch.equal(run(loaded), expected)


@pytest.mark.slow
def test_embeddings_and_last_norm_need_no_block(folder, gpu):
    loaded = load(folder)
    runner = BlockRunner(loaded.model, loaded.blocks, [TOKENS])
    gpu.copied.clear()
    hidden = [x.cpu() for x in runner.embedded()]
    finished = [runner.finish(x, n) for n, x in enumerate(hidden)]
    assert gpu.copied["to GPU"] <= 4 * TOKENS.nbytes + hidden[0].nbytes
    assert finished[0].shape == hidden[0].shape
    assert torch.isfinite(run(loaded)).all()


@pytest.mark.slow
def test_original_is_offloaded_beside_a_model_on_the_device(folder, gpu):
    config = ModelConfig(str(folder), offload=Offload.OFF)
    pruned = load_model(config)
    original = load_original(config, pruned)
    assert {p.device.type for x in original.blocks for p in x.parameters()} == {"cpu"}
    assert torch.equal(run(original), run(pruned))


def test_original_shares_what_is_outside_the_blocks(folder):
    config = ModelConfig(str(folder), device=Device.CPU, offload=Offload.OFF)
    pruned = load_model(config)
    with torch.no_grad():
        pruned.model.model.norm.weight.mul_(2)  # as a training does
    original = load_original(config, pruned).model
    shared = {
        name
        for name, parameter in pruned.model.named_parameters()
        if parameter.data_ptr() == original.get_parameter(name).data_ptr()
    }
    assert shared == {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.mark.slow
def test_interrupted_forward_leaves_no_block_on_the_device(folder, gpu):
    loaded = load(folder)

    def fail(*_):
        raise ValueError

    handle = loaded.layers[-1].module.register_forward_hook(fail)
    with pytest.raises(ValueError):
        run(loaded)
    handle.remove()
    assert {p.device.type for x in loaded.blocks for p in x.parameters()} == {"cpu"}
    assert torch.isfinite(run(loaded)).all()


@pytest.mark.slow
def test_weights_stay_in_files_where_the_host_is_short_of_memory(
    folder, gpu, monkeypatch
):
    expected = run(load(folder))
    monkeypatch.setattr(devices, "free_host_memory", lambda: 0)
    loaded = load(folder)
    assert torch.equal(run(loaded), expected)
    double_first(loaded)
    assert not torch.equal(run(loaded), expected)


def test_files_of_the_next_block_are_read_while_one_computes(folder, monkeypatch):
    asked = []

    def read(tensors):
        asked.append(sum(x.nbytes for x in tensors))
        return read_ahead(tensors)

    monkeypatch.setattr(offload, "read_ahead", read)
    loaded = load(folder)
    with torch.no_grad(), one_at_a_time(loaded.blocks):
        loaded.model(TOKENS, use_cache=False)
        forward, asked[:] = list(asked), []
        for block in reversed(loaded.blocks):
            with on_device(block):
                pass
    sizes = [bytes_of([block]) for block in loaded.blocks]
    assert forward == sizes[1:]
    assert asked == sizes[:-2][::-1]  # once it is seen that they come backwards


def test_changed_weights_of_the_host_go_to_temporary_files(folder):
    """The files of the model stay as they are."""
    file = folder / "model.safetensors"
    before = hashlib.sha256(file.read_bytes()).digest()
    loaded = load(folder)
    original = run(loaded)
    weight = double_first(loaded)
    mapped = Path(weight.untyped_storage().filename)
    assert mapped.stat().st_size >= weight.nbytes
    assert double_first(loaded).untyped_storage().filename == str(mapped)
    assert len(list(mapped.parent.iterdir())) == len(
        list(loaded.blocks[0].parameters())
    )
    assert not torch.equal(run(loaded), original)
    assert torch.equal(run(load(folder)), original)
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_weights_of_shrunk_blocks_and_copies_of_weights_are_in_files(folder):
    """A model of the size of the memory could not be compacted otherwise."""
    loaded = load(folder)
    groups = groups_of(Coupling.NEURONS, loaded.model)
    for each in groups:
        with on_device(loaded.blocks[each.consumer.block], changes=True):
            each.consumer.module.weight[:, -1] = 0
    kept = tuple(KeptGroups(x, torch.arange(x.groups - 1)) for x in groups)
    shrink_in_place(loaded.model, CompactionPlan(kept))
    for block in loaded.blocks:
        down = block.mlp.down_proj.weight
        assert down.shape[1] == groups[0].groups - 1
        assert Path(down.untyped_storage().filename).stat().st_size >= down.nbytes
    # The files of the weights in whose place they are have been deleted.
    folder = Path(down.untyped_storage().filename).parent
    assert len(list(folder.iterdir())) == sum(
        p.untyped_storage().filename is not None
        for block in loaded.blocks
        for p in block.parameters()
    )
    parameters = [p for block in loaded.blocks for p in block.parameters()]
    copies = KeptWeights(parameters, in_files=True)
    assert all(copy.untyped_storage().filename for _, copy in copies.values())


def double_first(loaded):
    """Double the first weight of the first block, and return it."""
    block = loaded.blocks[0]
    weight = next(block.parameters())
    with on_device(block, changes=True), torch.no_grad():
        weight.mul_(2)
    return weight


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
def test_run_with_weights_in_files_gives_the_same_files(tmp_path):
    recovery = RecoveryConfig(
        Recovery.BOTH,
        general_windows=2,
        trained_weights=TrainedWeights.LORA,
        gradient_checkpointing=GradientCheckpointing.ON,
    )
    settings = {"method": Method.LLM_SURGEON, "damping": Damping.AUTOMATIC, "shots": 2}
    config = job(tmp_path, recovery=recovery, **settings)
    for place in (Offload.OFF, Offload.ON):
        each = replace(config, model=replace(config.model, offload=place))
        Recorder().run(each, tmp_path / place)
    off, on = (exported_tensors(tmp_path / x) for x in (Offload.OFF, Offload.ON))
    assert_same_tensors(off, on)
