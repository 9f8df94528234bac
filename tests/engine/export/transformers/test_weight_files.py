"""Weight files equal the library's, though not written from memory."""

import torch
from safetensors.torch import save_file

from surgeon_engine.export.transformers import weight_files


def test_file_has_the_bytes_that_the_library_writes(tmp_path):
    torch.manual_seed(0)
    tensors = {
        "of 16 bits, an odd number": torch.randn(3, 5).bfloat16(),
        "of 32 bits": torch.randn(7),
        "whole numbers": torch.arange(5),
        "größer": torch.randn(2, 2).bfloat16(),
        "none": torch.zeros(0, 3),
        "one": torch.tensor(3.0),
    }
    expected, found = tmp_path / "library", tmp_path / "own"
    save_file(tensors, expected, metadata={"format": "pt"})
    empty = {name: torch.empty_like(x, device="meta") for name, x in tensors.items()}
    weight_files._write_file(found, empty, tensors.items())
    assert found.read_bytes() == expected.read_bytes()
