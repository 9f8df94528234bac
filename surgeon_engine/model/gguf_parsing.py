"""Parse the header of a GGUF file once while a model is loaded from it.

transformers parses it anew for the config, the tokenizer and the weights, and makes the
table of names anew for each module: most of the time in which a small model is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let `gguf` return the same reader and names again during the block.

    The files must not change meanwhile. Blocks may be nested.
    """
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    if not isinstance(reader, type):
        yield  # within such a block
        return
    read = functools.cache(reader)
    gguf.GGUFReader = lambda path: read(Path(path))
    gguf.get_tensor_name_map = functools.cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names
