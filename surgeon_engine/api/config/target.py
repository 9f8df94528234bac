"""The pruning target: how much remains, in one of several units."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from surgeon_engine.api.config.fields import Limits, Member, Option


class Target(StrEnum):
    """The units of a pruning target."""

    PRUNABLE_SHARE = "prunable_share"
    PARAMETER_SHARE = "parameter_share"
    PARAMETERS = "parameters"
    FILE_SIZE = "file_size"
    MEMORY = "memory"


MAX_SHARE = 0.95  # that can be removed
_SHARE = Limits(0, MAX_SHARE)  # 0: the run writes the unpruned model


class PrunableShare(Member, frozen=True, tag="prunable_share"):
    """Remove a share of the prunable weights."""

    sparsity: Annotated[float, Option(_SHARE)] = 0.3


class ParameterShare(Member, frozen=True, tag="parameter_share"):
    """Remove a share of all parameters."""

    sparsity: Annotated[float, Option(_SHARE)] = 0.3


class Parameters(Member, frozen=True, tag="parameters"):
    """Keep a number of parameters."""

    millions: Annotated[
        float, Option(Limits(0, 1e7, low_is_open=True), name="million_parameters")
    ] = 100.0


class FileSize(Member, frozen=True, tag="file_size"):
    """Keep as many parameters as a file of some size holds in its number format."""

    megabytes: Annotated[float, Option(Limits(0, 1e8, low_is_open=True))] = 400.0


class Memory(Member, frozen=True, tag="memory"):
    """Keep as many parameters as run in a memory of some size, with their context."""

    gigabytes: Annotated[
        float, Option(Limits(0, 1e5, low_is_open=True), name="memory_gigabytes")
    ] = 8.0
    context: Annotated[int, Option(Limits(1, 10_000_000))] = 4096  # tokens


AnyTarget: TypeAlias = PrunableShare | ParameterShare | Parameters | FileSize | Memory
