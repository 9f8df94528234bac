"""Loads a checkpoint as a stranger would and says how far its logits are off.

Run as a file by `fresh_process`, with plain transformers and without Surgeon; writes
one line of JSON, a `writer.VerificationResult`. The probe holds

    tokens   1 x n           int64
    logits   1 x n x vocab   float32, of the model in memory
    windows  m x length      int64, on which perplexity is computed
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path


def compare(checkpoint: Path, probe: Path) -> dict[str, object]:
    """The verdict on `checkpoint`."""
    import torch
    import transformers
    from safetensors.torch import load_file

    transformers.logging.set_verbosity_error()
    expected = load_file(probe)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype="auto", local_files_only=True, trust_remote_code=True
    ).eval()
    wanted, windows = expected["logits"], expected["windows"]
    with torch.no_grad():
        logits = model(expected["tokens"], use_cache=False).logits.float()
        losses = [
            torch.nn.functional.cross_entropy(
                model(window.unsqueeze(0), use_cache=False).logits[0, :-1].float(),
                window[1:],
            )
            for window in windows
        ]
    difference = float((logits - wanted).abs().max())
    loss = float(torch.stack(losses).mean())
    same = logits.argmax(dim=-1) == wanted.argmax(dim=-1)
    return {
        "tokens": expected["tokens"].numel(),
        "largest_difference": difference if math.isfinite(difference) else None,
        "largest_logit": float(wanted.abs().max()),
        "agreement": float(same.float().mean()),
        "perplexity": math.exp(loss) if loss < 700 else None,
        "checked_with": f"transformers {transformers.__version__}",
        "windows": len(windows),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
