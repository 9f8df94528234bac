"""Models that generate in this process, which avoids starting other processes."""

from __future__ import annotations

from typing import ClassVar

from surgeon_engine.api.config.run import Device
from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.generation import (
    Generated,
    GenerationSettings,
    Side,
    TextCompared,
    TokenWritten,
)
from surgeon_engine.base.calls import Call, Refused
from surgeon_engine.base.decoding import decode_json, encode_json, json_decoder
from surgeon_engine.generation.worker_process import GenerationWorker
from tests.helpers.runs import Recorder


class WorkerClient:
    """Replace `ModelProcess`; record the opened ones and the calls of their methods."""

    opened: ClassVar[list[WorkerClient]] = []

    def __init__(self, source, command):
        self.source, self.calls, self.is_alive = source, [], True
        self._worker = GenerationWorker()
        self.opened.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_alive = False

    def call(self, function, arguments, kind, check):
        assert self.is_alive
        check()
        self.calls.append((function, arguments))
        call = decode_json(encode_json(Call(function, list(arguments))), Call)
        answer = call.answer(getattr(self._worker, function))
        if isinstance(answer, Refused):
            raise answer.error
        return json_decoder(kind)(bytes(answer.value))

    @property
    def texts(self) -> list[list[int]]:
        """The tokens of each compared text."""
        texts: list[list[int]] = []
        for function, arguments in self.calls:
            if function == "read":
                texts.append([])
            elif function in ("score", "compare"):
                texts[-1] += arguments[0]
        return texts

    def wait_until_idle(self, timeout):
        return self.is_alive


class GenerationRecorder(Recorder):
    """Run a playground on a prompt and record its events."""

    response: Generated | None = None

    def generate(self, playground, original, pruned, prompt="Some text", **settings):
        """Let both models generate; return this recorder."""
        options = GenerationSettings(**{"new_tokens": 8} | settings, device=Device.CPU)
        command = Generate(
            run="test",
            original=str(original),
            pruned=str(pruned),
            prompt=prompt,
            settings=options,
        )
        self.response = playground.generate(command, self.context)
        return self

    def text(self, side: Side) -> str:
        """Return the text of one side."""
        return "".join(x.piece for x in self.of(TokenWritten) if x.side is side)

    def found(self, side: Side):
        """Return the predictions of both models at each token of one text."""
        return [
            each
            for event in self.of(TextCompared)
            if event.side is side
            for each in event.found
        ]
