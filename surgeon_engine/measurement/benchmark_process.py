"""A benchmark process: loads a model and times its work.

`python -m surgeon_engine.measurement.benchmark_process` answers the calls of a
`ModelProcess`.
"""

from __future__ import annotations

import gc
import time

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.restore import is_compact, load_compact
from surgeon_engine.measurement.messages import Finished, Loaded
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import UNREADABLE, first_line, locate
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.json_server import serve


class BenchmarkWorker:
    """A model whose work is timed; `load` must be called first."""

    _model: PreTrainedModel

    def load(self, model: ModelConfig, threads: int, window: int) -> Loaded:
        """Load a model.

        With 0 threads, the library decides. The window holds prompt and answer
        together; transformers takes any.

        Raises:
            EngineError: The model cannot be found or read.
        """
        if threads:
            torch.set_num_threads(threads)
        self._model = load(model)
        loaded = _described(model, self._model)
        devices.reset_peak_memory()
        return loaded

    def read(self, tokens: int, vocabulary: int, seed: int) -> float:
        """Return the seconds to read a random prompt in one pass."""
        return prompt_seconds(self._model, _random_tokens(tokens, vocabulary, seed))

    def generate(self, prompt: int, tokens: int, vocabulary: int, seed: int) -> float:
        """Return the seconds to generate tokens one by one after a random prompt."""
        given = _random_tokens(prompt, vocabulary, seed)
        return generate_tokens(self._model, given, tokens)[1]

    def finish(self) -> Finished:
        """Return memory and zeros."""
        # Before counting zeros, which uses memory itself.
        peak = devices.peak_memory(self._model.device)
        return Finished(peak, count_zeros(self._model))


def load(config: ModelConfig) -> PreTrainedModel:
    """Load the model of `config`, ordinary or compact, in evaluation mode.

    Raises:
        EngineError: The model cannot be found or read.
    """
    source = locate(config.source)
    if source.gguf_file or not is_compact(source.folder):
        return load_model(config, with_tokenizer=False).model
    try:
        model = load_compact(source.folder, devices.dtype_of(config.dtype))
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            "The weights of {source} cannot be loaded: {reason:clause}.",
            "The files may be incomplete: export the model again.",
            source=source.name,
            reason=first_line(error),
        ) from error
    return model.eval().to(devices.choose(config.device))


@torch.no_grad()
def prompt_seconds(model: PreTrainedModel, prompt: Tensor) -> float:
    """Return the seconds to read `prompt` (1 x tokens) and fill a cache."""
    model = language_model_of(model)
    prompt = prompt.to(model.device)
    options = with_cache(model) | last_logits_alone(model)
    start = now(model)
    model(prompt, use_cache=True, **options)
    return now(model) - start


@torch.no_grad()
def generate_tokens(
    model: PreTrainedModel, prompt: Tensor, count: int
) -> tuple[Tensor, float]:
    """Generate the top tokens after `prompt` (1 x tokens).

    Returns:
        The tokens, 1 x (count + 1), and the seconds for all but the first, which
        results from reading the prompt. Each of the others takes one pass over one
        token, with the previous ones in the cache.
    """
    model = language_model_of(model)
    cache = with_cache(model)
    prompt = prompt.to(model.device)
    logits = model(prompt, use_cache=True, **cache, **last_logits_alone(model)).logits
    tokens = [logits[:, -1:].argmax(-1)]
    start = now(model)
    for _ in range(count):
        logits = model(tokens[-1], use_cache=True, **cache).logits
        tokens.append(logits[:, -1:].argmax(-1))
    seconds = now(model) - start
    return torch.cat(tokens, dim=1).cpu(), seconds


def count_zeros(model: PreTrainedModel) -> int:
    """Return how many parameters are exactly 0."""
    return sum(x.numel() - int(torch.count_nonzero(x)) for x in model.parameters())


def _described(model_config: ModelConfig, model: PreTrainedModel) -> Loaded:
    source = locate(model_config.source)
    gc.collect()
    config = model.config.get_text_config()
    return Loaded(
        name=source.name,
        file_bytes=sum(path.stat().st_size for path in source.weight_files),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=config.vocab_size,
        longest_window=getattr(config, "max_position_embeddings", None) or 0,
        bytes_in_use=devices.peak_memory(model.device),
        threads=torch.get_num_threads(),
        device=devices.display_name(model.device),
    )


def _random_tokens(count: int, vocabulary: int, seed: int) -> Tensor:
    """Return random tokens (1 x count) below the vocabulary, the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (1, count), generator=generator)


def now(model: PreTrainedModel) -> float:
    """Return the time in seconds, after the device has finished its work."""
    devices.synchronize(model.device)
    return time.perf_counter()


if __name__ == "__main__":
    out_of_memory = ModelError(
        "There is not enough memory to measure this.",
        "Close other programs, or measure one model at a time.",
    )
    serve(BenchmarkWorker(), out_of_memory)
