"""Compare the logits of a GGUF file with a probe.

`isolated_process.run_isolated` runs this file as a program that cannot import Surgeon;
llama.cpp may abort the process if it cannot use a file. It writes one line of JSON, a
`VerificationResult`. The first installed of these packages is used:

    llama_cpp   compares all logits (llama-cpp-python)
    xllamacpp   compares log-probabilities of the most likely tokens; it has no logits
    gguf        reads the file back and compares its tensors with its header
"""

from __future__ import annotations

import json
import math
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gguf import GGUFReader
from safetensors.numpy import load_file

FILE_NAME = "model.gguf"  # `GGUF_FILE`, which cannot be imported here
_MAX_LIKELIEST = 1000  # tokens per position; a whole large vocabulary takes seconds
# Tensors that some models or blocks lack.
_IN_SOME = ("output", "ffn_gate", "ffn_down", "ffn_down_exps", "attn_output")
# Half of the cores: the server and its client run at the same time.
_THREADS = max(1, (os.cpu_count() or 1) // 2)


def check(folder: Path, probe: Path) -> dict[str, Any]:
    """Return the fields of a `VerificationResult` for the file in `folder`.

    The probe is a file with `tokens` (1 x n) and their `logits` (1 x n x vocabulary).

    Raises:
        ValueError: The file does not load, or its tensors do not match its header.
    """
    path = folder / FILE_NAME
    expected = load_file(probe)
    tokens: list[int] = expected["tokens"][0].tolist()
    logits = expected["logits"][0]
    module = _import_optional("llama_cpp")
    if module is not None:
        return _compare_logits(module, path, tokens, logits, expected.get("original"))
    module = _import_optional("xllamacpp")
    if module is not None:
        return _compare_probabilities(module, path, tokens, logits)
    return _read_back(path, logits.shape[-1])


def _import_optional(name: str) -> ModuleType | None:
    """Return a module, or None if it is not installed or does not work."""
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def _compare_logits(
    llama_cpp: ModuleType,
    path: Path,
    tokens: list[int],
    expected: np.ndarray,
    original: np.ndarray | None,
) -> dict[str, Any]:
    llama = llama_cpp.Llama(
        str(path),
        n_ctx=len(tokens),
        n_batch=len(tokens),
        n_threads=_THREADS,
        n_threads_batch=_THREADS,
        logits_all=True,
        # The default, float16 for keys and values, alone makes a difference of 0.03.
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        flash_attn=False,
        chat_format="llama-2",  # any: skips reading a template
        verbose=True,  # logs why a file does not load
    )
    llama.eval(tokens)
    logits = np.asarray(llama.scores)[: len(tokens)]
    if logits.shape != expected.shape:
        raise ValueError(f"{logits.shape[-1]} logits instead of {expected.shape[-1]}")
    agreement = logits.argmax(axis=1) == expected.argmax(axis=1)
    result = _result(
        expected,
        float(np.abs(logits - expected).max()),
        agreement,
        f"llama.cpp in llama-cpp-python {llama_cpp.__version__}",
    )
    q = _log_probabilities(logits)
    result["saving_divergence"] = _divergence(_log_probabilities(expected), q)
    if original is not None:
        is_known = ~np.isnan(original[0]).any(axis=-1)
        p = _log_probabilities(original[0][is_known])
        result["divergence"] = _divergence(p, q[is_known])
    return result


def _compare_probabilities(
    xllamacpp: ModuleType, path: Path, tokens: list[int], expected: np.ndarray
) -> dict[str, Any]:
    server = xllamacpp.Server(server_parameters(xllamacpp, path, len(tokens)))
    # Leave out the last token: with it the context could be one token too short.
    expected = expected[:-1]
    count = min(_MAX_LIKELIEST, expected.shape[-1])
    largest, agreement, divergences = 0.0, [], []
    for i, expected_logs in enumerate(_log_probabilities(expected)):
        likeliest = _likeliest(server, tokens[: i + 1], count)
        ids = [each["id"] for each in likeliest]
        logs = np.array([each["logprob"] for each in likeliest])
        # numpy's maximum propagates nan; Python's depends on the order.
        largest = float(np.max([largest, np.abs(logs - expected_logs[ids]).max()]))
        agreement.append(ids[0] == int(expected_logs.argmax()))
        divergences.append(_divergence_of_likeliest(expected_logs[ids], logs))
    result = _result(
        expected,
        largest,
        np.array(agreement),
        say(
            "llama.cpp in xllamacpp {version} (log-probabilities of the "
            "{count:count} most likely tokens)",
            version=xllamacpp.__version__,
            count=count,
        ),
    )
    nats = float(np.mean(divergences))
    result["saving_divergence"] = nats if math.isfinite(nats) else None
    return result


def say(template: str, **values: str | int) -> dict[str, Any]:
    """Return a sentence as Surgeon reads it, in the language of its user."""
    return {"template": template, "values": values}


def server_parameters(xllamacpp: ModuleType, path: Path | str, tokens: int) -> Any:
    """Return the parameters of a server that computes as exactly as it can."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = tokens
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = _THREADS
    parameters.cpuparams_batch.n_threads = _THREADS
    cache_type = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.cache_type_k = parameters.cache_type_v = cache_type
    kinds = xllamacpp.llama_flash_attn_type
    parameters.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.fit_params = parameters.warmup = False
    parameters.enable_chat_template = False
    parameters.cache_ram_mib = 0
    parameters.verbosity = 1  # errors
    return parameters


def _likeliest(server: Any, prompt: list[int], count: int) -> list[dict[str, Any]]:
    """Return the `count` most likely next tokens, the most likely first."""
    response = server.handle_completions(
        {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": count,
            "temperature": 0,
            # The generated token must be a whole character, or the response is empty.
            # The returned probabilities do not include the bias.
            "logit_bias": [["a", 1000.0]],
            "cache_prompt": True,  # compute only the new token
        }
    )
    if "choices" not in response:
        raise ValueError(f"no response from llama.cpp: {response}")
    content = response["choices"][0]["logprobs"]["content"]
    likeliest: list[dict[str, Any]] = content[0]["top_logprobs"]
    return likeliest


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _divergence(p: np.ndarray, q: np.ndarray) -> float | None:
    """Return the mean KL(p || q) of log-probabilities; None if it is not finite."""
    nats = float((np.exp(p) * (p - q)).sum(axis=-1).mean())
    return max(0.0, nats) if math.isfinite(nats) else None  # rounding may go below 0


def _divergence_of_likeliest(p: np.ndarray, q: np.ndarray) -> float:
    """Return KL(p || q) of log-probabilities of some tokens, all others as one.

    The whole divergence is no smaller.
    """
    rest_p, rest_q = (max(1 - float(np.exp(x).sum()), 1e-9) for x in (p, q))
    nats = (np.exp(p) * (p - q)).sum() + rest_p * math.log(rest_p / rest_q)
    return float(max(nats, 0.0))


def _result(
    expected: np.ndarray,
    largest: float,
    agreement: np.ndarray,
    program: str | dict[str, Any],
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
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    for name, (side, size) in _expected_sizes(reader, vocabulary).items():
        shape = shapes.get(name)
        if shape is None and name.split(".")[-2] in _IN_SOME:
            continue
        if shape is None or shape[side] != size:
            raise ValueError(
                f"{name} has the shape {shape}, but the header requires {size} for "
                f"side {side}"
            )
    return {
        "tokens": 0,
        "largest_difference": None,
        "largest_logit": 0.0,
        "agreement": 0.0,
        "perplexity": None,
        "checked_with": f"gguf {version('gguf')}",
    }


def _expected_sizes(reader: GGUFReader, vocabulary: int) -> dict[str, tuple[int, int]]:
    """Return sides of tensors, 0 for columns, and their sizes by the header."""

    def value_of(name: str) -> Any:
        if (value := value_or_none(name)) is None:
            raise ValueError(f"the header lacks {name}")
        return value

    def value_or_none(name: str) -> Any:
        field = reader.get_field(name)
        return None if field is None else field.contents()

    architecture = value_of("general.architecture")
    blocks = value_of(f"{architecture}.block_count")

    def value_by_block(name: str) -> list[int]:
        value = value_of(f"{architecture}.{name}")
        return value if isinstance(value, list) else [value] * blocks

    if len(value_of("tokenizer.ggml.tokens")) != vocabulary:
        raise ValueError(f"the file does not have {vocabulary} tokens")
    hidden = value_of(f"{architecture}.embedding_length")
    of_latent_values = value_or_none(f"{architecture}.attention.value_length_mla")
    size = of_latent_values or value_of(f"{architecture}.attention.key_length")
    has_one_size = value_or_none(f"{architecture}.attention.key_length_swa") is None
    experts = value_or_none(f"{architecture}.expert_count")
    sizes: dict[str, tuple[int, int]] = {
        "token_embd.weight": (0, hidden),
        "output.weight": (1, vocabulary),
    }
    widths = zip(
        value_by_block("feed_forward_length"),
        value_by_block("attention.head_count"),
        strict=True,
    )
    for i, (neurons, heads) in enumerate(widths):
        sizes[f"blk.{i}.ffn_down.weight"] = (0, neurons)
        sizes[f"blk.{i}.ffn_gate.weight"] = (1, neurons)
        if experts:
            sizes[f"blk.{i}.ffn_down_exps.weight"] = (2, experts)
        if has_one_size:
            sizes[f"blk.{i}.attn_output.weight"] = (0, heads * size)
    return sizes


if __name__ == "__main__":
    result = check(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(result) + "\n")
