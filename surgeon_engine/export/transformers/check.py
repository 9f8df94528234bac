"""Compare the logits of a checkpoint, loaded by plain transformers, with a probe.

`isolated_process.run_isolated` runs this file as a program that cannot import Surgeon.
It writes one line of JSON, a `VerificationResult`. The probe holds

    tokens   1 x n           int64
    logits   1 x n x vocab   float32, of the model in memory
    original 1 x n x vocab   float32, of the model before pruning, NaN where it predicts
                             nothing; may be missing
    windows  m x length      int64, for the perplexity

It proves that transformers finds a class for the checkpoint, reads its tensors by its
own names and conversions, and computes these logits with its own modules. A tensor that
it does not find would have random numbers, and so other logits.

Where the files are larger than memory has room for, transformers keeps most weights in
a temporary folder (its disk offload) and reads a module's weights when that runs. It
would hold all of them otherwise, where it joins the experts of a mixture.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# The class that chooses one by the config, and the table of its choices.
_AUTO = {
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "AutoModelForMultimodalLM": "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
}
_MAX_EXPONENT = 700  # exp of more may exceed a float64


def compare(
    checkpoint: Path, probe: Path, room: float, kept: float
) -> dict[str, object]:
    """Return the fields of a `VerificationResult`; `placement` has the shares."""
    # The engine has made this folder, and deletes it in any case.
    modules = os.environ.get("HF_MODULES_CACHE")
    with tempfile.TemporaryDirectory(dir=modules) as folder:
        return _compare(checkpoint, probe, placement(checkpoint, folder, room, kept))


def _compare(
    checkpoint: Path, probe: Path, placed: dict[str, Any]
) -> dict[str, object]:
    import torch
    import transformers
    from safetensors.torch import load_file

    transformers.logging.set_verbosity_error()
    expected = load_file(probe)
    auto = getattr(transformers, auto_class(checkpoint))
    model = auto.from_pretrained(
        checkpoint,
        dtype="auto",
        local_files_only=True,
        trust_remote_code=True,
        **placed,
    ).eval()
    model = language_model(model)
    expected_logits, windows = expected["logits"], expected["windows"]
    with torch.no_grad():
        logits = model(expected["tokens"], use_cache=False).logits.float()
        losses = [
            torch.nn.functional.cross_entropy(
                model(window.unsqueeze(0), use_cache=False).logits[0, :-1].float(),
                window[1:],
            )
            for window in windows
        ]
    difference = float((logits - expected_logits).abs().max())
    loss = float(torch.stack(losses).mean())
    agrees = logits.argmax(dim=-1) == expected_logits.argmax(dim=-1)
    return {
        "tokens": expected["tokens"].numel(),
        "largest_difference": difference if math.isfinite(difference) else None,
        "largest_logit": float(expected_logits.abs().max()),
        "agreement": float(agrees.float().mean()),
        "perplexity": math.exp(loss) if loss < _MAX_EXPONENT else None,
        "checked_with": f"transformers {transformers.__version__}",
        "windows": len(windows),
        "divergence": divergence(expected.get("original"), logits),
        "saving_divergence": divergence(expected_logits, logits),
    }


def placement(
    checkpoint: Path, folder: str, room: float, kept: float
) -> dict[str, Any]:
    """Return arguments by which weights without room in memory are in a folder.

    The shares of the free memory are `CHECK_ROOM` and `CHECK_KEPT` of the plan.

    Compact checkpoints bring code of their own, and have room: their weights stay in
    the files, which the system maps.
    """
    import psutil

    free = psutil.virtual_memory().available
    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    if size <= room * free or "auto_map" in _config(checkpoint):
        return {}
    return {
        "device_map": "auto",
        "max_memory": {"cpu": int(kept * free)},
        "offload_folder": folder,
    }


def language_model(model: Any) -> Any:
    """Return the innermost part with the decoder and a head, which needs no image."""
    found, inner = model, model
    while hasattr(inner, "get_decoder") and inner.get_decoder() is not inner:
        inner = inner.get_decoder()
        if not hasattr(inner, "get_output_embeddings"):
            break
        if inner.get_output_embeddings() is not None:
            found = inner
    return found


def auto_class(checkpoint: Path) -> str:
    """Return the name of the class that chooses the checkpoint's by its config."""
    from transformers.models.auto import modeling_auto

    config = _config(checkpoint)
    name, model_type = config["architectures"][0], config["model_type"]
    for auto, choices in _AUTO.items():
        known = getattr(modeling_auto, choices, {})
        if auto in config.get("auto_map", ()) or known.get(model_type) == name:
            return auto
    return "AutoModelForCausalLM"


def _config(checkpoint: Path) -> dict[str, Any]:
    content = (checkpoint / "config.json").read_text(encoding="utf-8")
    return dict(json.loads(content))


def divergence(other: Any, logits: Any) -> float | None:
    """Return the mean KL(other || checkpoint) in nats; None: unknown or not finite.

    Args:
        other: The logits of the other model, NaN where it predicts nothing.
        logits: The logits of the checkpoint.
    """
    if other is None:
        return None
    is_known = ~other.isnan().any(-1)
    p, q = (x[is_known].double().log_softmax(-1) for x in (other, logits))
    nats = float((p.exp() * (p - q)).sum(-1).mean())
    return max(0.0, nats) if math.isfinite(nats) else None  # rounding may go below 0


if __name__ == "__main__":
    checkpoint, probe, room, kept = sys.argv[1:]
    found = compare(Path(checkpoint), Path(probe), float(room), float(kept))
    sys.stdout.write(json.dumps(found) + "\n")
