"""A plan: the jobs of a table, read from TOML, and their runs.

    [defaults]            settings of all jobs
    sparsities = [...]    the columns of the table; without: the job's `sparsity`
    separate = false      true: each is a run of its own from the dense model on
    corrected = "each"    or "last": which columns end with the correction, if any
    [defaults.pruning]    settings of PruningConfig, in their short form
    [defaults.calibration]   of CalibrationConfig; the command line has precedence

    [[job]]
    name = "..."          the row, and settings of its own

A job whose sparsities are not separate is one run whose shots end at them, so that it
has as many shots as sparsities.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from surgeon_engine.api.config.pruning import PrunableShare, PruningConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.pruning.schedule import share_of_goal

# Settings of the calibration that the command line gives, and that all jobs share.
_OF_COMMAND = ("text", "validation_text", "seed")
_COMMON = (*_OF_COMMAND, "validation_windows", "window_length")
_FROM_SPARSITIES = ("sparsity", "shots", "schedule")

Corrected = Literal["each", "last"]


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings that jobs share."""

    sparsities: tuple[float, ...] = ()
    separate: bool = False
    corrected: Corrected = "each"
    pruning: dict[str, Any] = {}
    calibration: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table."""

    name: str
    sparsities: tuple[float, ...] | None = None  # None: those of the defaults
    separate: bool | None = None
    corrected: Corrected | None = None
    pruning: dict[str, Any] = {}
    calibration: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of jobs."""

    job: tuple[Job, ...]
    defaults: Defaults = Defaults()


class PlannedShot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a shot, and the column for which it is measured."""

    share: float  # of the goal of the run
    sparsity: float | None  # the column; None: not measured
    is_corrected: bool = True  # where the run has a correction


@dataclass(frozen=True, slots=True)
class Base:
    """Settings of the command line, for all runs."""

    model: ModelConfig
    calibration: Mapping[str, Any]  # the fields that were given
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One way from the dense model to one or more columns of a row."""

    job: str
    config: RunConfig
    given: frozenset[str]  # fields of the calibration that do not stand at a default
    shots: tuple[PlannedShot, ...]

    @property
    def seed(self) -> int:
        """The seed by which the windows are drawn."""
        return self.config.calibration.seed

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The columns that the run fills."""
        return tuple(s.sparsity for s in self.shots if s.sparsity is not None)


def read_plan(path: Path) -> Plan:
    """Read the plan in the file at `path`.

    Raises:
        ConfigError: The file cannot be read, or is no plan.
    """
    try:
        plan = msgspec.toml.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise ConfigError(
            f"The plan {path} cannot be read: {error.strerror}."
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The plan {path.name} does not fit: {error}.",
            "See benchmarks/plans for what one holds.",
        ) from error
    names = [job.name for job in plan.job]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        problem = f"two jobs called {twice[0]!r}" if twice else "no jobs"
        raise ConfigError(
            f"The plan {path.name} has {problem}.", "Give each job a name of its own."
        )
    return plan


def chosen(plan: Plan, only: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the jobs to measure; all if `only` is empty.

    Raises:
        ConfigError: There is no such job.
    """
    names = tuple(job.name for job in plan.job)
    for name in only:
        if name not in names:
            raise ConfigError(
                f"The plan has no job called {name!r}.",
                f"Its jobs are: {'; '.join(names)}.",
            )
    return tuple(name for name in names if name in only or not only)


def runs_of(plan: Plan, base: Base) -> tuple[Run, ...]:
    """Return all runs of all jobs, by job and seed.

    Raises:
        ConfigError: A job has an unknown or invalid setting.
    """
    runs: list[Run] = []
    for job in plan.job:
        try:
            for seed in base.seeds:
                runs += _runs_of_job(job, plan.defaults, base, seed)
        except ConfigError as error:
            raise ConfigError(
                f"Job {job.name!r}: {error.message}", error.hint
            ) from error
    return tuple(runs)


def _runs_of_job(job: Job, defaults: Defaults, base: Base, seed: int) -> list[Run]:
    common = [name for name in _COMMON if name in job.calibration]
    common += [name for name in _OF_COMMAND if name in defaults.calibration]
    if common:
        raise ConfigError(
            f"{common[0]} must be the same for all jobs.",
            "Give it on the command line.",
        )
    calibration = {**defaults.calibration, **base.calibration, **job.calibration}
    parts = {
        "model": msgspec.to_builtins(base.model),
        "calibration": calibration | {"seed": seed},
        "pruning": {**defaults.pruning, **job.pruning},
    }
    config = config_from_toml(msgspec.toml.encode(parts).decode())
    _sparsity(config.pruning)
    sparsities = defaults.sparsities if job.sparsities is None else job.sparsities
    separate = defaults.separate if job.separate is None else job.separate
    corrected = job.corrected or defaults.corrected

    def run(sparsity: float, shots: int | None = None) -> Run:
        pruning = dataclasses.replace(
            config.pruning,
            target=PrunableShare(sparsity),
            shots=shots or config.pruning.shots,
        )
        steps = _steps(pruning) if shots is None else _ending_at(sparsities, corrected)
        changed = dataclasses.replace(config, pruning=pruning)
        return Run(job.name, changed, frozenset(calibration), steps)

    if not sparsities:
        return [run(_sparsity(config.pruning))]
    _check_contradiction(parts["pruning"], sparsities, separate)
    if separate:
        return [run(sparsity) for sparsity in sparsities]
    return [run(sparsities[-1], len(sparsities))]


def _steps(pruning: PruningConfig) -> tuple[PlannedShot, ...]:
    """Return the shots of a run of the program; the last is measured."""
    return tuple(
        PlannedShot(
            share_of_goal(number / pruning.shots, pruning.schedule),
            _sparsity(pruning) if number == pruning.shots else None,
        )
        for number in range(1, pruning.shots + 1)
    )


def _ending_at(
    sparsities: Sequence[float], corrected: Corrected
) -> tuple[PlannedShot, ...]:
    last = sparsities[-1]
    return tuple(
        PlannedShot(s / last, s, corrected == "each" or s == last) for s in sparsities
    )


def _sparsity(pruning: PruningConfig) -> float:
    """Return the target of a job.

    Raises:
        ConfigError: It is no share of the prunable weights, or has a quality limit.
    """
    target = pruning.target
    if not isinstance(target, PrunableShare) or pruning.max_perplexity_increase:
        raise ConfigError(
            "The columns of the table are shares of the prunable weights.",
            "Leave target and max_perplexity_increase out of the plan.",
        )
    return target.sparsity


def _check_contradiction(
    pruning: Mapping[str, Any], sparsities: tuple[float, ...], separate: bool
) -> None:
    if list(sparsities) != sorted(set(sparsities)) or sparsities[0] <= 0:
        raise ConfigError(
            f"The sparsities {', '.join(map(str, sparsities))} do not rise.",
            "Give each once, the smallest first.",
        )
    for name in _FROM_SPARSITIES[: 1 if separate else None]:
        if name in pruning:
            raise ConfigError(
                f"{name} follows from the sparsities of the job.",
                f"Leave {name} out, or set separate = true to have a run for each.",
            )
