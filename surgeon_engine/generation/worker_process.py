"""A process that generates and scores texts with one model.

`python -m surgeon_engine.generation.worker_process` answers the calls of a
`ModelProcess`.
"""

from __future__ import annotations

from collections.abc import Sequence

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.generation import (
    Disagreement,
    GenerationSettings,
    Guess,
)
from surgeon_engine.base.errors import ModelError
from surgeon_engine.evaluation.fidelity import divergences
from surgeon_engine.generation.generated_text import (
    GeneratedText,
    decoded,
    encode_prompt,
    token_text,
)
from surgeon_engine.generation.messages import Opened, TextFinished, TokenGenerated
from surgeon_engine.generation.prompt_logits import PromptScorer
from surgeon_engine.measurement.benchmark_process import load
from surgeon_engine.model.source import locate, vocabulary_size
from surgeon_engine.model.tokenizer import load_tokenizer
from surgeon_engine.model.vocabulary.smaller import is_part
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve

_LOGITS = "logits"  # name of the tensor in the file


class GenerationWorker:
    """One model with its tokenizer; `open` must be called first."""

    _model: PreTrainedModel
    _tokenizer: PreTrainedTokenizerBase
    _text: GeneratedText | None = None
    _scorer: PromptScorer | None = None

    def __init__(self) -> None:
        self._scored: list[int] = []  # tokens before the next ones to score

    def open(self, model: ModelConfig, tokenizer: str) -> Opened:
        """Load a model.

        `tokenizer` is the source of the original's, for a model that has none.

        Raises:
            EngineError: The model cannot be read.
        """
        source = locate(model.source)
        found = load_tokenizer(source) or load_tokenizer(locate(tokenizer))
        if found is None:
            raise ModelError(
                "{source} has no tokenizer that can be read.",
                "Put the tokenizer's files into the folder of its weights.",
                source=source.name,
            )
        self._tokenizer, self._model = found, load(model)
        stated = self._model.config.get_text_config()
        return Opened(
            name=source.name,
            vocabulary=stated.vocab_size,
            longest_window=getattr(stated, "max_position_embeddings", None) or 0,
            device=devices.display_name(self._model.device),
            has_chat_template=bool(self._tokenizer.chat_template),
            has_fewer_tokens=self._has_fewer_tokens(tokenizer, stated.vocab_size),
        )

    def encode(self, prompt: str, as_chat: bool) -> tuple[int, ...]:
        """Tokenize a prompt.

        Raises:
            ConfigError: It is empty, or there is no template for chats.
        """
        return encode_prompt(self._tokenizer, prompt, as_chat=as_chat)

    def decode(self, tokens: tuple[int, ...]) -> str:
        """Return the text of tokens."""
        return decoded(self._tokenizer, tokens)

    def begin(
        self, tokens: tuple[int, ...], settings: GenerationSettings
    ) -> TokenGenerated:
        """Process a prompt and generate a token."""
        self._scorer = None
        self._text = None
        devices.reset_peak_memory()
        self._text = GeneratedText(self._model, self._tokenizer, tokens, settings)
        return self._text.extend()

    def extend(self) -> TokenGenerated:
        """Generate one more token."""
        assert self._text is not None
        return self._text.extend()

    def finish(self) -> TextFinished:
        """End a text."""
        assert self._text is not None
        used = devices.peak_memory(self._model.device)
        return TextFinished(self._text.rest(), used)

    def read(self, tokens: tuple[int, ...]) -> None:
        """Process the prompt of a text to be compared."""
        self._text = None  # releases its cache
        self._scorer = PromptScorer(self._model, tokens)
        self._scored = list(tokens)

    def score(self, tokens: tuple[int, ...], path: str) -> tuple[Guess, ...]:
        """Score the next tokens, and write their logits to a file."""
        logits, guesses = self._guesses(tokens)
        save_file({_LOGITS: logits.contiguous()}, path)
        return guesses

    def compare(
        self, tokens: tuple[int, ...], path: str, guesses: tuple[Guess, ...]
    ) -> tuple[Disagreement, ...]:
        """Score the next tokens, and compare with the logits of another model.

        `path` is the file of that model's logits.
        """
        logits, own = self._guesses(tokens)
        others = load_file(path)[_LOGITS]
        nats = divergences(others, logits).tolist()
        agrees = (others.argmax(dim=-1) == logits.argmax(dim=-1)).tolist()
        rows = zip(nats, agrees, guesses, own, strict=True)
        return tuple(Disagreement(*row) for row in rows)

    def _has_fewer_tokens(self, tokenizer: str, size: int) -> bool:
        """Return whether the model has some of the original's tokens."""
        source = locate(tokenizer)
        if size >= vocabulary_size(source):
            return False
        original = load_tokenizer(source)
        return original is not None and is_part(self._tokenizer, original)

    def _guesses(self, tokens: Sequence[int]) -> tuple[Tensor, tuple[Guess, ...]]:
        """Return the logits that predict the next tokens, and what they mean."""
        assert self._scorer is not None
        logits, guesses = self._scorer.score(tokens), []
        for row, token in zip(
            logits.cpu().double().softmax(dim=-1), tokens, strict=True
        ):
            likeliest = int(row.argmax())
            text = token_text(self._tokenizer, self._scored, likeliest)
            guesses.append(Guess(text, float(row[likeliest]), float(row[token])))
            self._scored.append(token)
        return logits, tuple(guesses)


if __name__ == "__main__":
    no_memory = ModelError(
        "There is not enough memory to generate text with this model.",
        "Close other programs, or generate a shorter text after a shorter prompt.",
    )
    serve(GenerationWorker(), no_memory)
