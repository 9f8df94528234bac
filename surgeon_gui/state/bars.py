"""The figures of a run against the original: file, memory and speed."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_gui.state.ladder import default_context, file_of, original
from surgeon_gui.state.run import RunState


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure of the file and the same of the original."""

    after: float
    before: float

    @property
    def share(self) -> float:
        """The figure as a share of the larger one."""
        largest = max(self.after, self.before)
        return self.after / largest if largest else 0.0


def files(run: RunState) -> tuple[Exported, ...]:
    """Return the export of a run and those saved later, the latest of each folder."""
    found = (run.exported, *run.saved)
    return tuple({x.folder: x for x in found if x is not None}.values())


def path_of(exported: Exported) -> str:
    """Return the file of a model, or its folder if it is not one file."""
    folder = Path(exported.folder)
    return str(folder / GGUF_FILE if exported.format is Format.GGUF else folder)


def gguf_of(run: RunState, missing: Container[str] = ()) -> str:
    """Return the path of the latest GGUF file of a run; empty if there is none.

    `missing`: the folders whose files no longer exist.
    """
    found = [x for x in files(run) if x.format is Format.GGUF]
    paths = [path_of(x) for x in found if x.folder not in missing]
    return paths[-1] if paths else ""


def file_bytes(run: RunState) -> Pair | None:
    """Return the bytes of both files; None: there is none."""
    if run.exported is None or run.model is None:
        return None
    return Pair(run.exported.weight_bytes, run.model.file_bytes)


def memory_bytes(run: RunState) -> tuple[Pair, int] | None:
    """Return the memory in which both models run, and the context in tokens.

    The context is the target's if the target is a memory, or else one that the model
    supports. None: the memory is not known.
    """
    context = default_context((run,))
    file = file_of(run, context)
    if run.model is None or file is None or not file.memory:
        return None
    return Pair(file.memory, original(run.model, context).memory), context


def generation(measured: Measured | None) -> Pair | None:
    """Return the generated tokens per second of both models; None: not measured.

    The original's value is 0 if the file was measured alone.
    """
    if measured is None:
        return None
    before, after = (0.0, *(each.generation.median for each in measured.models))[-2:]
    return Pair(after, before)
