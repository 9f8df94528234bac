"""Compare an exported model with the pruned model in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError, UnreadableFileError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.path_problems import damaged
from surgeon_engine.base.reading import Content, read_bytes
from surgeon_engine.base.sentences import say, say_list
from surgeon_engine.evaluation.fidelity import (
    Reference,
    log_divergences,
    original_log_probabilities,
)
from surgeon_engine.evaluation.perplexity import perplexity
from surgeon_engine.evaluation.translation import Translation
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.model.head import head_logits
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.constants import PROBED_TOKENS, PROBED_WINDOWS


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Tolerances for files of one number format: kernels round differently."""

    # KL(model in memory || file) in nats: rounded weights change many logits a little.
    # None: all others count.
    max_divergence: float | None = None
    max_difference: float = 0.0  # between logits, relative to the largest logit
    max_difference_elsewhere: float = 0.0  # the same outside of transformers
    min_agreement: float = 0.0  # share of tokens with the same top token
    max_log_ratio: float = 0.0  # |log(perplexity / expected perplexity)|


_TOLERANCES = {  # the looser ones later
    FileDtype.FLOAT32: Tolerance(None, 1e-4, 1e-3, 0.98, 1e-3),
    FileDtype.FLOAT16: Tolerance(None, 1e-2, 1e-2, 0.9, 0.02),
    # Products of 16 bits differ most at the first token, by up to 5 %.
    FileDtype.BFLOAT16: Tolerance(None, 8e-2, 8e-2, 0.9, 0.05),
    FileDtype.Q8_0: Tolerance(0.05),
    FileDtype.Q6_K: Tolerance(0.1),
    FileDtype.Q5_K_M: Tolerance(0.2),
    FileDtype.Q4_K_M: Tolerance(0.5),
    FileDtype.IQ4_NL: Tolerance(0.5),
    FileDtype.Q4_0: Tolerance(0.5),
    FileDtype.MXFP4_MOE: Tolerance(0.5),
}
# Where rounding lets routers choose other experts, a few logits change a lot.
_OF_MIXTURES = dict.fromkeys((FileDtype.FLOAT16, FileDtype.BFLOAT16), Tolerance(0.05))

_MAX_PROBE = 1 << 30  # bytes; the largest vocabularies take some hundred million
_NO_PROBE = say("It is needed to verify exports: prune again to export the model.")


def save_probe(loaded: LoadedModel, validation: Reference, path: Path) -> Content:
    """Save logits and perplexity of the model on some validation windows.

    Return the content of the file. `validation` has the original's hidden states.

    Raises:
        EvaluationError: The loss is not finite.
    """
    tokens = validation.windows[:1, :PROBED_TOKENS].to(loaded.device)
    hidden = validation.hidden[0][:1, :PROBED_TOKENS].to(loaded.device)
    with torch.no_grad():
        whole = language_model_of(loaded.model)
        logits = whole(tokens, use_cache=False).logits.float()
        original = _original_logits(loaded.model, hidden, validation.translation)
    windows = validation.windows[:PROBED_WINDOWS]
    probe = {
        "tokens": tokens.cpu().clone(),
        "logits": logits.contiguous().cpu(),
        "original": original.contiguous().cpu(),
        "windows": windows.cpu().clone(),
        "perplexity": torch.tensor(
            perplexity(loaded.model, windows), dtype=torch.float64
        ),
    }
    write_atomically(path, save(probe))
    return Content.of(path)


def _original_logits(
    model: PreTrainedModel, hidden: Tensor, translation: Translation | None
) -> Tensor:
    """Return the logits of the original; NaN where it predicts nothing."""
    if translation is None:
        return head_logits(model, hidden).float()
    found = original_log_probabilities(model, hidden, translation)
    return found.masked_fill(hidden[..., :1].isnan(), torch.nan)


@dataclass(frozen=True, slots=True)
class Expected:
    """The figures of the model in memory on the probe."""

    perplexity: float
    divergence: float  # KL of the original to it


