"""Models that write in this very process, which spares the seconds to start others."""

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
from surgeon_engine.runtime.run_context import RunContext


class WorkerClient:
    """Stands in for `SubprocessClient`; counts what has been started and asked."""

    opened: ClassVar[list[WorkerClient]] = []

    def __init__(self, source, command, replies, doing):
        self.source, self.asked, self.is_alive = source, [], True
        self._worker = GenerationWorker()
        self.opened.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_alive = False

    def ask(self, request, answer, check):
        assert self.is_alive
        check()
        self.asked.append(request)
        reply = self._worker.respond(request)
        assert isinstance(reply, answer)
        return reply

    @property
    def texts(self) -> list[list[int]]:
        """The tokens of the texts that have been compared, one after the other."""
        texts: list[list[int]] = []
        for request in self.asked:
            if isinstance(request, Read):
                texts.append([])
            elif isinstance(request, Score | Compare):
                texts[-1] += request.tokens
        return texts

    def wait_until_idle(self, seconds):
        return self.is_alive


class Written:
    """What a playground told of one prompt."""

    def __init__(self):
        self.events = []
        self.react = lambda event: None
        self.answer: Generated | None = None
        self.context = RunContext("test", self._receive)

    def _receive(self, envelope):
        self.events.append(envelope.event)
        self.react(envelope.event)

    def run(self, playground, original, pruned, prompt="Some text", **settings):
        """Let both write; gives itself."""
        chosen = GenerationSettings(**{"new_tokens": 8} | settings, device=Device.CPU)
        command = Generate(
            run="test",
            original=str(original),
            pruned=str(pruned),
            prompt=prompt,
            settings=chosen,
        )
        self.answer = playground.generate(command, self.context)
        return self

    def of(self, kind):
        """The events of that kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def text(self, side: Side) -> str:
        """What one side has written."""
        return "".join(x.piece for x in self.of(TokenWritten) if x.side is side)

    def found(self, side: Side):
        """What both models expected at each token of one text."""
        return [
            each
            for event in self.of(TextCompared)
            if event.side is side
            for each in event.found
        ]
