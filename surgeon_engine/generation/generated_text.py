"""Generate a text token by token, and tokenize its prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_engine.generation.detokenizer import StreamingDetokenizer
from surgeon_engine.generation.messages import TokenGenerated
from surgeon_engine.generation.prompt_logits import check_not_nan
from surgeon_engine.generation.sampling import Sampler
from surgeon_engine.measurement.benchmark_process import now
from surgeon_engine.model.chat_template import TEMPLATE_ERRORS, render
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.runtime import fence


class GeneratedText:
    """A text that is generated after a prompt."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        settings: GenerationSettings,
    ) -> None:
        self._model = model
        self._input = torch.tensor([list(prompt)], device=model.device)
        self._cache = with_cache(model)
        self._sampler = Sampler(settings)
        self._detokenizer = StreamingDetokenizer(tokenizer, prompt)
        self._end_tokens = end_tokens(model, tokenizer)

    def begin(self) -> TokenGenerated:
        """Process the prompt and generate the first token."""
        return self._generate(last_logits_alone(self._model))

    def extend(self) -> TokenGenerated:
        """Generate one more token."""
        return self._generate({})

    def rest(self) -> str:
        """Return the text of an incomplete last character."""
        return self._detokenizer.rest()

    @torch.no_grad()
    def _generate(self, options: dict[str, int]) -> TokenGenerated:
        start_time = now(self._model)
        output = self._model(self._input, use_cache=True, **self._cache, **options)
        logits = check_not_nan(output.logits[0, -1].float())
        token = self._sampler.draw(logits)
        self._input = torch.tensor([[token]], device=self._model.device)
        seconds = now(self._model) - start_time
        ends = token in self._end_tokens
        piece = "" if ends else self._detokenizer.add(token)
        return TokenGenerated(token, piece, seconds, ends)


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
                say("The tokenizer of the original has no chat template."),
                say('Turn off "As a chat message".'),
            )
        messages = [{"role": "user", "content": prompt}]
        try:
            prompt = render(messages, tokenizer, add_generation_prompt=True)
        except TEMPLATE_ERRORS as error:
            raise ConfigError(
                say(
                    "The chat template of the original cannot render this: "
                    "{reason:clause}.",
                    reason=fence.describe(error),
                ),
                say('Turn off "As a chat message".'),
            ) from error
    # A chat template adds the special tokens itself.
    tokens = tokenizer.encode(prompt, add_special_tokens=not as_chat)
    if not tokens and tokenizer.bos_token_id is not None:
        tokens = [tokenizer.bos_token_id]
    if not tokens:
        raise ConfigError(
            say("The prompt is empty."), say("Write the beginning of a text.")
        )
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
