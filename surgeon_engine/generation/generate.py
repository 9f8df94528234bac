"""Lets two models write on from one prompt, in turns, and compares them at each token.

They take turns token by token, so that both texts grow at once and neither model works
while the other is timed. When both texts are complete, both models read both of them.
Imports neither torch nor Qt.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.files import expand_path
from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.generation import (
    Generated,
    GenerationSettings,
    ModelsLoaded,
    Side,
    Stop,
    TextCompared,
    TokenWritten,
    Written,
)
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.generation.messages import (
    Begin,
    Compare,
    Compared,
    Done,
    FinishText,
    Next,
    Read,
    Score,
    Scored,
    TextFinished,
    TokenGenerated,
)
from surgeon_engine.generation.pair import Pair, Sides
from surgeon_engine.model.source import locate
from surgeon_engine.runtime.run_context import RunContext

_STRETCH = 16  # tokens that are compared at a time: so much is between two cancels

_Files = tuple[tuple[str, int, int], ...]  # path, time of the last change, size


@dataclass(slots=True)
class _Draft:
    """One text as it grows."""

    tokens: list[int] = field(default_factory=list)
    prompt_seconds: float = 0.0
    seconds: float = 0.0
    stop: Stop | None = None
    memory_bytes: int = 0


class Playground:
    """Keeps two models warm between prompts, for as long as both are the same.

    Whoever needs the memory, or has no use for them any more, calls `close`.
    """

    def __init__(self) -> None:
        self._pair: Pair | None = None
        self._sides: Sides | None = None
        self._files: _Files = ()

    @property
    def is_open(self) -> bool:
        """Whether models are in memory."""
        return self._pair is not None

    def close(self) -> None:
        """Give the memory of both models back."""
        if self._pair is not None:
            self._pair.close()
        self._pair, self._sides = None, None

    def generate(self, wanted: Generate, context: RunContext) -> Generated:
        """Write and compare what is wanted; tells each token as it comes.

        Raises:
            RunCancelled: the user has cancelled.
            EngineError: a model cannot be read or has failed, or the prompt is too
                long, or none.
        """
        pair = self._opened(wanted, context)
        try:
            return _generated(pair, wanted.prompt, wanted.settings, context)
        except BaseException:
            if not pair.wait_until_idle():
                self.close()
            raise

    def _opened(self, wanted: Generate, context: RunContext) -> Pair:
        settings = wanted.settings
        original, pruned = (
            ModelConfig(checkpoint_of(source), settings.dtype, settings.device)
            for source in (wanted.original, wanted.pruned)
        )
        sides = Sides(original, pruned)
        files = _files(original) + _files(pruned)
        if self._pair is None or (sides, files) != (self._sides, self._files):
            self.close()
            with context.stage(Stage.LOAD, total=2) as step:
                self._pair = Pair(sides, context.raise_if_cancelled, step)
            self._sides, self._files = sides, files
        opened = self._pair.opened
        context.emit(
            ModelsLoaded(
                opened[Side.ORIGINAL].name,
                opened[Side.PRUNED].name,
                opened[Side.ORIGINAL].has_chat_template,
            )
        )
        return self._pair


def checkpoint_of(source: str) -> str:
    """The checkpoint in the folder of a run; any other source as it is."""
    path = expand_path(source)
    run = RunFolder(path)
    is_run = run.report_path.is_file() and not (path / "config.json").is_file()
    if source == DEMO or not is_run:
        return source
    return str(run.checkpoint_of(run.read_report()))


def _files(model: ModelConfig) -> _Files:
    """By what a model is known to be the same as before."""
    source = locate(model.source)
    paths = [*source.weight_files]
    if not source.gguf_file:
        paths.append(source.folder / "config.json")
    stats = [(path, path.stat()) for path in paths]
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def _generated(
    pair: Pair, prompt: str, settings: GenerationSettings, context: RunContext
) -> Generated:
    tokens = pair.encode(
        prompt, as_chat=settings.as_chat, check=context.raise_if_cancelled
    )
    drafts = _drafts(pair, tokens, settings, context)
    for side, draft in drafts.items():
        finished = pair.children[side].ask(
            FinishText(), TextFinished, context.raise_if_cancelled
        )
        draft.memory_bytes = finished.bytes_in_use
        if finished.rest:
            last = len(draft.tokens) - 1
            context.emit(TokenWritten(side, last, finished.rest))
    _compare(pair, tokens, drafts, context)
    original, pruned = (
        _written(pair, side, draft, len(tokens)) for side, draft in drafts.items()
    )
    return Generated(original, pruned, pair.opened[Side.ORIGINAL].device)


def _drafts(
    pair: Pair,
    prompt: tuple[int, ...],
    settings: GenerationSettings,
    context: RunContext,
) -> dict[Side, _Draft]:
    """Both texts, of which the sides write a token each in turns."""
    most, limit = _room(pair, len(prompt), settings)
    drafts = {side: _Draft() for side in Side}
    with context.stage(Stage.GENERATION, total=2 * most) as step:
        while unfinished := [side for side in Side if drafts[side].stop is None]:
            is_last = context.stops_after_shot
            for side in unfinished:
                draft = drafts[side]
                request = Next() if draft.tokens else Begin(prompt, settings)
                spoke = pair.children[side].ask(
                    request, TokenGenerated, context.raise_if_cancelled
                )
                _take(draft, spoke, side, context)
                if draft.stop is None and len(draft.tokens) == most:
                    draft.stop = limit
                elif draft.stop is None and is_last:
                    draft.stop = Stop.ASKED
                step()
    return drafts


def _room(
    pair: Pair, prompt_tokens: int, settings: GenerationSettings
) -> tuple[int, Stop]:
    """How many tokens can follow the prompt, and what keeps them from being more."""
    window = pair.longest_window
    if window is None:
        return settings.new_tokens, Stop.LENGTH
    room = window - prompt_tokens
    if room < 1:
        raise ConfigError(
            f"The prompt has {prompt_tokens:,} tokens, and these models can read "
            f"{window:,}, those that they write included.",
            "Shorten the prompt.",
        )
    if room < settings.new_tokens:
        return room, Stop.WINDOW
    return settings.new_tokens, Stop.LENGTH


def _take(
    draft: _Draft, spoke: TokenGenerated, side: Side, context: RunContext
) -> None:
    if not draft.tokens:
        draft.prompt_seconds = spoke.seconds
    elif not spoke.ends:  # what ends a text is no token of it
        draft.seconds += spoke.seconds
    if spoke.ends:
        draft.stop = Stop.END_OF_TEXT
        return
    context.emit(TokenWritten(side, len(draft.tokens), spoke.piece))
    draft.tokens.append(spoke.token)


def _compare(
    pair: Pair, prompt: tuple[int, ...], drafts: dict[Side, _Draft], context: RunContext
) -> None:
    """Let both models read both texts, and tell what each expected at each token."""
    original, pruned = (pair.children[side] for side in Side)
    check = context.raise_if_cancelled
    turns = sum(-(-len(draft.tokens) // _STRETCH) for draft in drafts.values())
    with (
        tempfile.TemporaryDirectory(prefix="surgeon-") as folder,
        context.stage(Stage.COMPARISON, total=turns) as step,
    ):
        path = str(Path(folder) / "expected.safetensors")
        for side, draft in drafts.items():
            if not draft.tokens:
                continue
            for child in (original, pruned):
                child.ask(Read(prompt), Done, check)
            for first in range(0, len(draft.tokens), _STRETCH):
                stretch = tuple(draft.tokens[first : first + _STRETCH])
                guesses = original.ask(Score(stretch, path), Scored, check).guesses
                request = Compare(stretch, path, guesses)
                found = pruned.ask(request, Compared, check).found
                context.emit(TextCompared(side, first, found))
                step()


def _written(pair: Pair, side: Side, draft: _Draft, prompt_tokens: int) -> Written:
    assert draft.stop is not None
    opened = pair.opened[side]
    return Written(
        name=opened.name,
        tokens=len(draft.tokens),
        prompt_tokens=prompt_tokens,
        prompt_seconds=draft.prompt_seconds,
        seconds=draft.seconds,
        memory_bytes=draft.memory_bytes,
        stop=draft.stop,
        parameters=opened.parameters,
    )
