"""The libraries that the engine stands on: their versions, and their manners."""

from __future__ import annotations

import logging as python_logging
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


_UNEVEN = "transformers.integrations.heterogeneity.configuration_utils"


def without_progress_bars() -> None:
    """Keep them from drawing bars of their own: the run's events tell what goes on.

    And from warning of every model whose layers differ in their widths.
    """
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    python_logging.getLogger(_UNEVEN).setLevel(python_logging.ERROR)
