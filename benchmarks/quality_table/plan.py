"""Read a plan of jobs from TOML and expand it to runs.

    [defaults]            settings of all jobs that do not override them
    sparsities = [...]    columns of the table; default: the `sparsity` of the job
    separate = false      true: a run of its own from the dense model for each sparsity
    [defaults.pruning]    settings of PruningConfig, as in a job
    [defaults.recovery]      of RecoveryConfig; default: none
    [defaults.calibration]   of CalibrationConfig; the command line has precedence
    [defaults.evaluation]    of EvaluationConfig, the same for all jobs; likewise

    [[job]]
    name = "..."          name of the row, followed by settings of this job

A job with `rival = true` removes as much as the others by a first-order mask and then
distills for its `seconds`, or for the seconds of another job (`seconds_of = "..."`) at
the same sparsity and seed. Its pruning sets no method.

A job whose sparsities are not separate is one run with one shot for each sparsity, or
with as many equal shots as its `shots`; some of these end at the sparsities.
Recovery ends a run, so the sparsities of a job with recovery are separate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_values
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.target_size import share_of_goal

# Calibration fields that only the command line sets, and fields that all jobs share to
# be comparable.
_COMMAND_LINE_ONLY = ("text", "validation_text", "seed")
_COMMON = (*_COMMAND_LINE_ONLY, "validation_windows", "window_length")
_FROM_SPARSITIES = ("sparsity", "schedule")
_ROUNDING = 1e-6

# The settings of a job, unless its plan says otherwise.
_SURGEON = {
    "method": "llm_surgeon",
    "shots": 3,
    "fisher": "empirical",
}
_NO_RECOVERY = {"level": "off"}
_RIVAL = {"method": "first_order", "shots": 1, "fisher": "empirical"}


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of all jobs that do not override them."""

    sparsities: tuple[float, ...] = ()
    separate: bool = False
    pruning: dict[str, Any] = {}
    recovery: dict[str, Any] = {}
    calibration: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table and its settings."""

    name: str
    sparsities: tuple[float, ...] | None = None  # None: as in the defaults
    separate: bool | None = None
    pruning: dict[str, Any] = {}
    recovery: dict[str, Any] = {}
    calibration: dict[str, Any] = {}
    rival: bool = False
    seconds: float | None = None  # time of a rival
    seconds_of: str | None = None  # the job whose seconds a rival has


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of jobs."""

    job: tuple[Job, ...]
    defaults: Defaults = Defaults()


class PlannedShot(msgspec.Struct, frozen=True):
    """The target of a shot, and the column that it fills."""

    share: float  # share of the weights that the run removes
    sparsity: float | None  # the column; None: it fills none


@dataclass(frozen=True, slots=True)
class Base:
    """Settings of all runs from the command line."""

    model: ModelConfig
    calibration: Mapping[str, Any]  # explicitly set fields
    seeds: tuple[int, ...]
    others: tuple[str, ...] = ()  # texts of other kinds that judge; empty: of the plan


