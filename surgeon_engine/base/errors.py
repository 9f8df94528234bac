"""Errors that a user can act on: a message on the problem and a hint on what to do.

Any other exception is a bug and may show a traceback.
"""

from __future__ import annotations

from surgeon_engine.base.sentences import said


class EngineError(Exception):
    """Base class of the engine's errors.

    Args:
        message: What is wrong: a sentence, or a template as for `say`.
        hint: What the user can do, likewise.
        settings: Names of settings, one of them to be changed; empty: not known.
        values: The values of both templates.
    """

    is_occupied = False  # there is something at a path that is to be written
    is_timeout = False  # another attempt may be fast enough

    def __init__(
        self,
        message: str,
        hint: str = "",
        /,
        *,
        settings: tuple[str, ...] = (),
        **values: object,
    ) -> None:
        self.message, self.hint = said(message, values), said(hint, values)
        self.settings = settings
        super().__init__(self.message)


class ConfigError(EngineError):
    """A setting has an invalid value."""


class ModelError(EngineError):
    """A model cannot be found, read or pruned."""


class CalibrationError(EngineError):
    """A text cannot be read, or is too short."""


class DownloadError(EngineError):
    """A model or dataset cannot be downloaded from the Hugging Face Hub."""


class TemporaryDownloadError(DownloadError):
    """A download has failed, and another attempt may succeed."""


class CurvatureError(EngineError):
    """No costs can be computed from the activations, gradients or factors."""


class EvaluationError(EngineError):
    """The loss of the model is not finite."""


class PruningError(EngineError):
    """The model cannot be pruned in this structure, or not to this target."""


class ExportError(EngineError):
    """A checkpoint cannot be written, or fails its verification."""


class InsufficientResourcesError(EngineError):
    """A run needs more memory or disk space than available."""


class ProcessError(EngineError):
    """A process that works on a run has ended before the run."""


class RunFolderError(EngineError):
    """The folder of a run cannot be created, read or written."""


class UnreadableFileError(EngineError):
    """A file is missing, not a regular file, too large, or damaged."""


class RunCancelled(Exception):
    """Raised in a run once the user has cancelled it."""
