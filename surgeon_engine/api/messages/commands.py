"""Commands to the engine: frozen values, sent as lines of JSON.

Each command has the name of its run or request; the events that respond to it have the
same name.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.messages.judgment import JudgeSettings
from surgeon_engine.api.messages.run import Estimate, Seconds, Stage


class _Command(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    run: str


class InspectModel(_Command, frozen=True):
    """Describe a model without loading its weights. Response: `ModelInspected`."""

    model: ModelConfig


class DownloadModel(_Command, frozen=True):
    """Download a model of the Hub into the cache.

    The response is `Downloading` events, then `ModelDownloaded`. Files of an earlier
    attempt are not downloaded again.
    """

    source: str  # hf://organization/name


class SearchHub(_Command, frozen=True):
    """Search the Hub for models by words. The response is `HubSearched`."""

    query: str


class DescribeText(_Command, frozen=True):
    """List the choices of a table or dataset. The response is `TextDescribed`."""

    calibration: CalibrationConfig


class PreviewText(_Command, frozen=True):
    """Return the first windows of a text. The response is `TextPreviewed`."""

    model: ModelConfig
    calibration: CalibrationConfig
    own_windows: int = 0  # windows by the model itself; shown if in the cache


class PreviewVocabulary(_Command, frozen=True):
    """Say what fewer tokens mean for texts. The response is `VocabularyPreviewed`."""

    model: ModelConfig
    calibration: CalibrationConfig
    tokens: int | None  # to keep; None: as is typical of a run that chooses them
    kept_texts: tuple[str, ...]  # as `PruningConfig.kept_texts`


class StartRun(_Command, frozen=True):
    """Prune a model as `config` describes and write the run to `folder`.

    A detached run is a process of its own, which needs no engine; see `Watch`.
    """

    config: RunConfig
    folder: str
    replace: bool = False  # a person allows to replace the export at the destination
    detached: bool = False
    stop_after: int = 0  # the shot after which to stop and export; 0: none
    expected: Estimate | None = None  # KL of the file, as it was shown to a person
    planned: dict[Stage, Seconds] = {}  # over all shots, likewise; empty: unknown


class ResumeRun(_Command, frozen=True):
    """Go on with the interrupted run in `folder`. First event: `RunResumed`."""

    folder: str
    replace: bool = False  # as of `StartRun`
    detached: bool = False  # likewise


class Watch(_Command, frozen=True):
    """Send the events in the log of a run, and all that follow, until it ends.

    `StartRun` and `ResumeRun` do so, too, for a detached run. The events have the name
    of the command, and the offset at which another `Watch` goes on after them. The run
    obeys `StopAndKeep`, `Pause`, `Resume` and `Cancel` with that name.
    """

    folder: str
    offset: int = 0  # bytes of the log that are left out


class ExportRun(_Command, frozen=True):
    """Export the model of a finished run again. The response is `Exported`."""

    folder: str
    export: ExportConfig  # must name a folder
    replace: bool = False  # as of `StartRun`


class MeasureModels(_Command, frozen=True):
    """Measure speed and memory of one model or of two. The response is `Measured`."""

    sources: tuple[str, ...]
    settings: BenchmarkSettings
    folder: str = ""  # folder of the run whose log records it; empty: none


class Judge(_Command, frozen=True):
    """Judge what a file has lost against its original. The response is `Judged`.

    `StopAndKeep` ends the answers: what was answered until then is judged.
    """

    target: str  # folder of a finished run, an export of it, or a model
    original: str = ""  # as `ModelConfig.source`; empty: the original of the run
    settings: JudgeSettings = JudgeSettings()


class Diagnose(_Command, frozen=True):
    """Measure the costs of all removals, removing nothing. Response: `Diagnosed`."""

    config: RunConfig
    folder: str  # for the file of costs


class Generate(_Command, frozen=True):
    """Generate text from a prompt with two models. The response is `Generated`.

    The source of a model may be a checkpoint or the folder of a finished run.
    """

    original: str
    pruned: str
    prompt: str
    settings: GenerationSettings


class ProbeMachine(_Command, frozen=True):
    """Measure speed and free memory of the machine. Response: `MachineProbed`."""


class ListFiles(_Command, frozen=True):
    """List a folder of the engine's computer. The response is `FilesListed`."""

    folder: str  # ~ is the home folder of the user


class ListModels(_Command, frozen=True):
    """List the models in the Hub's cache of the engine's computer.

    The response is `ModelsListed`.
    """


class ListRuns(_Command, frozen=True):
    """List the runs in a folder of the engine's computer. Response: `RunsListed`."""

    folder: str


class StopAndKeep(_Command, frozen=True):
    """Stop a run after the current shot and export its model.

    For `Generate`: end both texts at the current token and compare them.
    """


class Pause(_Command, frozen=True):
    """Pause a run at the next safe point, with the model in memory. Event: `Paused`."""


class Resume(_Command, frozen=True):
    """Continue a paused run; `StopAndKeep` continues it too."""


class Cancel(_Command, frozen=True):
    """Stop at the next safe point without an export."""


Control = StopAndKeep | Pause | Resume | Cancel  # commands to work in progress

# Commands that are executed at once; the others one at a time.
AT_ONCE = (DownloadModel, SearchHub, ListFiles, ListModels, ListRuns)

Command = (
    InspectModel
    | DownloadModel
    | SearchHub
    | DescribeText
    | PreviewText
    | PreviewVocabulary
    | StartRun
    | ResumeRun
    | Watch
    | ExportRun
    | MeasureModels
    | Judge
    | Diagnose
    | Generate
    | ProbeMachine
    | ListFiles
    | ListModels
    | ListRuns
    | Control
)
