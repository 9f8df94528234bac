"""The inside end of a writing process: one model that writes, and reads texts.

Run as `python -m surgeon_engine.generation.worker_process`, it reads requests from
standard input and writes a reply to each to standard output, as lines of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.errors import ConfigError, ModelError
from surgeon_engine.api.json_process import RequestFailed
from surgeon_engine.api.messages.generation import (
    Disagreement,
    GenerationSettings,
    Guess,
)
from surgeon_engine.evaluation.divergence import divergences
from surgeon_engine.generation.detokenizer import StreamingDetokenizer, next_text
from surgeon_engine.generation.messages import (
    Begin,
    Compare,
    Compared,
    Done,
    Encode,
    Encoded,
    FinishText,
    Next,
    Open,
    Opened,
    Read,
    Reply,
    Request,
    Score,
    Scored,
    TextFinished,
    TokenGenerated,
)
from surgeon_engine.generation.prompt_logits import (
    Reading,
    check_not_nan,
    read_logits,
    write_logits,
)
from surgeon_engine.generation.sampling import Sampler
from surgeon_engine.measurement.benchmark_process import (
    last_logits_alone,
    load,
    now,
    with_cache,
)
from surgeon_engine.model.load import load_tokenizer
from surgeon_engine.model.source import locate
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve


class GenerationWorker:
    """One model with its tokenizer, which is opened first."""

    def __init__(self) -> None:
        self._model: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._text: Text | None = None
        self._reading: Reading | None = None
        self._read: list[int] = []  # the tokens so far of what is read

    def answer(self, request: Request) -> Reply:
        """Do what is asked.

        Raises:
            EngineError: the model cannot be read, or the prompt is none.
        """
        if isinstance(request, Open):
            return self._open(request)
        assert self._model is not None and self._tokenizer is not None
        match request:
            case Encode(prompt=prompt, as_chat=as_chat):
                return Encoded(encoded(self._tokenizer, prompt, as_chat=as_chat))
            case Begin(tokens=tokens, settings=settings):
                self._reading = None
                self._text = None
                devices.reset_peak_memory()
                self._text = Text(self._model, self._tokenizer, tokens, settings)
                return self._text.begin()
            case Next():
                assert self._text is not None
                return self._text.go_on()
            case FinishText():
                assert self._text is not None
                used = devices.peak_memory(self._model.device)
                return TextFinished(self._text.rest(), used)
            case Read(tokens=tokens):
                self._text = None  # and its cache
                self._reading = Reading(self._model, tokens)
                self._read = list(tokens)
                return Done()
            case Score() | Compare():
                return self._go_on_reading(request)

    def _open(self, request: Open) -> Opened:
        source = locate(request.model.source)
        self._tokenizer = load_tokenizer(source)
        if self._tokenizer is None and request.tokenizer:
            self._tokenizer = load_tokenizer(locate(request.tokenizer))
        if self._tokenizer is None:
            raise ModelError(
                f"{source.name} has no tokenizer that can be read.",
                "Put the tokenizer's files beside its weights.",
            )
        self._model = load(request.model)
        stated = self._model.config.get_text_config()
        return Opened(
            name=source.name,
            parameters=sum(x.numel() for x in self._model.parameters()),
            vocabulary=stated.vocab_size,
            longest_window=getattr(stated, "max_position_embeddings", None) or 0,
            device=devices.display_name(self._model.device),
            has_chat_template=bool(self._tokenizer.chat_template),
        )

    def _go_on_reading(self, request: Score | Compare) -> Scored | Compared:
        assert self._reading is not None
        logits = self._reading.expected(request.tokens)
        guesses = self._guesses(logits, request.tokens)
        if isinstance(request, Score):
            write_logits(Path(request.path), logits)
            return Scored(guesses)
        others = read_logits(Path(request.path))
        nats = divergences(others, logits).tolist()
        same = (others.argmax(dim=-1) == logits.argmax(dim=-1)).tolist()
        both = zip(nats, same, request.guesses, guesses, strict=True)
        return Compared(tuple(Disagreement(*each) for each in both))

    def _guesses(self, logits: Tensor, tokens: Sequence[int]) -> tuple[Guess, ...]:
        assert self._tokenizer is not None
        guesses = []
        for row, token in zip(logits.double().softmax(dim=-1), tokens, strict=True):
            first = int(row.argmax())
            likeliest = next_text(self._tokenizer, self._read, first)
            guesses.append(Guess(likeliest, float(row[first]), float(row[token])))
            self._read.append(token)
        return tuple(guesses)


class Text:
    """One text as it is written after `prompt`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        settings: GenerationSettings,
    ) -> None:
        self._model = model
        self._given = torch.tensor([list(prompt)], device=model.device)
        self._cache = with_cache(model)
        self._sampler = Sampler(settings)
        self._pieces = StreamingDetokenizer(tokenizer, prompt)
        self._ends = end_tokens(model, tokenizer)

    def begin(self) -> TokenGenerated:
        """Read the prompt and write the first token."""
        return self._write(last_logits_alone(self._model))

    def go_on(self) -> TokenGenerated:
        """Write one more."""
        return self._write({})

    def rest(self) -> str:
        """What there is of a character that is not complete."""
        return self._pieces.rest()

    @torch.no_grad()
    def _write(self, few: dict[str, int]) -> TokenGenerated:
        begun = now(self._model)
        found = self._model(self._given, use_cache=True, **self._cache, **few).logits
        logits = check_not_nan(found[0, -1].float())
        token = self._sampler.draw(logits)
        self._given = torch.tensor([[token]], device=self._model.device)
        seconds = now(self._model) - begun
        ends = token in self._ends
        return TokenGenerated(
            token, "" if ends else self._pieces.add(token), seconds, ends
        )


def encoded(
    tokenizer: PreTrainedTokenizerBase, prompt: str, *, as_chat: bool
) -> tuple[int, ...]:
    """The tokens of a prompt, as a message of a chat or as the beginning of a text.

    Raises:
        ConfigError: there is no chat template, or there are no tokens.
    """
    if as_chat:
        if not tokenizer.chat_template:
            raise ConfigError(
                "The tokenizer of the original has no chat template.",
                "Switch off that the prompt is a chat message.",
            )
        messages = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    # A template brings the special tokens along.
    tokens = tokenizer.encode(prompt, add_special_tokens=not as_chat)
    if not tokens and tokenizer.bos_token_id is not None:
        tokens = [tokenizer.bos_token_id]
    if not tokens:
        raise ConfigError("The prompt is empty.", "Write how the text is to begin.")
    return tuple(tokens)


def end_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> frozenset[int]:
    """The tokens that end a text, by the model's settings and by its tokenizer."""
    found: set[int] = set()
    for stated in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config.get_text_config(), "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        several = stated if isinstance(stated, list | tuple) else [stated]
        found |= {token for token in several if isinstance(token, int)}
    return frozenset(found)


def serve_worker() -> None:
    """Answer requests until the end of the input."""
    no_memory = RequestFailed(
        "There is not enough memory to let this model write.",
        "Close other programs, or write a shorter text after a shorter prompt.",
    )
    serve(Request, GenerationWorker().answer, no_memory)


if __name__ == "__main__":
    serve_worker()
