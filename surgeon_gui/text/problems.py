"""Problems: what keeps a job or an action from being possible, and its sentences.

The state compares the kinds of problems and carries their numbers; `sentence` makes
texts of them for the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Protocol, TypeAlias

from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label


class Step(Enum):
    """The steps of the way from a model to a pruned one."""

    MODEL = "model"
    CALIBRATION = "calibration"
    TARGET = "target"
    RUN = "run"
    EXPORT = "export"


_ANOTHER_FOLDER = tr("Choose another folder.")


class Kind(Enum):
    """The kinds of problems: what is wrong, and for some what to do about it."""

    ERROR = "{message}", "{hint}"  # from the engine, or about a value in a page

    # the engine
    RUN_BUSY = (
        tr("A run is in progress."),
        tr("It has memory and processors for itself: wait until it ends."),
    )
    QUEUEABLE = (
        tr("A run is in progress."),
        tr("“Add to queue” keeps this job for later."),
    )
    SAVING = tr("The pruned model is being saved in another format.")
    MEASURING = tr("Speed is being measured.")
    JUDGING = tr("A file is being judged.")
    DIAGNOSING = tr("The model is being measured.")
    GENERATING = tr("Both models are generating text.")
    ENGINE_STARTING = tr("The engine is still starting.")
    MACHINE_UNKNOWN = tr("The memory and the disk are still being checked.")
    ENGINE_UNAVAILABLE = tr("The engine is not available. Restart Surgeon.")
    DISCONNECTED = tr("There is no connection with {computer}.")
    RUN_ELSEWHERE = tr("This run is not on {computer}: choose its computer first.")
    DIAGNOSIS_ELSEWHERE = tr(
        "To measure a model, its files must be here: choose This computer first."
    )

    # the draft
    NO_MODEL = tr("Choose a model first.")
    MODEL_UNREAD = tr("The model is still being read.")
    MODEL_AWAITED = (
        "{note}",
        tr(
            "Until then, a target in file size or memory, or of experts, cannot be "
            "queued."
        ),
    )
    TEXT_UNREAD = tr("The text is still being read.")
    RESOURCE_SHORT = (
        tr("Not enough {resource}: the run needs {needed}, and {free} are free."),
        tr("Settings that fit are offered in Expert, Target."),
    )

    # its model and its texts
    NO_HUB_NAME = (
        tr("{source} is not the name of a model on the Hugging Face Hub."),
        tr("Use the form organization/name."),
    )
    MODEL_OFFLINE = tr(
        "{name} is not on this computer, and offline mode is on (File > Preferences)."
    )
    NOT_DOWNLOADED = tr("{name} has not been downloaded yet.")
    MODEL_MISSING = tr("No model found at {source}.")
    DATASET_OFFLINE = tr(
        "The dataset {name} is on the Hub, and offline mode is on (File > Preferences)."
    )

    # its folders
    RUNS_IN_FILE = tr("{path} is a file."), tr("Choose a folder for the runs.")
    RUNS_UNWRITABLE = (
        tr("The folder {path} cannot be written."),
        tr("Choose another for the runs."),
    )
    PARENT_UNWRITABLE = (
        tr("{destination} cannot be created: {path} cannot be written."),
        _ANOTHER_FOLDER,
    )
    PARENT_IS_FILE = (
        tr("{destination} cannot be created: {path} is a file."),
        _ANOTHER_FOLDER,
    )

    # the queue
    QUEUE_ELSEWHERE = tr("The queue works on this computer only.")
    QUEUE_TAKEN = tr("Another window has the queue of this runs folder.")
    SAME_DESTINATION = tr("{run} of the queue writes to {folder}, too.")

    # the result
    UNSAVEABLE = tr("Only the export of a finished run can be saved in another format.")
    SAVE_FORMAT_IMPOSSIBLE = tr("{label} is not possible."), "{reason}"
    SAVE_SOURCE_MISSING = tr(
        "Other formats are made from {path}, which was moved or deleted."
    )
    FILES_ELSEWHERE = (
        tr("The files are on {computer}."),
        tr("Copy the run from there (File > Computers)."),
    )
    FILE_MISSING = tr("{path} was moved or deleted.")
    UNMEASURABLE = tr("Only the export of a finished run can be measured.")
    GGUF_UNMEASURABLE = tr(
        "To measure GGUF files, install {package}: pip install {package}."
    )

    # the playground
    NO_MODELS = tr("Prune a model or open a run first, or choose two models.")
    NO_ORIGINAL = tr("Choose the original model, too.")
    NO_PRUNED = tr("Choose the pruned model, too.")
    NOTHING_EXPORTED = tr("The run exported nothing. Choose a pruned model.")
    NO_PROMPT = tr("Enter a prompt first.")


# What passes by itself in a moment.
PASSING = (
    Kind.ENGINE_STARTING,
    Kind.MACHINE_UNKNOWN,
    Kind.MODEL_UNREAD,
    Kind.TEXT_UNREAD,
)


class Bytes(int):
    """A number of bytes."""


Value: TypeAlias = str | int | PurePath | Enum


class _Error(Protocol):
    """An error of the engine: as an exception or as an event."""

    @property
    def message(self) -> str: ...

    @property
    def hint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, and the step and setting to which it belongs."""

    kind: Kind
    values: Mapping[str, Value] = field(default_factory=dict)
    step: Step | None = None
    setting: str = ""


# The problems of a draft, without steps that have none.
Problems: TypeAlias = Mapping[Step, tuple[Problem, ...]]


def of_error(error: _Error, step: Step | None = None, setting: str = "") -> Problem:
    """Return the problem that the engine has reported."""
    values = {"message": error.message, "hint": error.hint}
    return Problem(Kind.ERROR, values, step, setting)


def sentence(problem: Problem | None) -> str:
    """Return what is wrong, and what to do about it; empty without a problem."""
    if problem is None:
        return ""
    text = problem.kind.value
    template = text if isinstance(text, str) else " ".join(text)
    values = {name: _spoken(value) for name, value in problem.values.items()}
    return template.format(**values).strip()


def blocking(problem: Problem | None) -> str:
    """Return the sentence of a problem that does not pass by itself; else empty."""
    return "" if problem is None or problem.kind in PASSING else sentence(problem)


def _spoken(value: Value) -> str:
    match value:
        case Bytes():
            return numbers.needed_size(value)
        case int():
            return numbers.whole(value)
        case Enum():
            return choice_label(value)[0]
    return str(value)