class Rival(msgspec.Struct, frozen=True):
    """The time that a rival has: some seconds, or the time of another job."""

    seconds: float | None
    seconds_of: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run from the dense model that fills one or more columns of a row."""

    job: str
    config: RunConfig
    given: frozenset[str]  # explicitly set fields of the calibration
    shots: tuple[PlannedShot, ...]
    rival: Rival | None = None  # None: an ordinary run

    @property
    def seed(self) -> int:
        """Seed that draws the windows."""
        return self.config.calibration.seed

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Columns that the run fills."""
        return tuple(s.sparsity for s in self.shots if s.sparsity is not None)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: The file cannot be read, or holds no valid plan.
    """
    try:
        plan = msgspec.toml.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise ConfigError(
            f"The plan {path} cannot be read: {error.strerror}."
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The plan {path.name} is not valid: {error}.",
            "See benchmarks/plans for examples.",
        ) from error
    _check_rivals(plan)
    names = [job.name for job in plan.job]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        problem = f"two jobs called {twice[0]!r}" if twice else "no jobs"
        raise ConfigError(
            f"The plan {path.name} has {problem}.", "Give each job a unique name."
        )
    return plan


def select_jobs(plan: Plan, only: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the jobs to do; all if `only` is empty.

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


def expand_runs(plan: Plan, base: Base) -> tuple[Run, ...]:
    """Return all runs of all jobs, job by job and seed by seed.

    Raises:
        ConfigError: A job has an unknown setting or an invalid value.
    """
    runs: list[Run] = []
    for job in plan.job:
        try:
            for seed in base.seeds:
                runs += _expand_job(job, plan.defaults, base, seed)
        except ConfigError as error:
            raise ConfigError(
                f"Job {job.name!r}: {error.message}", error.hint
            ) from error
    return tuple(runs)


def _expand_job(job: Job, defaults: Defaults, base: Base, seed: int) -> list[Run]:
    common = [name for name in _COMMON if name in job.calibration]
    common += [name for name in _COMMAND_LINE_ONLY if name in defaults.calibration]
    if common:
        raise ConfigError(
            f"{common[0]} must be the same for all jobs.",
            "Give it on the command line.",
        )
    rival = Rival(job.seconds, job.seconds_of) if job.rival else None
    pruning = {**_SURGEON, **defaults.pruning, **job.pruning}
    recovery = {**_NO_RECOVERY, **defaults.recovery, **job.recovery}
    if rival is not None:
        pruning, recovery = pruning | _RIVAL, _NO_RECOVERY
    calibration = {**defaults.calibration, **base.calibration, **job.calibration}
    parts = {
        "model": msgspec.to_builtins(base.model),
        "calibration": calibration | {"seed": seed},
        "pruning": pruning,
        "recovery": recovery,
        "evaluation": defaults.evaluation | _texts(base),
    }
    config = config_from_values(parts)
    _sparsity(config.pruning)
    sparsities = defaults.sparsities if job.sparsities is None else job.sparsities
    separate = defaults.separate if job.separate is None else job.separate

    def run(sparsity: float, shots: int | None = None) -> Run:
        pruning = dataclasses.replace(
            config.pruning,
            sparsity=sparsity,
            shots=shots or config.pruning.shots,
        )
        if shots is None:
            planned = _scheduled_shots(pruning)
        elif "shots" in given:
            planned = _equal_shots(shots, sparsities)
        else:
            planned = _shots_ending_at(sparsities)
        changed = dataclasses.replace(config, pruning=pruning)
        return Run(job.name, changed, frozenset(calibration), planned, rival)

    given = {**defaults.pruning, **job.pruning}
    if not sparsities:
        return [run(_sparsity(config.pruning))]
    _check_contradiction(given, sparsities, separate)
    ends_run = rival is not None or config.recovery.level is not Recovery.OFF
    if ends_run and len(sparsities) > 1:
        _check_separate(separate)
    if separate:
        return [run(sparsity) for sparsity in sparsities]
    shots = config.pruning.shots if "shots" in given else len(sparsities)
    return [run(sparsities[-1], shots)]


def _check_rivals(plan: Plan) -> None:
    """Check that each rival has a time, and that only rivals have one."""
    earlier: list[str] = []
    for job in plan.job:
        given = (job.seconds is not None) + (job.seconds_of is not None)
        if given != job.rival or job.seconds == 0:
            raise ConfigError(
                f"Job {job.name!r}: a rival has either seconds or seconds_of, and no "
                "other job has one.",
                "Set rival = true and one of the two.",
            )
        if job.rival and set(job.pruning) & set(_RIVAL):
            raise ConfigError(
                f"Job {job.name!r}: a rival has a method, shots and labels of its own.",
                "Leave them out.",
            )
        if job.seconds_of is not None and job.seconds_of not in earlier:
            raise ConfigError(
                f"Job {job.name!r} has the seconds of {job.seconds_of!r}, which is no "
                "job before it.",
                "Name an earlier job that is no rival.",
            )
        if not job.rival:
            earlier.append(job.name)


def _texts(base: Base) -> dict[str, Any]:
    return {"texts": base.others} if base.others else {}


def _check_separate(separate: bool) -> None:
    if not separate:
        raise ConfigError(
            "Recovery or distillation ends a run, so it cannot fill several columns.",
            "Set separate = true to have a run for each sparsity.",
        )


def _scheduled_shots(pruning: PruningConfig) -> tuple[PlannedShot, ...]:
    """Return the shots of an ordinary run; only the last one fills a column."""
    return tuple(
        PlannedShot(
            share_of_goal(number / pruning.shots, pruning.schedule),
            _sparsity(pruning) if number == pruning.shots else None,
        )
        for number in range(1, pruning.shots + 1)
    )


def _shots_ending_at(sparsities: Sequence[float]) -> tuple[PlannedShot, ...]:
    return tuple(PlannedShot(s / sparsities[-1], s) for s in sparsities)


def _equal_shots(shots: int, sparsities: Sequence[float]) -> tuple[PlannedShot, ...]:
    """Return equal shots to the last sparsity; some of them fill the columns.

    Raises:
        ConfigError: No shot ends at one of the sparsities.
    """
    columns: dict[int, float] = {}
    for sparsity in sparsities:
        place = shots * sparsity / sparsities[-1]
        if abs(place - round(place)) > _ROUNDING:
            raise ConfigError(
                f"None of {shots} equal shots to {sparsities[-1]:g} ends at "
                f"{sparsity:g}.",
                "Choose other shots, or set separate = true to have a run for each "
                "sparsity.",
            )
        columns[round(place)] = sparsity
    return tuple(
        PlannedShot(number / shots, columns.get(number))
        for number in range(1, shots + 1)
    )


def _sparsity(pruning: PruningConfig) -> float:
    """Return the target of a job.

    Raises:
        ConfigError: It is not a share of the prunable weights, or has a quality limit.
    """
    if pruning.target is not Target.PRUNABLE_SHARE or pruning.has_quality_limit:
        raise ConfigError(
            "The columns of the table are shares of the prunable weights.",
            "Leave target and the quality limits out of the plan.",
        )
    return pruning.sparsity


def _check_contradiction(
    pruning: Mapping[str, Any], sparsities: tuple[float, ...], separate: bool
) -> None:
    if list(sparsities) != sorted(set(sparsities)) or sparsities[0] <= 0:
        raise ConfigError(
            f"The sparsities {', '.join(map(str, sparsities))} do not increase.",
            "List each sparsity once, the smallest first.",
        )
    for name in _FROM_SPARSITIES[: 1 if separate else None]:
        if name in pruning:
            raise ConfigError(
                f"{name} follows from the sparsities of the job.",
                f"Leave {name} out, or set separate = true to have a run for each.",
            )
