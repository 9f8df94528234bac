"""The general text that comes with Surgeon: passages of many kinds and languages.

It keeps a pruned model from specializing to the user's text, as what the model itself
writes does (`own_samples.py`), and need not be written. `resources/general/README.md`
lists its sources.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from torch import Tensor

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.calibration.fenced import all_windows
from surgeon_engine.calibration.texts import TextSource
from surgeon_engine.model.load import LoadedModel

GENERAL_TEXT = Path(str(files("surgeon_resources"))) / "general" / "general.jsonl"


def general_windows(loaded: LoadedModel, length: int, seed: int) -> Tensor:
    """Return all windows of the general text in random order: windows x length.

    Raises:
        CalibrationError: Its tokens exceed the vocabulary or the window of the model.
    """
    text = str(GENERAL_TEXT)
    config = CalibrationConfig(text=text, window_length=length, seed=seed)
    return all_windows(TextSource(text, column="text"), config, loaded)
