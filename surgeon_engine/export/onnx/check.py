"""Computes an ONNX graph and says how far its logits are off.

Run as a file by `fresh_process`, with onnxruntime on the CPU and without Surgeon, torch
and transformers; writes one line of JSON, a `VerificationResult`. The probe holds

    tokens   1 x n           int64
    logits   1 x n x vocab   float32, of the model in memory
    windows  m x length      int64, on which perplexity is computed; may be missing
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

_ERRORS_ALONE = 3  # of onnxruntime's severities
_LARGEST_EXPONENT = 700  # of a float64


def compare(graph: Path, probe: Path) -> dict[str, object]:
    """The verdict on `graph`."""
    import numpy as np
    import onnxruntime
    from safetensors.numpy import load_file

    expected = load_file(probe)
    onnxruntime.set_default_logger_severity(_ERRORS_ALONE)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def logits_of(tokens: Any) -> Any:
        """1 x n -> 1 x n x vocabulary."""
        inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        return session.run(["logits"], inputs)[0]

    logits, wanted = logits_of(expected["tokens"]), expected["logits"]
    difference = float(np.abs(logits - wanted).max())
    losses = [
        loss_of(row, token)
        for window in expected.get("windows", ())
        for row, token in zip(logits_of(window[None])[0, :-1], window[1:], strict=True)
    ]
    loss = float(np.mean(losses)) if losses else math.nan
    return {
        "tokens": expected["tokens"].size,
        "largest_difference": difference if math.isfinite(difference) else None,
        "largest_logit": float(np.abs(wanted).max()),
        "agreement": float((logits.argmax(-1) == wanted.argmax(-1)).mean()),
        "perplexity": math.exp(loss) if loss < _LARGEST_EXPONENT else None,
        "checked_with": f"onnxruntime {onnxruntime.__version__}",
        "windows": len(expected.get("windows", ())),
    }


def loss_of(logits: Any, token: int) -> float:
    """-log of the probability that `logits`, one for each word, give to `token`."""
    import numpy as np

    above = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(above).sum()) - above[token])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
