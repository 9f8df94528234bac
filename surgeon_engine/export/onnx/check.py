"""Compare the logits of an ONNX graph, computed by onnxruntime, with a probe.

`isolated_process.run_isolated` runs this file as a program that cannot import Surgeon;
it needs neither torch nor transformers. It writes one line of JSON, a
`VerificationResult`. The probe holds

    tokens   1 x n           int64
    logits   1 x n x vocab   float32, of the model in memory
    original 1 x n x vocab   float32, of the model before pruning; may be missing
    windows  m x length      int64, for the perplexity; may be missing
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

_ERROR_SEVERITY = 3  # of onnxruntime's log
_MAX_EXPONENT = 700  # of a float64


def compare(graph: Path, probe: Path) -> dict[str, object]:
    """Return the fields of a `VerificationResult`."""
    import numpy as np
    import onnxruntime
    from safetensors.numpy import load_file

    expected = load_file(probe)
    onnxruntime.set_default_logger_severity(_ERROR_SEVERITY)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def logits_of(tokens: Any) -> Any:
        """Map 1 x n tokens to 1 x n x vocabulary logits."""
        inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        return session.run(["logits"], inputs)[0]

    logits, expected_logits = logits_of(expected["tokens"]), expected["logits"]
    difference = float(np.abs(logits - expected_logits).max())
    agrees = logits.argmax(-1) == expected_logits.argmax(-1)
    losses = [
        loss_of(row, token)
        for window in expected.get("windows", ())
        for row, token in zip(logits_of(window[None])[0, :-1], window[1:], strict=True)
    ]
    loss = float(np.mean(losses)) if losses else math.nan
    return {
        "tokens": expected["tokens"].size,
        "largest_difference": difference if math.isfinite(difference) else None,
        "largest_logit": float(np.abs(expected_logits).max()),
        "agreement": float(agrees.mean()),
        "perplexity": math.exp(loss) if loss < _MAX_EXPONENT else None,
        "checked_with": f"onnxruntime {onnxruntime.__version__}",
        "windows": len(expected.get("windows", ())),
        "divergence": divergence(expected.get("original"), logits),
    }


def loss_of(logits: Any, token: int) -> float:
    """Return the cross entropy of one token, in nats."""
    return float(-log_probabilities(logits)[token])


def divergence(original: Any, logits: Any) -> float | None:
    """Return the mean KL(original || graph) in nats; None: not finite."""
    import numpy as np

    if original is None:
        return None
    p, q = log_probabilities(original), log_probabilities(logits)
    nats = float((np.exp(p) * (p - q)).sum(-1).mean())
    return nats if math.isfinite(nats) else None


def log_probabilities(logits: Any) -> Any:
    """Return the logarithms of the probabilities of the last axis."""
    import numpy as np

    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
