"""Tokenize a prompt, and generate a text token by token: sample and decode each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.generation.messages import TokenGenerated
from surgeon_engine.generation.prompt_logits import check_not_nan
from surgeon_engine.measurement.benchmark_process import now
from surgeon_engine.model.chat_template import TEMPLATE_ERRORS, render
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.runtime import fence

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # decoded first bytes of a character
_CONTEXT = 6  # preceding tokens: decoders drop or add a space at the beginning


class GeneratedText:
    """A text that is generated after a prompt."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        settings: GenerationSettings,
    ) -> None:
        self._model = language_model_of(model)
        self._input = torch.tensor([list(prompt)], device=model.device)
        self._options = with_cache(self._model) | last_logits_alone(self._model)
        self._sampler = Sampler(settings)
        self._detokenizer = StreamingDetokenizer(tokenizer, prompt)
        self._end_tokens = end_tokens(model, tokenizer)

    @torch.no_grad()
    def extend(self) -> TokenGenerated:
        """Generate one more token; the first time, process the prompt."""
        start_time = now(self._model)
        output = self._model(self._input, use_cache=True, **self._options)
        logits = check_not_nan(output.logits[0, -1].float())
        token = self._sampler.draw(logits)
        self._input = torch.tensor([[token]], device=self._model.device)
        seconds = now(self._model) - start_time
        ends = token in self._end_tokens
        piece = "" if ends else self._detokenizer.add(token)
        return TokenGenerated(token, piece, seconds, ends)

    def rest(self) -> str:
        """Return the text of an incomplete last character."""
        return self._detokenizer.rest()


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, *, as_chat: bool
) -> tuple[int, ...]:
    """Tokenize a prompt, as a chat message or as the beginning of a text.

    Raises:
        ConfigError: The tokenizer has no chat template, or the prompt is empty.
    """
    if as_chat:
        if not tokenizer.chat_template:
            raise ConfigError(
                "The tokenizer of the original has no chat template.",
                'Turn off "As a chat message".',
            )
        messages = [{"role": "user", "content": prompt}]
        try:
            prompt = render(messages, tokenizer, add_generation_prompt=True)
        except TEMPLATE_ERRORS as error:
            raise ConfigError(
                "The chat template of the original cannot render this: "
                "{reason:clause}.",
                'Turn off "As a chat message".',
                reason=fence.describe(error),
            ) from error
    # A chat template adds the special tokens itself.
    tokens = tokenizer.encode(prompt, add_special_tokens=not as_chat)
    if not tokens and tokenizer.bos_token_id is not None:
        tokens = [tokenizer.bos_token_id]
    if not tokens:
        raise ConfigError("The prompt is empty.", "Write the beginning of a text.")
    return tuple(tokens)


def end_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> frozenset[int]:
    """Return the end-of-text tokens of the model's configs and its tokenizer."""
    tokens: set[int] = set()
    for stated in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config.get_text_config(), "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        ids = stated if isinstance(stated, list | tuple) else [stated]
        tokens |= {token for token in ids if isinstance(token, int)}
    return frozenset(tokens)


class Sampler:
    """Samples tokens; the same seed gives the same tokens for the same logits.

    Each step draws an exponential e for every token of the vocabulary and selects the
    token with the largest p / e, which happens with probability p. Two models with the
    same seed therefore select the same token where their predictions are similar.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        # On the CPU, so that a seed gives the same noise with and without a GPU.
        self._noise = torch.Generator().manual_seed(settings.seed)

    def draw(self, logits: Tensor) -> int:
        """Sample a token from the logits of the vocabulary."""
        if self._settings.temperature == 0:
            return int(logits.argmax())
        scaled = logits.cpu().double() / self._settings.temperature
        shares = nucleus(scaled.softmax(dim=-1), self._settings.top_p)
        draws = torch.empty_like(shares).exponential_(generator=self._noise)
        return int((shares / draws).argmax())


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Set the probability of tokens outside the nucleus to 0.

    The nucleus is the smallest set of most likely tokens whose probabilities sum to
    `top_p` or more; it always contains the most likely token.
    """
    ordered, order = probabilities.sort(descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.where(before < top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)


class StreamingDetokenizer:
    """Decodes the tokens that follow the tokens `before`."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, before: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._decoded = len(self._tokens)  # tokens whose text has been returned
        self._context = max(0, self._decoded - _CONTEXT)

    def add(self, token: int) -> str:
        """Return the text that `token` adds; empty until its character is complete."""
        self._tokens.append(token)
        text = self._pending_text()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._context, self._decoded = self._decoded, len(self._tokens)
        return text

    def rest(self) -> str:
        """Return the text of an incomplete last character."""
        return self._pending_text() if self._decoded < len(self._tokens) else ""

    def _pending_text(self) -> str:
        known = decoded(self._tokenizer, self._tokens[self._context : self._decoded])
        return decoded(self._tokenizer, self._tokens[self._context :])[len(known) :]


def token_text(
    tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int
) -> str:
    """Return the text of `token` after the tokens `before`, incomplete or not."""
    context = list(before[-_CONTEXT:])
    known = decoded(tokenizer, context)
    return decoded(tokenizer, [*context, token])[len(known.rstrip(_UNFINISHED)) :]


def decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Decode tokens, special ones included, without changing spaces."""
    return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))
