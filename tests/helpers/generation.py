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
from surgeon_engine.generation.messages import Compare, Read, Score
from surgeon_engine.generation.worker_process import GenerationWorker
from tests.helpers.runs import Recorder


class WorkerClient:
    """Replace `SubprocessClient`; record the opened clients and their requests."""

    opened: ClassVar[list[WorkerClient]] = []

    def __init__(self, source, command, responses, *, measures):
        self.source, self.requests, self.is_alive = source, [], True
        self._worker = GenerationWorker()
        self.opened.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_alive = False

    def ask(self, request, response_type, check):
        assert self.is_alive
        check()
        self.requests.append(request)
        response = self._worker.respond(request)
        assert isinstance(response, response_type)
        return response

    @property
    def texts(self) -> list[list[int]]:
        """The tokens of each compared text."""
        texts: list[list[int]] = []
        for request in self.requests:
            if isinstance(request, Read):
                texts.append([])
            elif isinstance(request, Score | Compare):
                texts[-1] += request.tokens
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
