"""Where runs go, and what their folders are called."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import platformdirs


def default_run_parent() -> Path:
    """The folder in which runs make their own, unless the user names another."""
    return platformdirs.user_data_path("surgeon") / "runs"


def log_file() -> Path:
    """Where the window's own log is written."""
    return platformdirs.user_log_path("surgeon") / "window.log"


def new_run_folder(parent: Path, model: str, now: datetime.datetime) -> Path:
    """A folder that does not exist yet, named by the time and the model."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem).strip("-.") or "model"
    stem = f"{now:%Y-%m-%d_%H-%M-%S}_{name}"
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