def expected_figures(path: Path) -> Expected:
    """Return the figures of the model in memory, from a saved probe.

    Raises:
        ExportError: The file is damaged, or is not a probe.
    """
    try:
        probe = load(read_bytes(path, _MAX_PROBE))
        perplexity = float(probe["perplexity"])
        logits, original = probe["logits"], probe["original"]
        if not _fits(probe) or not math.isfinite(perplexity):
            raise ValueError(say("its tensors do not belong together"))
        is_known = ~original.isnan().any(dim=-1)
        log_p, log_q = (x[is_known].log_softmax(-1) for x in (original, logits))
        return Expected(perplexity, float(log_divergences(log_p, log_q).mean()))
    except UnreadableFileError as error:
        raise ExportError(error.message, _NO_PROBE) from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(damaged(path, error), _NO_PROBE) from error


def _fits(probe: Mapping[str, Tensor]) -> bool:
    """Return whether tokens (1 x n), logits (1 x n x vocabulary) and windows fit."""
    tokens, logits, windows = (probe[x] for x in ("tokens", "logits", "windows"))
    if tokens.ndim != 2 or windows.ndim != 2 or not tokens.numel():
        return False
    are_tokens = all(
        x.dtype == torch.int64 and x.min() >= 0 and x.max() < logits.shape[-1]
        for x in (tokens, windows)
        if x.numel()
    )
    original = probe["original"]
    is_whole = logits.shape[:-1] == tokens.shape and original.shape == logits.shape
    return are_tokens and is_whole and logits.is_floating_point()


def tolerance_of(dtypes: Iterable[FileDtype], *, has_experts: bool) -> Tolerance:
    """Return the loosest tolerance of the formats that weights were converted to.

    `has_experts` tells whether the model is a mixture of experts.
    """
    loosest = max(dtypes, key=[*_TOLERANCES].index)
    known = _TOLERANCES | (_OF_MIXTURES if has_experts else {})
    return known[loosest]


def describe_mismatch(
    result: VerificationResult, tolerance: Tolerance, expected_perplexity: float
) -> str:
    """Return how the reloaded model differs beyond tolerance; empty if it does not.

    `expected_perplexity` is the perplexity of the model in memory.
    """
    if result.tokens == 0:
        return ""
    if tolerance.max_divergence is not None:
        return _divergence_mismatch(result.saving_divergence, tolerance.max_divergence)
    problems = (
        _logit_mismatch(result, tolerance),
        _agreement_mismatch(result, tolerance.min_agreement),
        _perplexity_mismatch(result, expected_perplexity, tolerance.max_log_ratio),
    )
    found = [problem for problem in problems if problem]
    if not found:
        return ""
    return say(
        "The reloaded checkpoint gives {what}.", what=say_list(*found, separator="; ")
    )


def _divergence_mismatch(divergence: float | None, maximum: float) -> str:
    if divergence is not None and divergence <= maximum:
        return ""
    if divergence is None:
        return say("The reloaded checkpoint gives no finite KL to the model in memory.")
    return say(
        "The reloaded checkpoint gives a KL of {divergence:.3g} nats to the model in "
        "memory (maximum {maximum:.3g}).",
        divergence=divergence,
        maximum=maximum,
    )


def _logit_mismatch(result: VerificationResult, tolerance: Tolerance) -> str:
    difference, largest = result.largest_difference, result.largest_logit
    maximum = largest * tolerance.max_difference_elsewhere
    if result.checked_with.startswith("transformers"):
        maximum = largest * tolerance.max_difference
    if difference is not None and difference <= maximum:
        return ""
    if difference is None:
        return say("other logits: they differ infinitely")
    return say(
        "other logits: they differ by up to {difference:.3g} (maximum {maximum:.3g}, "
        "as the largest is {largest:.3g})",
        difference=difference,
        maximum=maximum,
        largest=largest,
    )


def _agreement_mismatch(result: VerificationResult, minimum: float) -> str:
    if result.agreement >= minimum:
        return ""
    return say(
        "the same top token for only {agreement:percent} of {tokens} tokens (minimum "
        "{minimum:percent0})",
        agreement=result.agreement,
        tokens=result.tokens,
        minimum=minimum,
    )


def _perplexity_mismatch(
    result: VerificationResult, expected: float, maximum: float
) -> str:
    perplexity = result.perplexity
    if perplexity is None:
        if not result.windows:
            return ""
        return say(
            "a perplexity that is not finite instead of {expected:.4f}",
            expected=expected,
        )
    if abs(math.log(perplexity / expected)) <= maximum:
        return ""
    return say(
        "a perplexity of {perplexity:.4f} instead of {expected:.4f} (maximum deviation "
        "{maximum:percent})",
        perplexity=perplexity,
        expected=expected,
        maximum=maximum,
    )
