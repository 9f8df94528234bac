"""What the list of runs says of one: its name, its figures, what has become of it.

Pure functions from a record to words, and to what the words are sorted by.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from surgeon_gui.state.runs.reading import (RunRecord, RunOutcome,)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import plan_text as plans
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import (CHOICES, choice_label,)
from surgeon_gui.text.labels import source_name

NOTHING = "\N{EN DASH}"
_ARROW = "\N{RIGHTWARDS ARROW}"

OUTCOMES = {
    RunOutcome.UNDER_WAY: tr("Under way"),
    RunOutcome.FINISHED: tr("Finished"),
    RunOutcome.STOPPED: tr("Stopped early"),
    RunOutcome.FAILED: tr("Failed"),
    RunOutcome.CANCELLED: tr("Cancelled"),
    RunOutcome.INTERRUPTED: tr("Interrupted"),
    RunOutcome.DAMAGED: tr("Damaged"),
}
ABOUT_STANDINGS = {
    RunOutcome.INTERRUPTED: tr("It has begun and not ended, and its process is gone."),
    RunOutcome.STOPPED: tr("It was stopped after a shot, and what it had was kept."),
    RunOutcome.UNDER_WAY: tr("Its process is at work."),
}


def title(record: RunRecord) -> str:
    """What a run is called: by its user, or after its model and its target."""
    if record.name:
        return record.name
    if record.config is None:
        return record.folder.replace("\\", "/").rpartition("/")[2]
    words = tr("{model}, {target}")
    return words.format(model=model(record), target=target(record))


def distinct_titles(records: Iterable[RunRecord]) -> dict[str, str]:
    """What runs that stand side by side are called, by folder.

    Those of one title are told apart by what was removed, if that differs, else by when
    they began.
    """
    called = {record: title(record) for record in records}
    for tell_apart in (_removed_parts, _moment):
        alike: dict[str, set[str]] = {}
        for record, words in called.items():
            alike.setdefault(words, set()).add(tell_apart(record))
        for record, words in called.items():
            if len(alike[words]) > 1:
                called[record] = f"{words}, {tell_apart(record)}"
    return {record.folder: words for record, words in called.items()}


def model(record: RunRecord) -> str:
    """The model by the name people know it by."""
    if record.config is None:
        return NOTHING
    return source_name(record.config.model.source)


def structure(record: RunRecord) -> str:
    """What was removed."""
    if record.config is None:
        return NOTHING
    return CHOICES[record.config.pruning.kind][0]


def target(record: RunRecord) -> str:
    """How much was to be removed, as it was given."""
    if record.config is None:
        return NOTHING
    return plans.target_in_brief(record.config.pruning)


def perplexity(record: RunRecord) -> str:
    """Before and after."""
    if record.perplexity_before is None:
        return NOTHING
    before = numbers.perplexity(record.perplexity_before)
    if record.perplexity_after is None:
        return before
    return f"{before} {_ARROW} {numbers.perplexity(record.perplexity_after)}"


def parameters(record: RunRecord) -> str:
    """How many parameters are left."""
    if not record.parameters_left:
        return NOTHING
    return numbers.count(record.parameters_left)


def date(record: RunRecord) -> str:
    """When the run began."""
    if not record.began:
        return NOTHING
    return f"{datetime.fromtimestamp(record.began):%Y-%m-%d %H:%M}"


def _removed_parts(record: RunRecord) -> str:
    return plans.structure_inside(record.config.pruning) if record.config else NOTHING


def _moment(record: RunRecord) -> str:
    return f"{datetime.fromtimestamp(record.began):%Y-%m-%d %H:%M:%S}"


def duration(record: RunRecord) -> str:
    """How long it took."""
    return numbers.duration(record.seconds) if record.seconds else NOTHING


def standing(record: RunRecord) -> str:
    """What has become of it, in one or two words."""
    return OUTCOMES[record.standing]


def about_standing(record: RunRecord) -> str:
    """Why it stands so, in a sentence; empty where that says it all."""
    return record.problem or ABOUT_STANDINGS.get(record.standing, "")


def facts(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """All that the list knows of a run, as names and values."""
    state = standing(record)
    if why := about_standing(record):
        state = f"{state}. {why}"
    if record.config is None:
        return ((tr("Status"), state), (tr("Folder"), record.folder))
    pruning = record.config.pruning
    found = [
        (tr("Status"), state),
        (tr("Model"), model(record)),
        (tr("Target"), plans.in_brief(pruning)),
        (tr("Method"), CHOICES[pruning.method][0]),
    ]
    if record.perplexity_before is not None:
        found.append((tr("Perplexity"), perplexity(record)))
    if record.parameters_left:
        words = tr("{left} of {all}").format(
            left=parameters(record), all=numbers.count(record.parameters_before)
        )
        found.append((tr("Parameters left"), words))
    if record.format is not None:
        found.append((tr("Exported as"), choice_label(record.format)[0]))
    began = date(record)
    if record.seconds:
        began = tr("{date}, took {time}").format(date=began, time=duration(record))
    return (*found, (tr("Begun"), began))


def searched_text(record: RunRecord) -> str:
    """Everything that a search looks at, in small letters."""
    parts = [title(record), record.folder, standing(record), date(record)]
    parts += [model(record), structure(record), target(record)]
    if record.config is not None:
        parts.append(CHOICES[record.config.pruning.method][0])
    return " ".join(parts).casefold()


def is_found(record: RunRecord, search: str) -> bool:
    """Whether a run has all the words of a search."""
    text = searched_text(record)
    return all(word in text for word in search.casefold().split())
