"""Parse the header of a GGUF file once while a model is loaded from it, and quickly.

transformers parses it anew for the config, the tokenizer and the weights, and makes the
table of names anew for each module: most of the time in which a small model is loaded.
The reader of `gguf` itself takes ten seconds for a vocabulary of 260,000 tokens.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType
from gguf.gguf_reader import ReaderField
from typing_extensions import override

from surgeon_engine.api.model_info.files import damaged


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let `gguf` return the same reader and names again during the block.

    The files must not change meanwhile. Blocks may be nested.
    """
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    if not isinstance(reader, type):
        yield  # within such a block
        return
    read = functools.cache(_QuickReader)
    gguf.GGUFReader = lambda path: read(Path(path))
    gguf.get_tensor_name_map = functools.cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


class _QuickReader(GGUFReader):
    """A reader that cuts lists without a call for each of their elements.

    Raises:
        ModelError: The file ends before its tensors do.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(path)

    @override
    def _build_tensors(self, start_offs: int, fields: list[ReaderField]) -> None:
        for field in fields:
            *_, sizes, kind, offset = field.parts
            numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind[0])]
            count = math.prod(sizes.tolist())
            if start_offs + int(offset[0]) + count // numbers * size > len(self.data):
                raise damaged(self._path, len(self.data))
        super()._build_tensors(start_offs, fields)

    @override
    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        begin = orig_offs + 12  # after the type and the number of the elements
        head = np.asarray(self.data[orig_offs:begin])
        is_list = raw_type == GGUFValueType.ARRAY and self.byte_order == "I"
        kind = int(head[:4].view(np.uint32)[0]) if is_list else GGUFValueType.ARRAY
        if kind == GGUFValueType.ARRAY:
            found: tuple[int, list[Any], list[int], list[GGUFValueType]]
            found = super()._get_field_parts(orig_offs, raw_type)
            return found
        length = int(head[4:].copy().view(np.uint64)[0])
        if kind == GGUFValueType.STRING:
            parts, size = self._texts(begin, length)
        else:
            scalars = self._get(begin, self.gguf_scalar_to_np[kind], length)
            parts, size = list(np.asarray(scalars).reshape(-1, 1)), scalars.nbytes
        types = [GGUFValueType.ARRAY, *[GGUFValueType(kind)][:length]]
        return begin - orig_offs + size, parts, [*range(length)], types

    def _texts(self, begin: int, length: int) -> tuple[list[Any], int]:
        """Return texts as bytes, and the size of them all."""
        data, parts, place = np.asarray(self.data), [], begin
        for _ in range(length):
            (size,) = struct.unpack_from("<Q", self.data, place)
            parts.append(data[place + 8 : place + 8 + size])
            place += 8 + size
        return parts, place - begin
