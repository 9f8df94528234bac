"""Loads a GGUF file as a stranger would and says how far its logits are off.

Run as a file by `fresh_process`, without Surgeon and in a process of its own, because
llama.cpp may end one that gives it a file it cannot use. Writes one line of JSON, a
`writer.VerificationResult`. The first of these that is installed is used:

    llama_cpp   all logits are compared (llama-cpp-python)
    xllamacpp   log-probabilities of the likeliest tokens are compared: it has no logits
    gguf        nothing is run; the file is read back and must fit its own header
"""

from __future__ import annotations

import json
import math
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gguf import GGUFReader
from safetensors.numpy import load_file

FILE_NAME = "model.gguf"
_LIKELIEST = 1000  # tokens at each position; all of a large vocabulary take seconds
# llama.cpp and the program that asks it should not fight for the same processors.
_THREADS = max(1, (os.cpu_count() or 1) // 2)


def check(folder: Path, probe: Path) -> dict[str, Any]:
    """The fields of the verdict on the file in `folder`.

    `probe` holds `tokens` (1 x N) and the `logits` (1 x N x vocabulary) that they
    should give.

    Raises:
        ValueError: it does not load, or does not fit its header.
    """
    path = folder / FILE_NAME
    expected = load_file(probe)
    tokens: list[int] = expected["tokens"][0].tolist()
    logits = expected["logits"][0]
    module = _imported("llama_cpp")
    if module is not None:
        return _compare_logits(module, path, tokens, logits)
    module = _imported("xllamacpp")
    if module is not None:
        return _compare_probabilities(module, path, tokens, logits)
    return _read_back(path, logits.shape[-1])


def _imported(name: str) -> ModuleType | None:
    """A library that is there and works."""
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def _compare_logits(
    llama_cpp: ModuleType, path: Path, tokens: list[int], expected: np.ndarray
) -> dict[str, Any]:
    llama = llama_cpp.Llama(
        str(path),
        n_ctx=len(tokens),
        n_batch=len(tokens),
        n_threads=_THREADS,
        n_threads_batch=_THREADS,
        logits_all=True,
        # By default keys and values are float16, which alone gives 0.03.
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        flash_attn=False,
        chat_format="llama-2",  # no template is read: it does not matter here
        verbose=True,  # the reason why a file does not load is only said there
    )
    llama.eval(tokens)
    found = np.asarray(llama.scores)[: len(tokens)]
    if found.shape != expected.shape:
        raise ValueError(f"{found.shape[-1]} logits instead of {expected.shape[-1]}")
    agreement = found.argmax(axis=1) == expected.argmax(axis=1)
    return _verdict(
        expected,
        float(np.abs(found - expected).max()),
        agreement,
        f"llama.cpp in llama-cpp-python {llama_cpp.__version__}",
    )


def _compare_probabilities(
    xllamacpp: ModuleType, path: Path, tokens: list[int], expected: np.ndarray
) -> dict[str, Any]:
    server = xllamacpp.Server(_parameters(xllamacpp, path, len(tokens)))
    # The last token is left out: with it the context could be one too short.
    expected = expected[:-1]
    count = min(_LIKELIEST, expected.shape[-1])
    largest, agreement = 0.0, []
    for i, wanted in enumerate(_log_probabilities(expected)):
        likeliest = _likeliest(server, tokens[: i + 1], count)
        ids = [each["id"] for each in likeliest]
        found = np.array([each["logprob"] for each in likeliest])
        # In this order: a maximum of nan and a number would depend on it.
        largest = float(np.max([largest, np.abs(found - wanted[ids]).max()]))
        agreement.append(ids[0] == int(wanted.argmax()))
    return _verdict(
        expected,
        largest,
        np.array(agreement),
        f"llama.cpp in xllamacpp {xllamacpp.__version__} "
        f"(log-probabilities of the {count:,} likeliest tokens)",
    )


def _parameters(xllamacpp: ModuleType, path: Path, tokens: int) -> Any:
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(path)
    wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = tokens
    wanted.n_parallel = 1
    wanted.n_gpu_layers = 0
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = _THREADS
    wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    kinds = xllamacpp.llama_flash_attn_type
    wanted.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted.fit_params = wanted.warmup = wanted.enable_chat_template = False
    wanted.cache_ram_mib = 0
    wanted.verbosity = 1  # errors
    return wanted


def _likeliest(server: Any, prompt: list[int], count: int) -> list[dict[str, Any]]:
    """The `count` likeliest next tokens, the likeliest first."""
    answer = server.handle_completions(
        {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": count,
            "temperature": 0,
            # What is drawn does not matter, but must be text: of a token that is half
            # a character nothing is told. Probabilities are told as without the bias.
            "logit_bias": [["a", 1000.0]],
            "cache_prompt": True,  # only the token that is new is computed
        }
    )
    if "choices" not in answer:
        raise ValueError(f"no answer from llama.cpp: {answer}")
    content = answer["choices"][0]["logprobs"]["content"]
    likeliest: list[dict[str, Any]] = content[0]["top_logprobs"]
    return likeliest


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _verdict(
    expected: np.ndarray, largest: float, agreement: np.ndarray, program: str
) -> dict[str, Any]:
    return {
        "tokens": len(expected),
        "largest_difference": largest if math.isfinite(largest) else None,
        "largest_logit": float(np.abs(expected).max()),
        "agreement": float(agreement.mean()),
        "perplexity": None,
        "checked_with": program,
    }


def _read_back(path: Path, vocabulary: int) -> dict[str, Any]:
    reader = GGUFReader(path)
    found = {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    for name, shape in _expected_shapes(reader, vocabulary).items():
        if found.get(name) != shape:
            raise ValueError(
                f"{name} has the shape {found.get(name)}, where the header wants "
                f"{shape}"
            )
    return {
        "tokens": 0,
        "largest_difference": None,
        "largest_logit": 0.0,
        "agreement": 0.0,
        "perplexity": None,
        "checked_with": f"gguf: the {len(found)} tensors were read back and fit the "
        "header; nothing is installed here that could run them",
    }


def _expected_shapes(reader: GGUFReader, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The matrices that the header speaks of; a shape begins with the row's length."""

    def said(name: str) -> Any:
        field = reader.get_field(name)
        if field is None:
            raise ValueError(f"the header lacks {name}")
        return field.contents()

    architecture = said("general.architecture")
    blocks = said(f"{architecture}.block_count")

    def of_block(name: str) -> list[int]:
        value = said(f"{architecture}.{name}")
        return value if isinstance(value, list) else [value] * blocks

    if len(said("tokenizer.ggml.tokens")) != vocabulary:
        raise ValueError(f"the file does not have {vocabulary} tokens")
    hidden = said(f"{architecture}.embedding_length")
    size = said(f"{architecture}.attention.key_length")
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (hidden, vocabulary)}
    widths = zip(
        of_block("feed_forward_length"),
        of_block("attention.head_count"),
        of_block("attention.head_count_kv"),
        strict=True,
    )
    for i, (neurons, heads, kv_heads) in enumerate(widths):
        q, kv = heads * size, kv_heads * size
        for name, shape in (
            ("attn_q", (hidden, q)),
            ("attn_k", (hidden, kv)),
            ("attn_v", (hidden, kv)),
            ("attn_output", (q, hidden)),
            ("ffn_gate", (hidden, neurons)),
            ("ffn_up", (hidden, neurons)),
            ("ffn_down", (neurons, hidden)),
        ):
            shapes[f"blk.{i}.{name}.weight"] = shape
    return shapes


if __name__ == "__main__":
    result = check(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(result) + "\n")
