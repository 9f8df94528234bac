"""The libraries that the engine stands on: their versions, and their manners."""

from __future__ import annotations

import platform
from importlib.metadata import version

import datasets
from transformers.utils import logging


def versions() -> dict[str, str]:
    """Of what the figures of a run depend on."""
    packages = ("surgeon", "torch", "transformers", "datasets")
    return {"python": platform.python_version()} | {
        name: version(name) for name in packages
    }


def without_progress_bars() -> None:
    """Keep them from drawing bars of their own: the run's events tell what goes on."""
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
