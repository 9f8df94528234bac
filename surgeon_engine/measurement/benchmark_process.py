"""The inside end of a measuring process: loads a model and does timed work with it.

Run as `python -m surgeon_engine.measurement.benchmark_process`, it reads requests from
standard input and writes a reply to each to standard output, as lines of JSON.
"""

from __future__ import annotations

import gc
import inspect
import time
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.json_process import RequestFailed
from surgeon_engine.compaction.restore import is_compact, load_compact
from surgeon_engine.measurement.messages import (
    BenchmarkFinished,
    FinishBenchmark,
    GenerateTokens,
    Load,
    Loaded,
    ReadPrompt,
    Reply,
    Request,
    Timed,
)
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import UNREADABLE, first_line, locate
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve


class Bench:
    """One model, which is loaded first and then works as it is told."""

    def __init__(self) -> None:
        self._model: PreTrainedModel | None = None

    def answer(self, request: Request) -> Reply:
        """Do what is asked.

        Raises:
            EngineError: the model cannot be found or read.
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
                return Timed(generated(self._model, prompt, count)[1])
            case FinishBenchmark():
                # Before counting, which may take some itself.
                used = devices.peak_memory(self._model.device)
                return BenchmarkFinished(used, zeros_in(self._model))


def load(config: ModelConfig) -> PreTrainedModel:
    """The model that `config` names, ordinary or compact, ready to work.

    Raises:
        EngineError: it cannot be found or read.
    """
    source = locate(config.source)
    if source.gguf_file or not is_compact(source.folder):
        return load_model(config).model
    try:
        model = load_compact(source.folder, devices.dtype_of(config.dtype))
    except UNREADABLE as error:
        if devices.is_out_of_memory(error):
            raise
        raise ModelError(
            f"The weights of {source.name} cannot be loaded: {first_line(error)}.",
            "The files may be incomplete: export the model again.",
        ) from error
    return model.eval().to(devices.choose(config.device))


@torch.no_grad()
def prompt_seconds(model: PreTrainedModel, prompt: Tensor) -> float:
    """How long it takes to read `prompt`, as before generating: 1 x tokens."""
    prompt = prompt.to(model.device)
    given = with_cache(model) | last_logits_alone(model)
    begun = now(model)
    model(prompt, use_cache=True, **given)
    return now(model) - begun


@torch.no_grad()
def generated(
    model: PreTrainedModel, prompt: Tensor, count: int
) -> tuple[Tensor, float]:
    """The likeliest tokens after `prompt` (1 x tokens), count + 1, and the seconds.

    The first of them comes of reading the prompt, which is not timed; each of the
    others is a pass of the model over one token with all before it in the cache.
    """
    cache = with_cache(model)
    prompt = prompt.to(model.device)
    logits = model(prompt, use_cache=True, **cache, **last_logits_alone(model)).logits
    tokens = [logits[:, -1:].argmax(-1)]
    begun = now(model)
    for _ in range(count):
        logits = model(tokens[-1], use_cache=True, **cache).logits
        tokens.append(logits[:, -1:].argmax(-1))
    seconds = now(model) - begun
    return torch.cat(tokens, dim=1).cpu(), seconds


def with_cache(model: PreTrainedModel) -> dict[str, Any]:
    """An empty cache under the name by which `model` takes it; it fills as it is used.

    transformers renamed the argument in its version 5.
    """
    known = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in known else "past_key_values"
    return {name: DynamicCache(config=model.config.get_text_config())}


def zeros_in(model: PreTrainedModel) -> int:
    """How many parameters are exactly 0."""
    return sum(x.numel() - int(torch.count_nonzero(x)) for x in model.parameters())


def serve_bench() -> None:
    """Answer requests until the end of the input."""
    no_memory = RequestFailed(
        "There is not enough memory to measure this.",
        "Close other programs, or measure one model at a time.",
    )
    serve(Request, Bench().answer, no_memory)


def _loaded(config: ModelConfig, model: PreTrainedModel) -> Loaded:
    source = locate(config.source)
    gc.collect()
    stated = model.config.get_text_config()
    return Loaded(
        name=source.name,
        file_bytes=sum(path.stat().st_size for path in source.weight_files),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=stated.vocab_size,
        longest_window=getattr(stated, "max_position_embeddings", None) or 0,
        bytes_in_use=devices.peak_memory(model.device),
        threads=torch.get_num_threads(),
        device=devices.display_name(model.device),
    )


def _random_tokens(request: ReadPrompt | GenerateTokens) -> Tensor:
    """1 x tokens, the same for the same request."""
    count = request.tokens if isinstance(request, ReadPrompt) else request.prompt_tokens
    drawn = torch.Generator().manual_seed(request.seed)
    return torch.randint(request.vocabulary, (1, count), generator=drawn)


def last_logits_alone(model: PreTrainedModel) -> dict[str, Any]:
    """What spares the head all tokens of a prompt but the last, where that is known."""
    known = inspect.signature(model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}


def now(model: PreTrainedModel) -> float:
    """Seconds on the clock, once all that was asked of the device is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


if __name__ == "__main__":
    serve_bench()
