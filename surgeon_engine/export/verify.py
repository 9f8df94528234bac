"""What the pruned model in memory says of some text: what every export must say too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.files import write_atomically
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.model.load import LoadedModel

_TOKENS = 64  # whose logits are compared
_WINDOWS = 4  # on which perplexity is


@dataclass(frozen=True, slots=True)
class _Limits:
    """How far files of a number format may be off, as kernels round differently."""

    by_transformers: float  # largest difference of logits / largest logit
    by_others: float  # the same, where another program computed
    agreement: float  # least share of tokens whose likeliest next token is the same
    perplexity: float  # most of |log(perplexity / expected perplexity)|


_LIMITS = {
    FileDtype.FLOAT32: _Limits(1e-4, 1e-3, 0.98, 1e-3),
    FileDtype.FLOAT16: _Limits(1e-2, 1e-2, 0.9, 0.02),
    FileDtype.BFLOAT16: _Limits(3e-2, 5e-2, 0.9, 0.05),
    FileDtype.Q8_0: _Limits(0.25, 0.25, 0.75, 0.1),
}


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


def disagreement(
    result: VerificationResult, dtypes: Iterable[FileDtype], expected_perplexity: float
) -> str:
    """What a checkpoint that was loaded afresh gets wrong; empty: nothing.

    `dtypes` are the number formats that the weights have gone through: the loosest of
    their limits count. `expected_perplexity` is that of the model in memory.
    """
    if result.tokens == 0:
        return ""
    limits = [_LIMITS[dtype] for dtype in dtypes]
    problems = (
        _of_logits(result, limits),
        _of_agreement(result, min(each.agreement for each in limits)),
        _of_perplexity(
            result,
            expected_perplexity,
            max(each.perplexity for each in limits),
        ),
    )
    found = "; ".join(problem for problem in problems if problem)
    return f"The reloaded checkpoint gives {found}." if found else ""


def _of_logits(result: VerificationResult, limits: Iterable[_Limits]) -> str:
    difference, largest = result.largest_difference, result.largest_logit
    is_stock = result.checked_with.startswith("transformers")
    most = largest * max(
        each.by_transformers if is_stock else each.by_others for each in limits
    )
    if difference is not None and difference <= most:
        return ""
    by = "beyond measure" if difference is None else f"by up to {difference:.3g}"
    return (
        f"other logits: they differ {by} (at most {most:.3g}, as the largest is "
        f"{largest:.3g})"
    )


def _of_agreement(result: VerificationResult, least: float) -> str:
    if result.agreement >= least:
        return ""
    return (
        f"the same likeliest token for only {result.agreement:.1%} of "
        f"{result.tokens} tokens (at least {least:.0%})"
    )


def _of_perplexity(result: VerificationResult, expected: float, most: float) -> str:
    perplexity = result.perplexity
    if perplexity is None:
        if not result.windows:
            return ""
        return f"a perplexity that is not finite instead of {expected:.4f}"
    if abs(math.log(perplexity / expected)) <= most:
        return ""
    return (
        f"a perplexity of {perplexity:.4f} instead of {expected:.4f} "
        f"(at most {most:.1%} off)"
    )
