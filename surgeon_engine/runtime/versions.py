"""The versions of the libraries, and their output to the terminal."""

from __future__ import annotations

import logging as python_logging
import platform
from functools import cache
from importlib import metadata

from transformers.utils import logging


def versions() -> dict[str, str]:
    """Return the versions of Python and the libraries that affect results."""
    packages = ("surgeon", "torch", "transformers", "datasets")
    return {"python": platform.python_version()} | {
        name: _version(name) for name in packages
    }


@cache  # reading the metadata of torch takes milliseconds
def _version(package: str) -> str:
    return metadata.version(package)


_UNEVEN = "transformers.integrations.heterogeneity.configuration_utils"
_LOADING = "transformers.modeling_utils"


def disable_progress_bars() -> None:
    """Disable the libraries' progress bars; the events of a run show its progress.

    Also disable the warning about models whose layers differ in width, and the table
    of missing and unknown tensors, since a sentence of Surgeon names them.
    """
    logging.disable_progress_bar()
    python_logging.getLogger(_UNEVEN).setLevel(python_logging.ERROR)
    # A level for all of this logger would make transformers check plans for GPUs.
    python_logging.getLogger(_LOADING).addFilter(_is_no_table)


def _is_no_table(record: python_logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
