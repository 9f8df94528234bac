"""A model that is loaded block by block has the weights of its files."""

import pytest
import torch

from benchmarks.small_models import build
from benchmarks.small_sizes import SIZES
from surgeon_engine.api.config.run import ModelConfig, Offload
from surgeon_engine.model.load import load_model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "model_type"),
    [
        ("image", "hunyuan_vl"),  # a tower has "layers" in its files, too
        ("image", "kimi_k25"),  # "blocks" in its files are "layers" of the model
        ("causal", "falcon_h1"),  # reads modules of each block when it is built
        ("causal", "zamba2"),  # has blocks with the weights of others
    ],
)
def test_weights_are_those_of_the_model_that_is_loaded_whole(
    tmp_path, kind, model_type
):
    model = build(kind, model_type, SIZES["usual"], dense=False)
    model.bfloat16().save_pretrained(tmp_path)  # computed in float32
    whole, found = (
        load_model(ModelConfig(str(tmp_path), offload=offload)).model
        for offload in (Offload.OFF, Offload.ON)
    )
    tensors = found.state_dict() | dict(found.named_buffers())
    for name, tensor in [*whole.state_dict().items(), *whole.named_buffers()]:
        assert torch.equal(tensors[name], tensor), name
