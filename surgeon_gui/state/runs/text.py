"""Texts of the list of runs: titles, figures and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import TokensRemoved
from surgeon_engine.base.process_lock import Holder
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.job import plan_text
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.vocabulary_text import with_tokens
from surgeon_gui.state.run_text import continuation
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.choices import CHOICES, choice_label
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.verdicts import VERDICTS

NOTHING = "\N{EN DASH}"
SEPARATOR = " \N{MIDDLE DOT} "  # between the model and the size in a title
_ARROW = "\N{RIGHTWARDS ARROW}"

OUTCOMES = {
    RunOutcome.RUNNING: tr("Running"),
    RunOutcome.FINISHED: tr("Finished"),
    RunOutcome.STOPPED: tr("Stopped early"),
    RunOutcome.FAILED: tr("Failed"),
    RunOutcome.CANCELLED: tr("Canceled"),
    RunOutcome.INTERRUPTED: tr("Interrupted"),
    RunOutcome.DAMAGED: tr("Unreadable"),
}
_WEEKDAYS = (
    tr("Monday"),
    tr("Tuesday"),
    tr("Wednesday"),
    tr("Thursday"),
    tr("Friday"),
    tr("Saturday"),
    tr("Sunday"),
)
OUTCOME_DETAILS = {
    RunOutcome.INTERRUPTED: tr(
        "It started but did not end, and its process no longer exists."
    ),
    RunOutcome.STOPPED: tr("It was finished early, and the result was kept."),
    RunOutcome.RUNNING: tr("Its process is running."),
}


def title(record: RunRecord) -> str:
    """Return the title of a run: the user's name, or the model and its size.

    Until there is a file, and if zeros remain in it, the target takes the place of the
    size; if the run was stopped early, the sparsity that it reached.
    """
    size, tokens = record.file_bytes, record.tokens
    return title_of(
        record.folder, record.name, record.config, size, _reached(record), tokens
    )


def title_of(
    folder: str,
    name: str,
    config: RunConfig | None,
    file_bytes: int = 0,
    reached: float | None = None,
    tokens: TokensRemoved | None = None,
) -> str:
    """Return the title of the run in a folder.

    Args:
        folder: the folder of the run.
        name: given by the user; empty: none.
        config: None if it cannot be read.
        file_bytes: 0 if there is no file.
        reached: the sparsity at which it was stopped; None: it was not.
        tokens: before and after; None: the file has all of them, or there is none.
    """
    if name:
        return name
    if config is None:
        return _last_part(folder)
    model, goal = source_name(config.model.source), numbers.size(file_bytes)
    if not file_bytes or leaves_zeros(config):
        goal = _goal(config, reached)
    kept, is_open = config.pruning.tokens_to_keep, config.pruning.removes_tokens
    if file_bytes:
        kept, is_open = (None if tokens is None else tokens.after), False
    return f"{model}{SEPARATOR}{with_tokens(goal, kept, is_open=is_open)}"


def _reached(record: RunRecord) -> float | None:
    return record.sparsity if record.outcome is RunOutcome.STOPPED else None


def _goal(config: RunConfig, reached: float | None) -> str:
    """Return the target, or what a run that was stopped has reached."""
    if reached is not None:
        return plan_text.removed_share(reached)
    return plan_text.brief_target(config.pruning)


def verdict(record: RunRecord, percent: int = 0) -> str:
    """Return the verdict on a run; without one, its outcome and how far it came."""
    if record.verdict is not None:
        return VERDICTS[record.verdict]
    if 0 < percent < 100:
        share = numbers.percent(percent / 100)
        return tr("{outcome}, {share}").format(
            outcome=OUTCOMES[record.outcome], share=share
        )
    return OUTCOMES[record.outcome]


def when(record: RunRecord, now: datetime) -> str:
    """Return the size where the title lacks it, the time, and what is special."""
    parts = [day(record, now)]
    if record.name and record.file_bytes:
        parts.insert(0, numbers.size(record.file_bytes))
    if record.seconds:
        parts.append(numbers.duration(record.seconds))
    if record.outcome is RunOutcome.STOPPED and record.verdict is not None:
        parts.append(tr("stopped early"))
    if record.is_export_gone:
        parts.append(tr("no exports left"))
    return ", ".join(parts)


def day(record: RunRecord, now: datetime) -> str:
    """Return the day of the start as one would say it."""
    began = datetime.fromtimestamp(record.began)
    days = (now.date() - began.date()).days
    if days == 0:
        return tr("today")
    if days == 1:
        return tr("yesterday")
    if 1 < days < len(_WEEKDAYS):
        return _WEEKDAYS[began.weekday()]
    return f"{began:%Y-%m-%d}"


def spoken(record: RunRecord, title: str, percent: int, now: datetime) -> str:
    """Return what a screen reader says about a run."""
    size = numbers.size(record.file_bytes) if record.file_bytes else ""
    parts = [title, verdict(record, percent)]
    if size and size not in title and not record.name:
        parts.append(size)
    return ", ".join((*parts, when(record, now)))


def distinct_titles(records: Iterable[RunRecord]) -> dict[str, str]:
    """Return a unique title for each run, by folder.

    Equal titles are distinguished by the target or what was reached if that differs,
    then by structure, method, day and time of the start and the name of the folder.
    """
    titles = {record: title(record) for record in records}
    for detail in _DETAILS:
        details: dict[str, set[str]] = {}
        for record, name in titles.items():
            details.setdefault(name, set()).add(detail(record))
        for record, name in titles.items():
            if len(details[name]) > 1:
                titles[record] = f"{name}, {detail(record)}"
    return {record.folder: name for record, name in titles.items()}


def model(record: RunRecord) -> str:
    """Return the name of the model."""
    if record.config is None:
        return NOTHING
    return source_name(record.config.model.source)


def date(record: RunRecord) -> str:
    """Return the start time in minutes."""
    return _start(record, "%Y-%m-%d %H:%M")


def _start(record: RunRecord, form: str) -> str:
    if not record.began:
        return NOTHING
    return datetime.fromtimestamp(record.began).strftime(form)


def _last_part(folder: str) -> str:
    return folder.replace("\\", "/").rpartition("/")[2]


# What tells runs with equal titles apart, the first that differs.
_DETAILS: tuple[Callable[[RunRecord], str], ...] = (
    lambda x: _goal(x.config, _reached(x)) if x.config else NOTHING,
    lambda x: plan_text.structure_phrase(x.config.pruning) if x.config else NOTHING,
    lambda x: CHOICES[x.config.pruning.method][0] if x.config else NOTHING,
    lambda x: _start(x, "%Y-%m-%d"),
    lambda x: _start(x, "%H:%M:%S"),
    lambda x: _last_part(x.folder),
)


def disk_space_details(record: RunRecord) -> str:
    """Return the size of the folder of a run and of its large parts."""
    sizes = (
        (tr("exports {size}"), record.export_bytes),
        (tr("checkpoint {size}"), record.checkpoint_bytes),
        (tr("saved progress {size}"), record.saved_bytes),
    )
    parts = [text.format(size=numbers.size(size)) for text, size in sizes if size]
    total = numbers.size(record.bytes)
    return f"{total} ({', '.join(parts)})" if parts else total


def total_disk_space(records: Sequence[RunRecord]) -> str:
    """Return how many runs there are and how much space they take."""
    text = ntr("{n} run, {size}", "{n} runs, {size}", len(records))
    size = numbers.size(sum(record.bytes for record in records))
    return text.format(n=len(records), size=size)


def outcome_details(record: RunRecord) -> str:
    """Return details of the outcome in a sentence; empty if there are none."""
    details = record.problem or OUTCOME_DETAILS.get(record.outcome, "")
    if record.outcome is RunOutcome.DAMAGED:
        details = f"{details} {usable_parts(record)}"
    return details


def usable_parts(record: RunRecord) -> str:
    """Return what can be used of a run that cannot be read."""
    found = []
    if record.config is not None:
        found.append(tr("its settings (Use these settings)"))
    if record.saved_bytes and record.config is not None:
        found.append(tr("its progress (surgeon resume, on the command line)"))
    if record.has_checkpoint:
        found.append(tr("the pruned model, in its folder"))
    if not found:
        return tr("Nothing of it can be used.")
    return tr("What can still be used: {parts}.").format(parts=", ".join(found))


def facts(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return the details of a run as pairs of name and value."""
    status = OUTCOMES[record.outcome]
    if details := outcome_details(record):
        status = f"{status}. {details}"
    if record.config is None:
        return (
            (tr("Status"), status),
            (tr("Folder"), record.folder),
            (tr("Disk space"), disk_space_details(record)),
        )
    pruning = record.config.pruning
    remaining, began = "", date(record)
    if record.parameters_left:
        removed = 1 - record.parameters_left / max(1, record.parameters_before)
        remaining = tr("{remaining} of {total} ({share} fewer)").format(
            remaining=numbers.count(record.parameters_left),
            total=numbers.count(record.parameters_before),
            share=numbers.percent(removed),
        )
    if record.seconds:
        time = numbers.duration(record.seconds)
        began = tr("{date}, took {time}").format(date=began, time=time)
    figures = (record.perplexity_before, record.perplexity_after)
    perplexities = [numbers.perplexity(each) for each in figures if each is not None]
    form = record.format
    found = (
        (tr("Verdict"), VERDICTS[record.verdict] if record.verdict is not None else ""),
        (tr("Status"), status),
        (tr("Saved progress"), saved_progress(record) if record.can_resume else ""),
        (tr("Model"), model(record)),
        (tr("Target"), plan_text.brief_plan(pruning)),
        (
            tr("Size of the file"),
            numbers.size(record.file_bytes) * bool(record.file_bytes),
        ),
        (tr("Method"), CHOICES[pruning.method][0]),
        (tr("Fidelity"), "\n".join(map(fidelity.line, record.fidelity))),
        (tr("Perplexity"), f" {_ARROW} ".join(perplexities)),
        (tr("Remaining parameters"), remaining),
        (tr("Export format"), choice_label(form)[0] if form is not None else ""),
        (tr("Started"), began),
        (tr("Disk space"), disk_space_details(record)),
    )
    return tuple(fact for fact in found if fact[1])


