"""Write importances as a GGUF file that llama.cpp's programs read (`--imatrix`).

For each matrix it holds the sums of the squared inputs over all tokens, and the number
of tokens; for experts, a row of sums each, as if they had all tokens. The entries are
those of llama.cpp's imatrix.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from torch import Tensor

from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.export.provenance import public_name

IMATRIX_NAME = "imatrix.gguf"


def write_imatrix(
    path: Path,
    tensors: Sequence[FileTensor],
    squares: Mapping[str, Tensor],
    calibration: Calibration,
) -> None:
    """Write the importances of the matrices of all blocks.

    Args:
        path: of the file.
        tensors: those of the model's file.
        squares: mean squares of the inputs, by layer.
        calibration: the text on which they were measured.
    """
    windows, length = calibration.windows.shape
    writer = GGUFWriter(path, "")
    writer.kv_data[0].clear()  # the file has no architecture
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [public_name(calibration.text)])
    writer.add_uint32("imatrix.chunk_count", windows)
    writer.add_uint32("imatrix.chunk_size", length)
    tokens = windows * length
    for each in tensors:
        if each.layer in squares and len(each.shape) > 1:
            sums = each.mean_squares(squares[each.layer]).double() * tokens
            writer.add_tensor(f"{each.name}.in_sum2", sums.float().numpy())
            counts = np.full((len(sums), 1), tokens, np.float32)
            writer.add_tensor(f"{each.name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
