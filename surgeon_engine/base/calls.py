"""Functions and methods that this process lets another one call, as lines of JSON.

    {"function": "score", "arguments": [...]}      a `Call`
    {"type": "Returned", "value": ...}             its answer

The other process answers one call at a time: a method of the model that it holds
(`ModelProcess` and `runtime/json_server.py`), or any function that reads a file of a
stranger (`runtime/fence.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from surgeon_engine.base import errors
from surgeon_engine.base.decoding import convert, encode_json, json_decoder
from surgeon_engine.base.errors import EngineError, EvaluationError
from surgeon_engine.base.json_process import JsonProcess
from surgeon_engine.base.path_problems import unusable
from surgeon_engine.base.sentences import Text

_POLL_INTERVAL_S = 0.05
_T = TypeVar("_T")


class Returned(msgspec.Struct, frozen=True, tag=True):
    """The result of a call."""

    value: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The `EngineError` that a call raised."""

    kind: str  # name of its class
    message: Text
    hint: Text
    settings: tuple[str, ...] = ()

    @classmethod
    def by(cls, error: EngineError) -> Refused:
        """Return the answer for an error."""
        return cls(type(error).__name__, error.message, error.hint, error.settings)

    @property
    def error(self) -> EngineError:
        """The error."""
        found: EngineError = getattr(errors, self.kind, EngineError)(
            self.message, self.hint, settings=self.settings
        )
        return found


class Call(msgspec.Struct, frozen=True):
    """A function, by its name, and its arguments as plain values."""

    function: str
    arguments: list[Any]
    memory: int = 0  # bytes that it may take; 0: any number

    def answer(
        self,
        function: Callable[..., Any],
        read: Callable[[Any, Any], Any] | None = None,
        write: Callable[[Any], Any] | None = None,
    ) -> Returned | Refused:
        """Return the result of the function, or the error that a user can act on.

        Args:
            function: What `function` names, with annotations of all parameters.
            read: Makes values of types that msgspec does not know; see `convert`.
            write: Makes plain values of them; see `encode_json`.
        """
        kinds = get_type_hints(function).values()
        try:
            given = [
                convert(value, kind, hook=read)
                for value, kind in zip(self.arguments, kinds, strict=False)
            ]
            return Returned(msgspec.Raw(encode_json(function(*given), write)))
        except EngineError as error:
            return Refused.by(error)


class ModelProcess(JsonProcess[Returned | Refused]):
    """A process that holds one model, whose methods can be called.

    Models run in separate processes so that the memory of one is not counted with the
    other's, and so that they do not share an allocator.

    Error messages name its `source`.
    """

    def __init__(self, source: str, command: Sequence[str]) -> None:
        self._source = source
        self._has_open_call = False
        super().__init__(command, json_decoder(Returned | Refused))

    def call(
        self,
        function: str,
        arguments: Sequence[Any],
        kind: type[_T],
        check: Callable[[], None],
    ) -> _T:
        """Return what a method returns, a value of a type.

        `check` is called repeatedly while waiting; it may raise to stop waiting.

        Raises:
            EngineError: The method raised it.
            EvaluationError: The process exited, or wrote an invalid line.
        """
        self.send(Call(function, list(arguments)))
        self._has_open_call = True
        while True:
            check()
            answer = self.receive(_POLL_INTERVAL_S)
            if answer is not None:
                break
            if self.ended:
                raise self._failure()
        self._has_open_call = False
        if isinstance(answer, Refused):
            raise answer.error
        return json_decoder(kind)(bytes(answer.value))

    def wait_until_idle(self, timeout: float) -> bool:
        """Return True if the process can take a call within `timeout` seconds.

        An answer that is still due, because `check` has raised, is discarded.
        """
        if self._has_open_call:
            self._has_open_call = self.receive(timeout) is None
        return not self._has_open_call and self.is_running

    def _failure(self) -> EvaluationError:
        return EvaluationError(
            unusable(Path(self._source).name, self.wait_for_exit().summary),
            "It may have run out of memory; close other programs, or choose a smaller "
            "model.",
        )
