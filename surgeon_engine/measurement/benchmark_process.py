"""A benchmark process: loads a model and times its work.

`python -m surgeon_engine.measurement.benchmark_process` reads requests from the
standard input and writes a response to each to the standard output, as JSON lines.
"""

from __future__ import annotations

import gc
import time

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.restore import is_compact, load_compact
from surgeon_engine.measurement.messages import (
    BenchmarkFinished,
    FinishBenchmark,
    GenerateTokens,
    Load,
    Loaded,
    ReadPrompt,
    Request,
    Response,
    Timed,
)
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import UNREADABLE, first_line, locate
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.json_server import serve


class BenchmarkWorker:
    """Responds to requests about one model. The first request must be `Load`."""

    def __init__(self) -> None:
        self._model: PreTrainedModel | None = None

    def answer(self, request: Request) -> Response:
        """Return the response to a request.

        Raises:
            EngineError: The model cannot be found or read.
        """
        if isinstance(request, Load):
            if request.threads:
                torch.set_num_threads(request.threads)
            self._model = load(request.model)
            loaded = _loaded(request.model, self._model)
            devices.reset_peak_memory()
            return loaded
        assert self._model is not None
        match request:
            case ReadPrompt():
                return Timed(prompt_seconds(self._model, _random_tokens(request)))
            case GenerateTokens(tokens=count):
                prompt = _random_tokens(request)
                return Timed(generate_tokens(self._model, prompt, count)[1])
            case FinishBenchmark():
                # Before counting zeros, which uses memory itself.
                peak = devices.peak_memory(self._model.device)
                return BenchmarkFinished(peak, count_zeros(self._model))


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


def _loaded(model_config: ModelConfig, model: PreTrainedModel) -> Loaded:
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


def _random_tokens(request: ReadPrompt | GenerateTokens) -> Tensor:
    """Return random tokens (1 x tokens), the same for equal requests."""
    count = request.tokens if isinstance(request, ReadPrompt) else request.prompt_tokens
    generator = torch.Generator().manual_seed(request.seed)
    return torch.randint(request.vocabulary, (1, count), generator=generator)


def now(model: PreTrainedModel) -> float:
    """Return the time in seconds, after the device has finished its work."""
    devices.synchronize(model.device)
    return time.perf_counter()


if __name__ == "__main__":
    out_of_memory = RequestFailed(
        say("There is not enough memory to measure this."),
        say("Close other programs, or measure one model at a time."),
    )
    serve(Request, BenchmarkWorker().answer, out_of_memory)
