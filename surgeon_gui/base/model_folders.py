"""The first folder of a dialog that opens a model."""

from __future__ import annotations

from surgeon_engine.api.model_info.source_names import hub_cache
from surgeon_gui.base import lm_studio, paths


def start_folder(last: str = "") -> str:
    """Return the last folder, LM Studio's models, the Hub's cache, or else the home."""
    folders = (last, str(lm_studio.models_folder() or ""), str(hub_cache()))
    found = (each for each in folders if each and paths.is_folder(each))
    return next(found, str(paths.home()))
