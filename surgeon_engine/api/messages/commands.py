"""What the outside tells the engine. Plain frozen values, sent as lines of JSON.

Each command carries the name of the run (or of the request) that it belongs to; the
events that answer it come back under the same name. Imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings
from surgeon_engine.api.messages.generation import GenerationSettings


class _Command(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    run: str


class InspectModel(_Command, frozen=True):
    """Describe a model without loading its weights: answered by `ModelInspected`."""

    model: ModelConfig


class DownloadModel(_Command, frozen=True):
    """Fetch a model of the Hub into the cache: `Downloading`, then `ModelDownloaded`.

    What an earlier attempt has left is not fetched again.
    """

    source: str  # hf://organisation/name


class DescribeText(_Command, frozen=True):
    """Say what can be chosen in a table or a data set: answered by `TextDescribed`."""

    calibration: CalibrationConfig


class PreviewText(_Command, frozen=True):
    """Show what would be measured: answered by `TextPreviewed`."""

    model: ModelConfig
    calibration: CalibrationConfig


class StartRun(_Command, frozen=True):
    """Prune as `config` says; everything about the run goes to `folder`."""

    config: RunConfig
    folder: str


class ExportRun(_Command, frozen=True):
    """Write the model of a finished run once more, and check it: `Exported`."""

    folder: str
    export: ExportConfig  # its folder must be given


class MeasureModels(_Command, frozen=True):
    """Take the times of one model, or of two in turns: answered by `Measured`."""

    sources: tuple[str, ...]
    settings: BenchmarkSettings


class Diagnose(_Command, frozen=True):
    """Measure what everything would cost and cut nothing: answered by `Diagnosed`."""

    config: RunConfig
    folder: str  # where the costs go


class Generate(_Command, frozen=True):
    """Let two models write on from a prompt, in turns: answered by `Generated`.

    A folder may be that of a checkpoint or of a finished run.
    """

    original: str
    pruned: str
    prompt: str
    settings: GenerationSettings


class ProbeMachine(_Command, frozen=True):
    """Say how fast the machine is and what is free: answered by `MachineProbed`."""


class StopAndKeep(_Command, frozen=True):
    """End after the shot that is under way, and export what is there by then.

    Of `Generate`: end both texts where they are, and compare what is there by then.
    """


class Pause(_Command, frozen=True):
    """Wait at the next safe point, with the model in memory: `Paused` tells of it."""


class Resume(_Command, frozen=True):
    """Go on after a pause; StopAndKeep does so too."""


class Cancel(_Command, frozen=True):
    """End at the next safe point and export nothing."""


Command = (
    InspectModel
    | DownloadModel
    | DescribeText
    | PreviewText
    | StartRun
    | ExportRun
    | MeasureModels
    | Diagnose
    | Generate
    | ProbeMachine
    | StopAndKeep
    | Pause
    | Resume
    | Cancel
)
