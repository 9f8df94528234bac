"""The command line: its arguments, the order of its work and its output."""

from __future__ import annotations

import argparse
import contextlib
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
from surgeon_engine.api.model_info.source_names import DEMO, is_hub_source
from surgeon_engine.base.errors import ConfigError, EngineError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.model.fenced import inspect_model

from . import machine, measuring
from .plan import Base, expand_runs, read_plan, select_jobs
from .results import Results
from .tables import Heading, to_csv, to_markdown
from .texts import ReadyRun, Texts, check_seeds_differ

_FAILED = 1
_INTERRUPTED = 130  # exit code of a shell command after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure missing figures and write the tables; return 1 if anything failed."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="quality-") as folder:
            return _measure(options, Path(folder))
    except EngineError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("\nInterrupted; repeat the command to continue.", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/quality.py",
        description="Prune a model by the jobs of a plan and tabulate the figures.",
    )
    add = parser.add_argument
    add("model", help='a folder, a .gguf file, or "demo"')
    add("--plan", type=Path, required=True, help="a TOML file, see benchmarks/plans")
    add(
        "--out",
        type=Path,
        required=True,
        help="path of .jsonl, .csv and .md, without suffix",
    )
    add("--calibration", default=BUILTIN_TEXT, help=".txt, .jsonl, .npy or builtin")
    add(
        "--validation",
        default="",
        help="the same kinds (default: a held-out part of the calibration text)",
    )
    add(
        "--other",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="texts of other kinds that judge, too: .txt, .jsonl, .npy (default: the "
        "built-in text, or text by the model where that calibrates)",
    )
    add("--windows", type=int, help="for calibration; drawn from a token file")
    add("--validation-windows", type=int, help="the first ones of a token file")
    add("--window-length", type=int, help="in tokens")
    add("--dtype", choices=list(Dtype), default=Dtype.FLOAT32)
    add("--device", choices=list(Device), default=Device.AUTO)
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed", dest="seeds", type=_seeds, help="seed that draws the windows"
    )
    seeds.add_argument(
        "--seeds", type=_seeds, help="several, as 0,1,2: one run for each"
    )
    add("--only", action="append", default=[], metavar="NAME", help="only this job")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))


def _measure(options: argparse.Namespace, folder: Path) -> int:
    plan = read_plan(options.plan)
    only = select_jobs(plan, options.only)
    base = _base(options)
    planned = expand_runs(plan, base)
    summary = inspect_model(base.model).model
    texts = Texts(base.model, folder)
    runs = [texts.prepare(run) for run in planned]
    check_seeds_differ(runs)
    results = Results(_with_ending(options.out, ".jsonl"))
    heading = Heading(
        summary.name, summary.parameters, options.plan.stem, base.model.dtype
    )
    selected = [ready for ready in runs if ready.run.job in only]
    todo = [ready for ready in selected if not results.is_complete(ready)]
    _print_start(results, selected, todo, summary.name)
    environment = measuring.Environment(
        machine.describe_machine(base.model.device),
        machine.describe_versions(),
        machine.engine_digest(),
    )
    _write_tables(options.out, heading, runs, results)
    states = _with_ending(options.out, ".state")
    failed = False
    progress = _Progress(todo)
    for ready in todo:
        progress.start_run(ready)
        earlier = results.newest(runs)
        run = measuring.measure_run(ready, environment, earlier, states)
        with closing(run) as steps:
            for step in steps:
                if step.line is not None:
                    results.append(step.line)
                    failed |= bool(step.line.failure)
                progress.report(step)
        _write_tables(options.out, heading, runs, results)
    with contextlib.suppress(OSError):  # it holds another interrupted run, or is none
        states.rmdir()
    print(f"Wrote {_with_ending(options.out, '.md')} and .csv")
    return _FAILED if failed else 0


def _base(options: argparse.Namespace) -> Base:
    arguments = {
        "text": _absolute(options.calibration, BUILTIN_TEXT),
        "validation_text": _absolute(options.validation, BUILTIN_TEXT),
        "windows": options.windows,
        "validation_windows": options.validation_windows,
        "window_length": options.window_length,
    }
    calibration: dict[str, Any] = {
        name: value for name, value in arguments.items() if value is not None
    }
    model = ModelConfig(
        _absolute(options.model, DEMO), Dtype(options.dtype), Device(options.device)
    )
    others = tuple(_absolute(text, BUILTIN_TEXT) for text in options.other)
    return Base(model, calibration, options.seeds or (0,), others)


def _absolute(name: str, keyword: str) -> str:
    if name in ("", keyword) or is_hub_source(name):
        return name
    return str(Path(os.path.expanduser(name)).resolve())


def _with_ending(out: Path, ending: str) -> Path:
    return out.with_name(out.name + ending)  # with_suffix would cut off "-0.5"


def _write_tables(
    out: Path, heading: Heading, runs: Sequence[ReadyRun], results: Results
) -> None:
    lines = results.newest(runs)
    for ending, text in (
        (".md", to_markdown(heading, runs, lines)),
        (".csv", to_csv(runs, lines)),
    ):
        path = _with_ending(out, ending)
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.",
                "The measurements are safe in the .jsonl file.",
            ) from error


def _print_start(
    results: Results,
    selected: Sequence[ReadyRun],
    todo: Sequence[ReadyRun],
    model: str,
) -> None:
    for number in results.damaged:
        print(f"Line {number} of the results cannot be read and is ignored.")
    engines = {line.circumstances.engine for line in results.newest(selected).values()}
    if engines - {machine.engine_digest()}:
        print(
            "Some earlier figures were measured with another state of the engine: "
            "give another --out to measure them again."
        )
    shots = sum(len(ready.run.shots) for ready in todo)
    print(
        f"{model}: {len(selected)} runs, {len(selected) - len(todo)} already measured; "
        f"{len(todo)} to do with {shots} shots.",
        flush=True,
    )


class _Progress:
    """Print the progress and estimate the remaining time from the speed so far."""

    def __init__(self, todo: Sequence[ReadyRun]) -> None:
        self._runs, self._number = len(todo), 0
        self._later_shots = sum(len(ready.run.shots) for ready in todo)
        self._shots = self._remaining = 0  # shots of the current run
        self._done = 0
        self._start = time.monotonic()

    def start_run(self, ready: ReadyRun) -> None:
        """Print the job, seed and sparsities of a run that starts."""
        self._number += 1
        self._shots = self._remaining = len(ready.run.shots)
        self._later_shots -= self._shots
        ends = ", ".join(f"{100 * s:g} %" for s in ready.run.sparsities)
        print(
            f"[{self._number}/{self._runs}] {ready.run.job}, seed {ready.run.seed}, "
            f"to {ends}",
            flush=True,
        )

    def report(self, step: measuring.Step) -> None:
        """Print the result of a shot, or the error of a failed run."""
        if step.line is not None and step.line.failure:
            self._remaining = 0
            print(f"  failed: {step.line.failure}", flush=True)
            return
        self._remaining -= 1
        self._done += 1
        print(
            f"  shot {step.shot} of {self._shots}: "
            f"{format_percent(step.sparsity, 2)} removed, "
            f"KL {step.nats:.4f}, perplexity {step.perplexity:.2f}, "
            f"{step.seconds:.1f} s so far"
            f"{self._remaining_time()}",
            flush=True,
        )

    def _remaining_time(self) -> str:
        shots = self._remaining + self._later_shots
        if not shots:
            return ""
        seconds = (time.monotonic() - self._start) / self._done * shots
        return f"; about {humanize.naturaldelta(seconds)} left"
