"""Errors that a user can act on: the message says what is wrong, `hint` what to try.

Anything that is not an `EngineError` is a bug and may show a traceback.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engine's own errors."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EngineError):
    """A setting has a value that it cannot have."""


class ModelError(EngineError):
    """A model cannot be found, read or pruned."""


class CalibrationError(EngineError):
    """A text cannot be read, or is too short for what was asked of it."""


class DownloadError(EngineError):
    """Something on the Hugging Face Hub cannot be fetched."""


class CurvatureError(EngineError):
    """Activations, gradients or factors from which no cost can be computed."""


class EvaluationError(EngineError):
    """The loss of the model is no number."""


class PruningError(EngineError):
    """The target cannot be reached by removing what may be removed."""


class ExportError(EngineError):
    """A checkpoint could not be written, or did not load as it should."""


class RoomError(EngineError):
    """A run needs more memory or disk than there is."""


class RunFolderError(EngineError):
    """The folder of a run cannot be made, read or written."""
