"""A GGUF file is parsed once while something is loaded from it."""

import gguf
import numpy as np
import pytest
from gguf import GGUFValueType

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.gguf_parsing import parsed_once
from surgeon_engine.model.gguf_tokenizer import Entry, tokenizer_entries, write_header


@pytest.fixture
def path(tmp_path):
    """Return a GGUF file without tensors."""
    found = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(found, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return found


def test_reader_and_names_are_made_once(path):
    with parsed_once(), parsed_once():
        assert gguf.GGUFReader(str(path)) is gguf.GGUFReader(path)
        two, again, three = (
            gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, blocks)
            for blocks in (2, 2, 3)
        )
        assert two is again and two is not three


def test_next_block_reads_the_file_again(path):
    readers = []
    for _ in range(2):
        with parsed_once():
            readers.append(gguf.GGUFReader(path))
    assert readers[0] is not readers[1]
    assert gguf.GGUFReader(path) is not gguf.GGUFReader(path)


def test_tokenizer_of_a_file_that_was_replaced_is_read_again(tmp_path):
    path = tmp_path / "model.gguf"
    for name in ("llama-bpe", "qwen2"):
        entry = Entry("tokenizer.ggml.pre", name, GGUFValueType.STRING, None)
        write_header((entry,), path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
        assert tokenizer_entries(path) == (entry,)


def test_reader_comes_back_after_an_error(path):
    reader = gguf.GGUFReader
    with pytest.raises(RuntimeError, match="broken"), parsed_once():
        raise RuntimeError("broken")
    assert gguf.GGUFReader is reader


@pytest.mark.parametrize("missing", [0, 1, 100])
def test_file_that_ends_before_its_tensors_is_damaged(tmp_path, missing):
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("output.weight", np.ones((32, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = path.stat().st_size - missing
    with path.open("r+b") as file:
        file.truncate(size)
    with parsed_once():
        if not missing:
            assert len(gguf.GGUFReader(path).tensors) == 1
            return
        with pytest.raises(ModelError, match=f"damaged .{size:,} bytes"):
            gguf.GGUFReader(path)
