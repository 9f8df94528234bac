"""Loads a checkpoint as a stranger would and says how far its logits are off.

Run in a process of its own, `python -m surgeon_engine.export.verify CHECKPOINT PROBE`,
with plain transformers and nothing of the run in memory; writes one line of JSON.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


class Verdict(msgspec.Struct, frozen=True):
    """How the logits of a reloaded checkpoint compare with those in memory."""

    dtype: str  # of the stored weights
    tokens: int
    largest_difference: float | None  # None: not finite
    largest_logit: float


def compare(checkpoint: Path, probe: Path) -> Verdict:
    """Load `checkpoint` and compare its logits with those in `probe`."""
    expected = load_file(probe)
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype="auto", local_files_only=True
    ).eval()
    with torch.no_grad():
        logits = model(expected["tokens"], use_cache=False).logits.float()
    wanted = expected["logits"]
    difference = float((logits - wanted).abs().max())
    return Verdict(
        dtype=str(model.dtype).removeprefix("torch."),
        tokens=expected["tokens"].numel(),
        largest_difference=difference if math.isfinite(difference) else None,
        largest_logit=float(wanted.abs().max()),
    )


if __name__ == "__main__":
    verdict = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
