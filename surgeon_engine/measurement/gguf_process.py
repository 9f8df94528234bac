"""A benchmark process that runs a GGUF file by llama.cpp, as its users do.

It has the methods of `benchmark_process`.
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
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.export.gguf.check import server_parameters
from surgeon_engine.export.gguf.server import open_server
from surgeon_engine.measurement.messages import Finished, Loaded
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.json_server import serve

_CPU = torch.device("cpu")
_MORE = 8  # tokens of a window that llama.cpp needs besides
_MILLISECONDS = 1000


class GgufWorker:
    """A file whose work is timed; `load` must be called first."""

    _server: Any

    def load(self, model: ModelConfig, threads: int, window: int) -> Loaded:
        """Load a file; see `BenchmarkWorker`.

        Raises:
            ModelError: It cannot be loaded.
        """
        xllamacpp, path = import_module(LLAMA_PACKAGE), Path(model.source)
        parameters = server_parameters(xllamacpp, path, window + _MORE)
        # What programs use, where it is not as exact.
        usual = xllamacpp.CommonParams()
        parameters.cache_type_k = usual.cache_type_k
        parameters.cache_type_v = usual.cache_type_v
        parameters.flash_attn_type = usual.flash_attn_type
        threads = threads or os.cpu_count() or 1
        self._server = open_server(parameters, threads)
        memory = devices.peak_memory(_CPU)
        reader = GGUFReader(path)
        architecture = reader.fields["general.architecture"].contents()
        longest = int(reader.fields[f"{architecture}.context_length"].contents())
        return Loaded(
            name=path.name,
            file_bytes=path.stat().st_size,
            parameters=sum(int(x.n_elements) for x in reader.tensors),
            vocabulary=len(reader.fields["tokenizer.ggml.tokens"].data),
            longest_window=longest - _MORE,
            bytes_in_use=memory,
            threads=threads,
            device=say(
                "{device}, llama.cpp in xllamacpp {version}",
                device=devices.display_name(_CPU),
                version=str(xllamacpp.__version__),
            ),
        )

    def read(self, tokens: int, vocabulary: int, seed: int) -> float:
        """Return the seconds to read a random prompt in one pass."""
        return self._seconds("prompt_ms", tokens, 1, vocabulary, seed)

    def generate(self, prompt: int, tokens: int, vocabulary: int, seed: int) -> float:
        """Return the seconds to generate tokens one by one after a random prompt."""
        # The first token results from reading the prompt.
        return self._seconds("predicted_ms", prompt, tokens + 1, vocabulary, seed)

    def finish(self) -> Finished:
        """Return the memory; zeros are not counted."""
        return Finished(devices.peak_memory(_CPU), zeros=0)

    def _seconds(
        self, kind: str, prompt: int, count: int, vocabulary: int, seed: int
    ) -> float:
        """Return the seconds of a part of generating `count` tokens after a prompt."""
        draw = random.Random(seed)
        response = self._server.handle_completions(
            {
                "prompt": draw.choices(range(vocabulary), k=prompt),
                "n_predict": count,
                "temperature": 0,
                # Whole characters, or the response is empty.
                "logit_bias": [["a", 1000.0]],
                "cache_prompt": False,
            }
        )
        return float(response["timings"][kind]) / _MILLISECONDS


if __name__ == "__main__":
    no_memory = ModelError(
        "There is not enough memory to measure this file.", "Close other programs."
    )
    serve(GgufWorker(), no_memory)
