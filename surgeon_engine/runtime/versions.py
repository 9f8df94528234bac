"""The versions of the libraries."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of Python and the libraries that affect results."""
    packages = ("surgeon", "torch", "transformers", "datasets")
    return {"python": platform.python_version()} | {
        name: _version(name) for name in packages
    }


@cache  # reading the metadata of torch takes milliseconds
def _version(package: str) -> str:
    return metadata.version(package)
