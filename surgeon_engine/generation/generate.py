"""Generate text with two models from one prompt and compare them at each token.

The models take turns token by token, so that both texts grow at the same time and
neither model computes while the other is timed. Then both models score both texts,
unless they have different tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from surgeon_engine.api.config.export import QUANTIZED
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.generation import (
    Disagreement,
    Generated,
    GenerationSettings,
    Guess,
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
from surgeon_engine.base.errors import ConfigError, ModelError
from surgeon_engine.base.files import expand_path, temporary_folder
from surgeon_engine.generation.messages import TextFinished, TokenGenerated
from surgeon_engine.generation.pair import Pair
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.identity import FileStamp, stamps_of
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import HINT, tokenizer_problem
from surgeon_engine.runtime.run_context import RunContext

_CHUNK = 16  # tokens that are compared at a time; Cancel waits for one chunk


@dataclass(slots=True)
class _Draft:
    """A text that is being generated."""

    tokens: list[int] = field(default_factory=list)
    prompt_seconds: float = 0.0
    seconds: float = 0.0
    stop: Stop | None = None
    memory_bytes: int = 0


class Playground:
    """Keeps two models in memory between prompts, until they change or `close`."""

    def __init__(self) -> None:
        self._pair: Pair | None = None
        self._models: dict[Side, ModelConfig] = {}
        self._files: tuple[tuple[FileStamp, ...], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether models are in memory."""
        return self._pair is not None

    def close(self) -> None:
        """Release the memory of both models."""
        if self._pair is not None:
            self._pair.close()
        self._pair = None

    def generate(self, command: Generate, context: RunContext) -> Generated:
        """Generate and compare two texts, with an event for each token.

        Raises:
            RunCancelled: The user has cancelled.
            EngineError: A model cannot be read or has failed, or the prompt is empty or
                too long.
        """
        pair = self._open(command, context)
        try:
            return _generate(pair, command.prompt, command.settings, context)
        except BaseException:
            if not pair.wait_until_idle():
                self.close()
            raise

    def _open(self, command: Generate, context: RunContext) -> Pair:
        settings = command.settings
        original, _ = model_of(command.original)
        pruned, is_before_rounding = model_of(command.pruned)
        models = {
            side: ModelConfig(source, settings.dtype, settings.device)
            for side, source in zip(Side, (original, pruned), strict=True)
        }
        sources = [locate(model.source) for model in models.values()]
        files = tuple(map(stamps_of, sources))
        if self._pair is None or (models, files) != (self._models, self._files):
            self.close()
            # A tokenizer that never ends would never let its model be opened.
            if problem := tokenizer_problem(sources[0]):
                raise ModelError(problem, HINT)
            with context.stage(Stage.LOAD, total=2) as step:
                self._pair = Pair(models, context.raise_if_cancelled, step)
            self._models, self._files = models, files
        opened = self._pair.opened[Side.ORIGINAL]
        context.emit(ModelsLoaded(opened.has_chat_template, is_before_rounding))
        return self._pair


def model_of(source: str) -> tuple[str, bool]:
    """Return the file that a run has written; return any other source unchanged.

    If the file cannot be read, it is the model from which the file was made. The second
    value is whether the weights of the file were rounded since.

    Raises:
        ModelError: Neither can be read.
    """
    path = expand_path(source)
    run = RunFolder(path)
    is_run = run.report_path.is_file() and not (path / "config.json").is_file()
    if source == DEMO or not is_run:
        return source, False
    report = run.read_report()
    exported, made = report.exported, run.result_of(report)
    if exported is None or (file := str(run.export_of(report))) == made:
        return made, False
    try:
        _check_readable(file, stamps_of(locate(file)))
    except ModelError:
        if report.checkpoint and not Path(made).is_dir():
            raise
        return made, exported.dtype in QUANTIZED
    return file, False


@lru_cache(maxsize=8)  # it takes seconds, and each text asks for it
def _check_readable(file: str, _stamps: tuple[FileStamp, ...]) -> None:
    inspect_model(ModelConfig(file))


