"""The memory counted for a file equals the memory that llama.cpp reserves for it."""

import re
import subprocess
import sys

import gguf
import msgspec
import numpy as np
import pytest

from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.planning.running_memory import memory_beside_weights
from tests.helpers.fake_engine import model_summary

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.runtimes

_LOAD = """
import os, sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx = sys.argv[1], int(sys.argv[2])
parameters.n_parallel, parameters.n_gpu_layers = 1, 0
parameters.fit_params = parameters.warmup = parameters.enable_chat_template = False
parameters.cache_ram_mib, parameters.verbosity = 0, 4
server = xllamacpp.Server(parameters)
sys.stderr.flush()
os._exit(0)
"""
HIDDEN, HEADS, KV_HEADS, BLOCKS, VOCABULARY, WINDOW = 256, 4, 2, 6, 20_000, 1024
HEAD = HIDDEN // HEADS
KEYS = KV_HEADS * HEAD


def write_model(path, family, mlp):
    """Write a GGUF file of zeros without a vocabulary."""
    writer = gguf.GGUFWriter(str(path), family)
    writer.add_context_length(100_000)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")
    sizes = {"attn_q": (HIDDEN, HIDDEN), "attn_output": (HIDDEN, HIDDEN)}
    sizes |= {"attn_k": (KEYS, HIDDEN), "attn_v": (KEYS, HIDDEN)}
    sizes |= {"ffn_gate": (mlp, HIDDEN), "ffn_up": (mlp, HIDDEN)}
    sizes |= {"ffn_down": (HIDDEN, mlp), "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
    if family == "gemma3":
        writer.add_sliding_window(WINDOW)
        sizes |= {"post_attention_norm": (HIDDEN,), "post_ffw_norm": (HIDDEN,)}
        sizes |= {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
    names = {f"blk.{n}.{k}": size for n in range(BLOCKS) for k, size in sizes.items()}
    names |= {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,)}
    for name, size in names.items():
        kind = np.float32 if len(size) == 1 else np.float16
        writer.add_tensor(f"{name}.weight", np.zeros(size, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reserved(path, context):
    """Return the bytes of the cache and of the buffers that llama.cpp reports."""
    command = [sys.executable, "-c", _LOAD, str(path), str(context)]
    log = subprocess.run(command, capture_output=True, text=True, timeout=60)
    sizes = {
        kind: sum(
            float(size) for size in re.findall(f"{kind} buffer size = +([0-9.]+)", text)
        )
        for text in (log.stdout + log.stderr,)
        for kind in ("KV", "compute")
    }
    return tuple(round(size * 2**20) for size in sizes.values())


@pytest.mark.parametrize("context", [512, 9000])
@pytest.mark.parametrize(
    ("family", "mlp"), [("llama", 256), ("llama", 1024), ("gemma3", 512)]
)
def test_cache_is_exact_and_buffers_are_at_most_a_fifth_more(
    tmp_path, family, mlp, context
):
    write_model(tmp_path / "model.gguf", family, mlp)
    cache, buffers = reserved(tmp_path / "model.gguf", context)
    down = LayerSummary("down", 0, "down", HIDDEN, mlp, HIDDEN * mlp, "neurons")
    sliding = range(BLOCKS - 1) if family == "gemma3" else ()  # five of six
    model = msgspec.structs.replace(
        model_summary(),
        blocks=BLOCKS,
        hidden_size=HIDDEN,
        layers=(down,),
        coupled=(),
        cache_width=2 * KEYS * BLOCKS,
        window_blocks=tuple(sliding),
        attention_window=WINDOW,
    )
    without_cache = msgspec.structs.replace(model, cache_width=0)
    counted = memory_beside_weights(context, without_cache)
    assert memory_beside_weights(context, model) - counted == cache > 0
    assert buffers <= counted * 1.01 <= 1.25 * buffers
