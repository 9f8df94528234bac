"""A process that generates and scores texts with one model.

`python -m surgeon_engine.generation.worker_process` reads requests from standard input
and writes a response to each to standard output, as lines of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.generation import (
    Disagreement,
    Guess,
)
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import say
from surgeon_engine.evaluation.fidelity import divergences
from surgeon_engine.generation.generated_text import (
    GeneratedText,
    encode_prompt,
    token_text,
)
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
    Request,
    Response,
    Score,
    Scored,
    TextFinished,
)
from surgeon_engine.generation.prompt_logits import PromptScorer
from surgeon_engine.measurement.benchmark_process import load
from surgeon_engine.model.source import locate, vocabulary_size
from surgeon_engine.model.tokenizer import load_tokenizer
from surgeon_engine.model.vocabulary.smaller import is_part
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve

_LOGITS = "logits"  # name of the tensor in the file


class GenerationWorker:
    """One model with its tokenizer; the first request is `Open`."""

    def __init__(self) -> None:
        self._model: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._text: GeneratedText | None = None
        self._scorer: PromptScorer | None = None
        self._scored: list[int] = []  # tokens before the next ones to score

    def respond(self, request: Request) -> Response:
        """Handle a request.

        Raises:
            EngineError: The model cannot be read, or the prompt is empty.
        """
        if isinstance(request, Open):
            return self._open(request)
        assert self._model is not None and self._tokenizer is not None
        match request:
            case Encode(prompt=prompt, as_chat=as_chat):
                return Encoded(encode_prompt(self._tokenizer, prompt, as_chat=as_chat))
            case Begin(tokens=tokens, settings=settings):
                self._scorer = None
                self._text = None
                devices.reset_peak_memory()
                self._text = GeneratedText(
                    self._model, self._tokenizer, tokens, settings
                )
                return self._text.extend()
            case Next():
                assert self._text is not None
                return self._text.extend()
            case FinishText():
                assert self._text is not None
                used = devices.peak_memory(self._model.device)
                return TextFinished(self._text.rest(), used)
            case Read(tokens=tokens):
                self._text = None  # releases its cache
                self._scorer = PromptScorer(self._model, tokens)
                self._scored = list(tokens)
                return Done()
            case Score() | Compare():
                return self._score(request)

    def _open(self, request: Open) -> Opened:
        source = locate(request.model.source)
        self._tokenizer = load_tokenizer(source)
        if self._tokenizer is None and request.tokenizer:
            self._tokenizer = load_tokenizer(locate(request.tokenizer))
        if self._tokenizer is None:
            raise ModelError(
                "{source} has no tokenizer that can be read.",
                "Put the tokenizer's files into the folder of its weights.",
                source=source.name,
            )
        self._model = load(request.model)
        stated = self._model.config.get_text_config()
        return Opened(
            name=source.name,
            vocabulary=stated.vocab_size,
            longest_window=getattr(stated, "max_position_embeddings", None) or 0,
            device=devices.display_name(self._model.device),
            has_chat_template=bool(self._tokenizer.chat_template),
            has_fewer_tokens=self._has_fewer_tokens(request, stated.vocab_size),
        )

    def _has_fewer_tokens(self, request: Open, size: int) -> bool:
        """Return whether the model has some of the original's tokens."""
        if not request.tokenizer:
            return False
        source = locate(request.tokenizer)
        if size >= vocabulary_size(source):
            return False
        original = load_tokenizer(source)
        assert self._tokenizer is not None
        return original is not None and is_part(self._tokenizer, original)

    def _score(self, request: Score | Compare) -> Scored | Compared:
        assert self._scorer is not None
        logits = self._scorer.score(request.tokens)
        guesses = self._guesses(logits, request.tokens)
        if isinstance(request, Score):
            save_file({_LOGITS: logits.contiguous()}, request.path)
            return Scored(guesses)
        other_logits = load_file(request.path)[_LOGITS]
        nats = divergences(other_logits, logits).tolist()
        agrees = (other_logits.argmax(dim=-1) == logits.argmax(dim=-1)).tolist()
        rows = zip(nats, agrees, request.guesses, guesses, strict=True)
        return Compared(tuple(Disagreement(*row) for row in rows))

    def _guesses(self, logits: Tensor, tokens: Sequence[int]) -> tuple[Guess, ...]:
        assert self._tokenizer is not None
        guesses = []
        for row, token in zip(
            logits.cpu().double().softmax(dim=-1), tokens, strict=True
        ):
            likeliest = int(row.argmax())
            text = token_text(self._tokenizer, self._scored, likeliest)
            guesses.append(Guess(text, float(row[likeliest]), float(row[token])))
            self._scored.append(token)
        return tuple(guesses)


if __name__ == "__main__":
    no_memory = RequestFailed(
        say("There is not enough memory to generate text with this model."),
        say("Close other programs, or generate a shorter text after a shorter prompt."),
    )
    serve(Request, GenerationWorker().respond, no_memory)