def _generate(
    pair: Pair, prompt: str, settings: GenerationSettings, context: RunContext
) -> Generated:
    tokens = pair.encode(
        prompt, as_chat=settings.as_chat, check=context.raise_if_cancelled
    )
    drafts = _generate_drafts(pair, tokens, settings, context)
    for side, draft in drafts.items():
        finished = pair.children[side].call(
            "finish", (), TextFinished, context.raise_if_cancelled
        )
        draft.memory_bytes = finished.bytes_in_use
        if finished.rest:
            last = len(draft.tokens) - 1
            context.emit(TokenWritten(side, last, finished.rest))
    if not pair.has_fewer_tokens:
        _compare(pair, tokens[Side.ORIGINAL], drafts, context)
    original, pruned = (
        _written(draft, len(tokens[side])) for side, draft in drafts.items()
    )
    device = pair.opened[Side.ORIGINAL].device
    return Generated(original, pruned, device, is_compared=not pair.has_fewer_tokens)


def _generate_drafts(
    pair: Pair,
    prompts: dict[Side, tuple[int, ...]],
    settings: GenerationSettings,
    context: RunContext,
) -> dict[Side, _Draft]:
    """Generate both texts; the models take turns token by token."""
    longest = max(map(len, prompts.values()))
    max_tokens, limit = _max_new_tokens(pair, longest, settings)
    drafts = {side: _Draft() for side in Side}
    with context.stage(Stage.GENERATION, total=2 * max_tokens) as step:
        while unfinished := [side for side in Side if drafts[side].stop is None]:
            is_last = context.stops_after_shot
            for side in unfinished:
                draft = drafts[side]
                arguments = () if draft.tokens else (prompts[side], settings)
                generated = pair.children[side].call(
                    "extend" if draft.tokens else "begin",
                    arguments,
                    TokenGenerated,
                    context.raise_if_cancelled,
                )
                _add_token(draft, generated, side, context)
                if draft.stop is None and len(draft.tokens) == max_tokens:
                    draft.stop = limit
                elif draft.stop is None and is_last:
                    draft.stop = Stop.ASKED
                step()
    return drafts


def _max_new_tokens(
    pair: Pair, prompt_tokens: int, settings: GenerationSettings
) -> tuple[int, Stop]:
    """Return the maximum number of new tokens and what limits it."""
    window = pair.longest_window
    if window is None:
        return settings.new_tokens, Stop.LENGTH
    remaining = window - prompt_tokens
    if remaining < 1:
        raise ConfigError(
            "The prompt has {given:,} tokens, but the window of these models is "
            "{window:,} tokens for the prompt and the new text.",
            "Shorten the prompt.",
            given=prompt_tokens,
            window=window,
        )
    if remaining < settings.new_tokens:
        return remaining, Stop.WINDOW
    return settings.new_tokens, Stop.LENGTH


def _add_token(
    draft: _Draft, generated: TokenGenerated, side: Side, context: RunContext
) -> None:
    if not draft.tokens:
        draft.prompt_seconds = generated.seconds
    elif not generated.ends:  # an end-of-text token is not part of the text
        draft.seconds += generated.seconds
    if generated.ends:
        draft.stop = Stop.END_OF_TEXT
        return
    context.emit(TokenWritten(side, len(draft.tokens), generated.piece))
    draft.tokens.append(generated.token)


def _compare(
    pair: Pair, prompt: tuple[int, ...], drafts: dict[Side, _Draft], context: RunContext
) -> None:
    """Score both texts with both models and report the differences by chunk."""
    original, pruned = (pair.children[side] for side in Side)
    check = context.raise_if_cancelled
    chunks = sum(-(-len(draft.tokens) // _CHUNK) for draft in drafts.values())
    with (
        temporary_folder() as folder,
        context.stage(Stage.COMPARISON, total=chunks) as step,
    ):
        path = str(Path(folder) / "expected.safetensors")
        for side, draft in drafts.items():
            if not draft.tokens:
                continue
            for worker in (original, pruned):
                worker.call("read", (prompt,), type(None), check)
            for first in range(0, len(draft.tokens), _CHUNK):
                chunk = tuple(draft.tokens[first : first + _CHUNK])
                scored = (chunk, path)
                guesses = original.call("score", scored, tuple[Guess, ...], check)
                disagreements = pruned.call(
                    "compare", (*scored, guesses), tuple[Disagreement, ...], check
                )
                context.emit(TextCompared(side, first, disagreements))
                step()


def _written(draft: _Draft, prompt_tokens: int) -> Written:
    assert draft.stop is not None
    return Written(
        tokens=len(draft.tokens),
        prompt_tokens=prompt_tokens,
        prompt_seconds=draft.prompt_seconds,
        seconds=draft.seconds,
        memory_bytes=draft.memory_bytes,
        stop=draft.stop,
    )