def saved_progress(record: RunRecord) -> str:
    """Describe the state from which a run can go on, with its size."""
    size = tr("{size} on the disk.").format(size=numbers.size(record.saved_bytes))
    return f"{size} {continuation(record.resumes_at, record.config)}".strip()


def offer_to_resume(record: RunRecord) -> str:
    """Return the text that offers to resume an interrupted run."""
    text = tr("{run} was interrupted and can be resumed.").format(run=title(record))
    return f"{text} {continuation(record.resumes_at, record.config)}".strip()


def elsewhere(title: str, holder: Holder) -> tuple[str, str]:
    """Return the question about a run of another computer, and its details."""
    question = tr(
        "The computer {computer} has been working on {run} since {start}. Has it "
        "stopped?"
    ).format(start=holder.start, computer=holder.computer, run=title)
    details = tr(
        "This computer cannot see whether {computer} is still working. If it is, and "
        "the run is resumed here, the two damage the run."
    ).format(computer=holder.computer)
    return question, details


def searched_text(record: RunRecord) -> str:
    """Return the text that a search looks at, in lower case."""
    parts = [title(record), record.folder, OUTCOMES[record.outcome], date(record)]
    parts += [model(record), *record.tags, record.notes]
    if record.config is not None:
        pruning = record.config.pruning
        parts += [CHOICES[x][0] for x in (pruning.structure, pruning.method)]
        parts.append(plan_text.brief_target(pruning))
    return " ".join(parts).casefold()


def matches_search(record: RunRecord, search: str) -> bool:
    """Return True if a run contains all words of a search."""
    words = search.casefold().split()
    text = searched_text(record) if words else ""
    return all(word in text for word in words)
