"""Texts about the queue: names, estimates, progress and how it ended."""

from __future__ import annotations

from collections.abc import Iterable

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.process_lock import Holder
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.queue.state import QueuedRun, QueueState, QueueStatus
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.problems import Kind, Problem, sentence

_STATUSES = {
    QueueStatus.WAITING: tr("Waiting"),
    QueueStatus.RUNNING: tr("Running"),
    QueueStatus.FINISHED: tr("Finished"),
    QueueStatus.FAILED: tr("Failed"),
    QueueStatus.CANCELLED: tr("Canceled"),
}


def run_name(config: RunConfig) -> str:
    """Return the name of a run in the queue: its usual title and the method."""
    return f"{title_of('', '', config)}, {CHOICES[config.pruning.method][0]}"


def status(run: QueuedRun) -> str:
    """Return the status of a run; of a waiting one the time that it will take."""
    if not run.is_waiting:
        return _STATUSES[run.status]
    if run.folder:
        return tr("Interrupted")
    if run.estimate is None or run.estimate.seconds is None:
        return _STATUSES[run.status]
    time = numbers.rough_duration(run.estimate.seconds)
    return tr("about {time}").format(time=time)


def line(run: QueuedRun) -> str:
    """Return the name of a run, and why it has failed if it has."""
    return f"{run.name}: {run.problem}" if run.problem else run.name


def details(run: QueuedRun) -> str:
    """Return why a run has failed, or what a waiting one needs; empty if unknown."""
    if run.problem:
        return run.problem
    if run.is_waiting and run.folder:
        return tr("It was interrupted, and goes on from its last saved state.")
    if run.is_waiting and run.estimate is not None:
        return needs([run])
    return ""


def place(queue: QueueState) -> str:
    """Return the place of the run in progress; empty if the queue has no other."""
    if queue.current is None or len(queue.runs) == 1:
        return ""
    number = 1 + queue.runs.index(queue.current)
    text = tr("{n} of {total} in the queue")
    return text.format(n=number, total=len(queue.runs))


def needs(runs: Iterable[QueuedRun]) -> str:
    """Return the time and the disk that runs need; empty if unknown.

    The disk is the sum of the runs' peaks, though each run frees most at its end.
    """
    estimates = [run.estimate for run in runs]
    known = [each for each in estimates if each is not None]
    if not known or len(known) < len(estimates):
        return ""
    disk = numbers.needed_size(sum(each.disk for each in known))
    seconds = [each.seconds for each in known]
    text = ntr(
        "up to {disk} on the disk while it runs",
        "up to {disk} on the disk while they run",
        len(known),
    ).format(disk=disk)
    if None in seconds:
        return text
    time = numbers.rough_duration(sum(each or 0.0 for each in seconds))
    return tr("about {time}, {disk}").format(time=time, disk=text)


def summary(queue: QueueState, *, is_busy: bool, is_taken: bool = False) -> str:
    """Return what the queue does and how much waits.

    Args:
        queue: the queue of this window.
        is_busy: the engine works at something that is not of the queue.
        is_taken: another window has the queue.
    """
    if not queue.runs and is_taken:
        return sentence(Problem(Kind.QUEUE_TAKEN))
    if not queue.runs:
        return tr(
            "The queue is empty. Fill it by “Sweep…”, or by “Add to queue” in the menu "
            "“Run”."
        )
    waiting = queue.waiting
    if not waiting:
        return _ended(queue) if queue.is_complete else tr("No run waits.")
    count = ntr("{n} run waits", "{n} runs wait", len(waiting)).format(n=len(waiting))
    if total := needs(waiting):
        count = tr("{count}: {needs}").format(count=count, needs=total)
    if queue.is_working and is_busy:
        return tr("{count}. The queue begins when the engine is free.").format(
            count=count
        )
    return f"{count}."


def ending(queue: QueueState) -> str:
    """Return how the queue ended, for a notification."""
    waiting = len(queue.waiting)
    if not waiting:
        return _ended(queue)
    stopped = tr("The queue was stopped.")
    left = ntr("{n} run still waits.", "{n} runs still wait.", waiting)
    return f"{stopped} {_outcomes(queue)} {left.format(n=waiting)}"


def offer(queue: QueueState) -> str:
    """Return the text that offers to go on with a queue that has stopped."""
    n, first = len(queue.waiting), queue.next
    text = ntr(
        "The queue is paused. {n} run waits: {name}.",
        "The queue is paused. {n} runs wait, the next is {name}.",
        n,
    )
    return text.format(n=n, name=first.name if first is not None else "")


def queue_elsewhere(holder: Holder) -> str:
    """Return the text that asks whether the window of another computer is closed."""
    return tr(
        "A window of the computer {computer} has had the queue of this runs folder "
        "since {start}. Take it over only if that window is closed."
    ).format(start=holder.start, computer=holder.computer)


def kept_note(queue: QueueState) -> str:
    """Return that waiting runs are kept when the window closes; empty if none wait."""
    n = len(queue.waiting)
    if not n:
        return ""
    return ntr(
        "{n} waiting run stays in the queue.",
        "{n} waiting runs stay in the queue.",
        n,
    ).format(n=n)


def stop_note(queue: QueueState) -> str:
    """Return that canceling the run in progress stops the queue; empty if it does not.

    A queue that is worked off has a run in progress, or begins after it.
    """
    n = len(queue.waiting)
    if not n or not queue.is_working:
        return ""
    return ntr(
        "The queue stops: {n} waiting run begins only when you start it again.",
        "The queue stops: {n} waiting runs begin only when you start it again.",
        n,
    ).format(n=n)


def _ended(queue: QueueState) -> str:
    ended = tr("The queue has ended.")
    return f"{ended} {_outcomes(queue)}"


def _outcomes(queue: QueueState) -> str:
    """Return how many runs finished, and how many failed if any did, as a sentence."""
    finished = len(queue.of(QueueStatus.FINISHED))
    counts = [ntr("{n} run finished", "{n} runs finished", finished).format(n=finished)]
    if failed := len(queue.of(QueueStatus.FAILED)):
        counts.append(ntr("{n} failed", "{n} failed", failed).format(n=failed))
    if cancelled := len(queue.of(QueueStatus.CANCELLED)):
        text = ntr("{n} was canceled", "{n} were canceled", cancelled)
        counts.append(text.format(n=cancelled))
    return ", ".join(counts) + "."
