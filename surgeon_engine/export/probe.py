"""What the pruned model in memory says of some text: what every export must say too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.export.writer import Verdict
from surgeon_engine.formats import FileDtype
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.run_folder import write_atomically

_TOKENS = 64  # whose logits are compared
_WINDOWS = 4  # on which perplexity is
# Of the largest logit: the kernels of another device or format round differently.
_TOLERANCE = {
    FileDtype.FLOAT32: 1e-4,
    FileDtype.BFLOAT16: 3e-2,
    FileDtype.FLOAT16: 1e-2,
    FileDtype.Q8_0: 0.05,
}
_OTHER_PROGRAM = 10  # times that, where another program computed


def save_probe(loaded: LoadedModel, windows: Tensor, path: Path) -> None:
    """Keep what the model in memory says of some validation windows.

    Raises:
        EvaluationError: its loss is not finite.
    """
    tokens = windows[:1, :_TOKENS].to(loaded.device)
    with torch.no_grad():
        logits = loaded.model(tokens, use_cache=False).logits.float()
    few = windows[:_WINDOWS]
    found = evaluate(loaded.model, few, batch=1, text="", step=lambda: None)
    probe = {
        "tokens": tokens.cpu().clone(),
        "logits": logits.contiguous().cpu(),
        "windows": few.cpu().clone(),
        "perplexity": torch.tensor(found.perplexity, dtype=torch.float64),
    }
    write_atomically(path, save(probe))


def expected_perplexity(probe: Path) -> float:
    """That of the model in memory on the windows of `probe`."""
    return float(load_file(probe)["perplexity"])


def disagreement(verdict: Verdict, dtypes: Iterable[FileDtype]) -> str:
    """What a checkpoint that was loaded afresh gets wrong; empty: nothing.

    `dtypes` are the number formats that the weights have gone through.
    """
    if verdict.tokens == 0:
        return ""
    difference, largest = verdict.largest_difference, verdict.largest_logit
    tolerance = max(_TOLERANCE[dtype] for dtype in dtypes)
    if not verdict.checked_with.startswith("transformers"):
        tolerance *= _OTHER_PROGRAM
    if difference is not None and difference <= tolerance * largest:
        return ""
    by = "beyond measure" if difference is None else f"by up to {difference:.3g}"
    return (
        "The reloaded checkpoint gives other logits: they differ "
        f"{by} (largest logit {largest:.3g})."
    )
