"""The command: what it is told, what it does in which order, what it says meanwhile."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import humanize

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.api.errors import ConfigError, EngineError
from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.runtime.versions import without_progress_bars

from . import machine, measuring
from .plan import Base, chosen, read_plan, runs_of
from .results import Results
from .tables import Heading, as_csv, markdown
from .texts import ReadyRun, Texts, check_seeds_differ

_FAILED = 1
_INTERRUPTED = 130  # what a shell says of Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing and write the tables; 1 if anything failed."""
    options = _parser().parse_args(arguments)
    without_progress_bars()
    try:
        with tempfile.TemporaryDirectory(prefix="quality-") as folder:
            return _measure(options, Path(folder))
    except EngineError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/quality.py",
        description="Prune a model by the jobs of a plan and tabulate the figures.",
    )
    add = parser.add_argument
    add("model", help='a folder, a .gguf file, or "demo"')
    add("--plan", type=Path, required=True, help="a TOML file, see benchmarks/plans")
    add("--out", type=Path, required=True, help="without ending: .jsonl, .csv and .md")
    add("--calibration", default=BUILTIN_TEXT, help=".txt, .jsonl, .npy or builtin")
    add(
        "--validation",
        default="",
        help="likewise; without: a held-out part of the calibration text",
    )
    add("--windows", type=int, help="of calibration; from a token file: drawn")
    add("--validation-windows", type=int, help="from a token file: the first ones")
    add("--window-length", type=int, help="in tokens")
    add("--dtype", choices=list(Dtype), default=Dtype.FLOAT32)
    add("--device", choices=list(Device), default=Device.AUTO)
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed", dest="seeds", type=_seeds, help="by which windows are drawn"
    )
    seeds.add_argument("--seeds", type=_seeds, help="several: a run for each, 0,1,2")
    add("--only", action="append", default=[], metavar="NAME", help="of a job")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))


def _measure(options: argparse.Namespace, folder: Path) -> int:
    plan = read_plan(options.plan)
    only = chosen(plan, options.only)
    base = _base(options)
    planned = runs_of(plan, base)
    summary = inspect_model(base.model).model
    texts = Texts(base.model, folder)
    runs = [texts.ready(run) for run in planned]
    check_seeds_differ(runs)
    results = Results(_with_ending(options.out, ".jsonl"))
    heading = Heading(
        summary.name, summary.parameters, options.plan.stem, base.model.dtype
    )
    wanted = [ready for ready in runs if ready.run.job in only]
    todo = [ready for ready in wanted if not results.are_complete(ready)]
    _say_beginning(results, wanted, todo, summary.name)
    place = measuring.Place(
        folder,
        machine.in_words(base.model.device),
        machine.describe_versions(),
        machine.engine_digest(),
    )
    _write_tables(options.out, heading, runs, results)
    failed = False
    progress = _Progress(todo)
    for ready in todo:
        progress.begin(ready)
        with closing(measuring.steps_of(ready, place)) as steps:
            for step in steps:
                if step.line is not None:
                    results.append(step.line)
                    failed |= bool(step.line.failure)
                progress.say(step)
        _write_tables(options.out, heading, runs, results)
    print(f"Written: {_with_ending(options.out, '.md')} and .csv")
    return _FAILED if failed else 0


def _base(options: argparse.Namespace) -> Base:
    given = {
        "text": _absolute(options.calibration, BUILTIN_TEXT),
        "validation_text": _absolute(options.validation, BUILTIN_TEXT),
        "windows": options.windows,
        "validation_windows": options.validation_windows,
        "window_length": options.window_length,
    }
    calibration: dict[str, Any] = {
        name: value for name, value in given.items() if value is not None
    }
    model = ModelConfig(
        _absolute(options.model, DEMO), Dtype(options.dtype), Device(options.device)
    )
    return Base(model, calibration, options.seeds or (0,))


def _absolute(name: str, keyword: str) -> str:
    if name in ("", keyword):
        return name
    return str(Path(os.path.expanduser(name)).resolve())


def _with_ending(out: Path, ending: str) -> Path:
    return out.with_name(out.name + ending)  # with_suffix would cut off "-0.5"


def _write_tables(
    out: Path, heading: Heading, runs: Sequence[ReadyRun], results: Results
) -> None:
    lines = results.of(runs)
    for ending, text in (
        (".md", markdown(heading, runs, lines)),
        (".csv", as_csv(runs, lines)),
    ):
        path = _with_ending(out, ending)
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.",
                "What was measured is safe in the .jsonl file.",
            ) from error


def _say_beginning(
    results: Results, wanted: Sequence[ReadyRun], todo: Sequence[ReadyRun], model: str
) -> None:
    for number in results.damaged:
        print(f"Line {number} of the results cannot be read and is left out.")
    engines = {line.circumstances.engine for line in results.of(wanted).values()}
    if engines - {machine.engine_digest()}:
        print(
            "Some of what was measured before was measured by another state of the "
            "engine: give another --out to measure it again."
        )
    shots = sum(len(ready.run.shots) for ready in todo)
    print(
        f"{model}: {len(wanted)} runs, {len(wanted) - len(todo)} of them measured "
        f"before; {len(todo)} to do with {shots} shots.",
        flush=True,
    )


class _Progress:
    """Says what is done, and estimates what is left by the speed so far."""

    def __init__(self, todo: Sequence[ReadyRun]) -> None:
        self._runs, self._number = len(todo), 0
        self._later = sum(len(ready.run.shots) for ready in todo)  # shots
        self._shots = self._here = 0  # of the run under way: all, and left
        self._done = 0
        self._begun = time.monotonic()

    def begin(self, ready: ReadyRun) -> None:
        """A run begins."""
        self._number += 1
        self._shots = self._here = len(ready.run.shots)
        self._later -= self._shots
        ends = ", ".join(f"{100 * s:g} %" for s in ready.run.sparsities)
        print(
            f"[{self._number}/{self._runs}] {ready.run.job}, seed {ready.run.seed}, "
            f"to {ends}",
            flush=True,
        )

    def say(self, step: measuring.Step) -> None:
        """A shot is over, or the run has failed."""
        if step.line is not None and step.line.failure:
            self._here = 0
            print(f"  failed: {step.line.failure}", flush=True)
            return
        self._here -= 1
        self._done += 1
        figures = step.line.figures if step.line is not None else None
        kl = f", KL {figures.nats:.4f}" if figures is not None else ""
        print(
            f"  shot {step.shot} of {self._shots}: {step.sparsity:.2%} gone, "
            f"perplexity {step.perplexity:.2f}{kl}, {step.seconds:.1f} s{self._left()}",
            flush=True,
        )

    def _left(self) -> str:
        left = self._here + self._later
        if not left:
            return ""
        seconds = (time.monotonic() - self._begun) / self._done * left
        return f"; about {humanize.naturaldelta(seconds)} left"
