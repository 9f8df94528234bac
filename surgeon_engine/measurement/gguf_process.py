"""A benchmark process that runs a GGUF file by llama.cpp, as its users do.

It takes the requests of `benchmark_process`.
"""

from __future__ import annotations

import os
import random
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader

from surgeon_engine.api.config.export import LLAMA_PACKAGE
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import say
from surgeon_engine.export.gguf.check import server_parameters
from surgeon_engine.export.gguf.server import open_server
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
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve

_CPU = torch.device("cpu")
_MORE = 8  # tokens of a window that llama.cpp needs besides
_MILLISECONDS = 1000


class GgufWorker:
    """Responds to requests about one file. The first request must be `Load`."""

    def __init__(self) -> None:
        self._server: Any = None

    def answer(self, request: Request) -> Response:
        """Return the response to a request.

        Raises:
            ModelError: The file cannot be loaded.
        """
        match request:
            case Load():
                return self._load(request)
            case ReadPrompt():
                return Timed(self._seconds(request, 1, "prompt_ms"))
            case GenerateTokens(tokens=count):
                # The first token results from reading the prompt.
                return Timed(self._seconds(request, count + 1, "predicted_ms"))
            case FinishBenchmark():
                return BenchmarkFinished(devices.peak_memory(_CPU), zeros=0)

    def _load(self, request: Load) -> Loaded:
        xllamacpp, path = import_module(LLAMA_PACKAGE), Path(request.model.source)
        parameters = server_parameters(xllamacpp, path, request.window + _MORE)
        # What programs use, where it is not as exact.
        usual = xllamacpp.CommonParams()
        parameters.cache_type_k = usual.cache_type_k
        parameters.cache_type_v = usual.cache_type_v
        parameters.flash_attn_type = usual.flash_attn_type
        threads = request.threads or os.cpu_count() or 1
        self._server = open_server(parameters, threads)
        memory = devices.peak_memory(_CPU)
        reader = GGUFReader(path)
        architecture = reader.fields["general.architecture"].contents()
        window = int(reader.fields[f"{architecture}.context_length"].contents())
        return Loaded(
            name=path.name,
            file_bytes=path.stat().st_size,
            parameters=sum(int(x.n_elements) for x in reader.tensors),
            vocabulary=len(reader.fields["tokenizer.ggml.tokens"].data),
            longest_window=window - _MORE,
            bytes_in_use=memory,
            threads=threads,
            device=say(
                "{device}, llama.cpp in xllamacpp {version}",
                device=devices.display_name(_CPU),
                version=str(xllamacpp.__version__),
            ),
        )

    def _seconds(
        self, request: ReadPrompt | GenerateTokens, count: int, kind: str
    ) -> float:
        """Return the seconds of a part of generating `count` tokens after a prompt."""
        if isinstance(request, ReadPrompt):
            length = request.tokens
        else:
            length = request.prompt_tokens
        draw = random.Random(request.seed)
        response = self._server.handle_completions(
            {
                "prompt": draw.choices(range(request.vocabulary), k=length),
                "n_predict": count,
                "temperature": 0,
                # Whole characters, or the response is empty.
                "logit_bias": [["a", 1000.0]],
                "cache_prompt": False,
            }
        )
        return float(response["timings"][kind]) / _MILLISECONDS


if __name__ == "__main__":
    no_memory = RequestFailed(
        say("There is not enough memory to measure this file."),
        say("Close other programs."),
    )
    serve(Request, GgufWorker().answer, no_memory)
