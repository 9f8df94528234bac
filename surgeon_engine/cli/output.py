"""Print lines, tables and the progress of a run on the terminal.

Without a terminal everything is printed as plain lines, without styles, wrapping or
progress bars.
"""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.lines import stage_name
from surgeon_engine.api.messages.run import Progressed, StageStarted
from surgeon_engine.api.messages.sources import Downloading
from surgeon_engine.base.formatting import escape_controls, format_size
from surgeon_engine.cli.formatting import event_line

_UNLIMITED = 10_000  # characters in a line of a file or pipe


class Output:
    """Standard output, or standard error.

    Nothing that is printed is read as markup, and control characters are escaped: names
    of models and folders are written by others.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.console = Console(
            stderr=to_stderr, markup=False, emoji=False, highlight=False
        )
        if not self.console.is_terminal:
            self.console.width = _UNLIMITED

    def print_line(self, text: str) -> None:
        """Print a text that the terminal may wrap but rich may not."""
        self.console.print(Text(escape_controls(text)), soft_wrap=True)

    def print_table(self, table: Table, indent: int = 0) -> None:
        """Print a table whose cells have been escaped."""
        renderable = Padding.indent(table, indent)
        if self.console.is_terminal:
            self.console.print(renderable)
            return
        with self.console.capture() as capture:
            self.console.print(renderable)
        for line in capture.get().splitlines():
            self.print_line(line.rstrip())  # rich fills lines up with spaces


class EventDisplay:
    """Print events as lines; on a terminal, show the progress of the current stage."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=output.console,
            transient=True,
            disable=not output.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stage = ""  # the line of the stage

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, envelope: Envelope) -> None:
        """Print the line of an event and update the progress bar."""
        event = envelope.event
        if isinstance(event, Downloading) and self._output.console.is_terminal:
            self._show_download(event)
            return
        line = event_line(event)
        # The original writes general text, then the samples: one line for both.
        if line and line != self._stage:
            self._output.print_line(line)
        if isinstance(event, StageStarted):
            self._stage = line
        match event:
            case StageStarted(stage=stage, shot=shot):
                self._show_task(stage_name(stage, shot))
            case Progressed(done=done, total=total) if self._task is not None:
                self._progress.update(self._task, completed=done, total=total)

    def _show_download(self, event: Downloading) -> None:
        if self._task is None:
            self._show_task("download")
        assert self._task is not None
        text = f"{format_size(event.done)} of {format_size(event.total)}"
        self._progress.update(
            self._task,
            description=text if event.total else "list of files",
            completed=event.done,
            total=event.total or None,
        )

    def _show_task(self, description: str) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, total=None)
