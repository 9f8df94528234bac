"""Compare the ways to round a model's weights in GGUF files.

    python benchmarks/quantized.py [MODEL] [--windows 64] [--judging 32]

MODEL is a folder of a model like Llama, by default the demo. Each file is read back and
judged by KL(model || file) and by the share of tokens with the same top token, on
held-out windows of the calibration text and on Python code. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gguf
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.calibration.windows import draw_windows, vocabulary_of
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.evaluation.fidelity import divergences
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf import file as gguf_file
from surgeon_engine.export.gguf.check import FILE_NAME
from surgeon_engine.model.load import LoadedModel, load_model

_LENGTH = 256  # tokens of a window
_BATCH = 8  # windows
_CODE = ("argparse", "heapq", "json.decoder", "shutil", "textwrap", "zipfile")
_PLAIN, _WEIGHTED, _FED = "plain", "importances", "A fed forward"
_FORMATS = {
    FileDtype.Q8_0: (_PLAIN, _FED),
    FileDtype.Q6_K: (_PLAIN, _WEIGHTED),
    FileDtype.Q5_K_M: (_PLAIN, _WEIGHTED),
    FileDtype.Q4_K_M: (_PLAIN, _WEIGHTED),
    FileDtype.IQ4_NL: (_PLAIN, _WEIGHTED, _FED),
    FileDtype.Q4_0: (_PLAIN, _WEIGHTED, _FED),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(description="Compare quantized GGUF files.")
    parser.add_argument("model", nargs="?", default=DEMO)
    parser.add_argument("--windows", type=int, default=64, help="of the calibration")
    parser.add_argument("--judging", type=int, default=32, help="of each judging text")
    options = parser.parse_args(arguments)
    loaded = load_model(ModelConfig(source=options.model))
    config = CalibrationConfig(
        windows=options.windows,
        validation_windows=options.judging,
        window_length=_LENGTH,
    )
    vocabulary = vocabulary_of(loaded.model.config)
    _, found = draw_windows(config, loaded.tokenizer, vocabulary)
    calibration = Calibration(found.calibration, _BATCH, config.text)
    texts = [found.validation, _code(loaded, options.judging)]
    print("| format | rounding | bits | KL, held out | same | KL, code | same |")
    print("|---|---|---|---|---|---|---|")
    for dtype, ways in _FORMATS.items():
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                _write(loaded, dtype, way, calibration, Path(folder))
                bits = _bits(Path(folder) / FILE_NAME)
                model = AutoModelForCausalLM.from_pretrained(
                    folder, gguf_file=FILE_NAME, dtype=torch.float32
                )
                figures = [x for text in texts for x in _compare(loaded, model, text)]
            cells = " | ".join((str(dtype), way, f"{bits:.2f}", *figures))
            print(f"| {cells} |", flush=True)
    return 0


def _write(
    loaded: LoadedModel,
    dtype: FileDtype,
    way: str,
    calibration: Calibration,
    folder: Path,
) -> None:
    pruned = PrunedModel(loaded, CompactionPlan())
    config = ExportConfig(format=Format.GGUF, dtype=dtype)
    text = None if way == _PLAIN else calibration
    gguf_file.GgufWriter(way == _FED, text).write(pruned, config, folder)


def _bits(path: Path) -> float:
    """Return the bits of a weight, without the header."""
    tensors = gguf.GGUFReader(path).tensors
    return (
        8
        * sum(int(x.n_bytes) for x in tensors)
        / sum(int(x.n_elements) for x in tensors)
    )


def _code(loaded: LoadedModel, count: int) -> Tensor:
    """Return windows of Python code."""
    specs = [find_spec(name) for name in _CODE]
    paths = [Path(spec.origin) for spec in specs if spec and spec.origin]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert loaded.tokenizer is not None
    ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    whole = torch.tensor(ids)[: len(ids) // _LENGTH * _LENGTH].view(-1, _LENGTH)
    return whole[:count]


@torch.no_grad()
def _compare(
    loaded: LoadedModel, model: PreTrainedModel, windows: Tensor
) -> Iterator[str]:
    """Yield the mean KL and the share of equal top tokens."""
    nats, same = [], []
    for batch in windows.split(_BATCH):
        p = loaded.model(batch.to(loaded.device)).logits.cpu().flatten(0, 1)
        q = model(batch).logits.flatten(0, 1)
        nats.append(divergences(p, q))
        same.append(p.argmax(-1) == q.argmax(-1))
    yield f"{float(torch.cat(nats).mean()):.5f}"
    yield f"{100 * float(torch.cat(same).double().mean()):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
