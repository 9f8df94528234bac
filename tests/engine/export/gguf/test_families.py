"""GGUF files of each family: names, widths and values; llama.cpp's logits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel, plan_of
from surgeon_engine.compaction.shrink import compact
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.gguf.layout import layout_of
from surgeon_engine.export.gguf.support import architecture_of
from surgeon_engine.model.families import FAMILIES
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.source import ModelSource
from surgeon_engine.pruning.structures.units import units_of
from tests.engine.export.gguf.test_gguf import (
    byte_pairs,
    loaded,
    numbers,
    probe_of,
    pruned,
    uniform,
    value_of,
    written,
)
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_models import GGUF_FAMILIES

GATED = "ffn_gate ffn_up ffn_down"
SEPARATE = "attn_q attn_k attn_v attn_output"
NORMS = "attn_norm ffn_norm"
HEAD_NORMS = "attn_q_norm attn_k_norm"
AROUND = "attn_norm post_attention_norm ffn_norm post_ffw_norm"
AFTER = "post_attention_norm post_ffw_norm"
FUSED = "attn_qkv attn_output ffn_up ffn_down"
# The architecture and the parts of the second block, by the name in GGUF_FAMILIES.
EXPECTED = {
    "qwen3": ("qwen3", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
    "gemma": ("gemma", f"{SEPARATE} {GATED} {NORMS}"),
    "gemma2": ("gemma2", f"{SEPARATE} {GATED} {AROUND}"),
    "gemma3_text": ("gemma3", f"{SEPARATE} {GATED} {AROUND} {HEAD_NORMS}"),
    "phi3": ("phi3", f"{FUSED} {NORMS}"),
    "granite": ("granite", f"{SEPARATE} {GATED} {NORMS}"),
    "smollm3": ("smollm3", f"{SEPARATE} {GATED} {NORMS}"),
    "glm4": ("glm4", f"{SEPARATE} ffn_up ffn_down {AROUND}"),
    "olmo2": ("olmo2", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "olmo3": ("olmo2", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "exaone4": ("exaone4", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "starcoder2": ("starcoder2", f"{SEPARATE} ffn_up ffn_down {NORMS}"),
    "stablelm": ("stablelm", f"{SEPARATE} {GATED} {NORMS}"),
    "stablelm_head_norms": ("stablelm", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
    "gpt2": ("gpt2", f"{FUSED} {NORMS}"),
    "gpt_neox": ("gptneox", f"{FUSED} {NORMS}"),
    "falcon": ("falcon", f"{FUSED} attn_norm attn_norm_2"),
    "falcon_multi_query": ("falcon", f"{FUSED} attn_norm"),
    "bloom": ("bloom", f"{FUSED} {NORMS}"),
    "ernie4_5": ("ernie4_5", f"{SEPARATE} {GATED} {NORMS}"),
    "gemma4_text": (
        "gemma4",
        f"{SEPARATE} {GATED} {AROUND} {HEAD_NORMS} layer_output_scale",
    ),
    "qwen3_5_text": (
        "qwen35",
        f"{SEPARATE} {GATED} attn_norm post_attention_norm {HEAD_NORMS}",
    ),
    "lfm2": ("lfm2", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
}
# Families whose files may have fewer heads; the others lose neurons alone.
WITH_FEWER_HEADS = (
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "granite",
    "smollm3",
    "glm4",
    "ernie4_5",
    "gemma4_text",
)
# Families that transformers reads from GGUF files.
READ_BACK = (
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "starcoder2",
    "stablelm",
    "gpt2",
    "bloom",
    "falcon_multi_query",
    "lfm2",
)
# GELU is rounded to float16 there.
ALLOWED = 1e-3  # of the largest logit


def without_neurons(model) -> PrunedModel:
    """Return a model without the last third of the neurons of each block."""
    units = units_of(pruning_config(structure=Structure.NEURONS), model)
    removed = {}
    for unit in units:
        is_removed = torch.arange(unit.candidates) >= unit.candidates * 2 // 3
        removed[unit.measured.name] = is_removed
        for layer, zeros in unit.zeros(is_removed):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return pruned(model, plan_of(units, removed))


def smaller(name: str) -> PrunedModel:
    model = GGUF_FAMILIES[name]()
    return uniform(model) if name in WITH_FEWER_HEADS else without_neurons(model)


@pytest.mark.parametrize("name", EXPECTED)
def test_file_of_a_smaller_model_has_the_names_and_widths(name, tmp_path):
    example = smaller(name)
    reader = written(example, tmp_path)
    architecture, parts = EXPECTED[name]
    assert value_of(reader, "general.architecture") == architecture
    shapes = {each.name: each.shape.tolist() for each in reader.tensors}
    found = {x.split(".")[2] for x in shapes if x.startswith("blk.1.")}
    assert found == set(parts.split())
    neurons = value_of(reader, f"{architecture}.feed_forward_length")
    neurons = neurons[1] if isinstance(neurons, list) else neurons
    full = example.loaded.layers[-1].columns
    assert neurons == full * 2 // 3
    assert shapes["blk.1.ffn_down.weight"] == [neurons, 128]
    heads = value_of(reader, f"{architecture}.attention.head_count")
    heads = heads[1] if isinstance(heads, list) else heads
    assert heads == (2 if name in WITH_FEWER_HEADS else 4)


@pytest.mark.parametrize("name", READ_BACK)
def test_transformers_reads_the_same_model_from_the_file(name, tmp_path):
    model = GGUF_FAMILIES[name]()
    written(pruned(model), tmp_path)
    model.config.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", config=config, dtype=torch.float32
    )
    tokens = torch.arange(1, 25).unsqueeze(0)
    with torch.no_grad():
        expected, found = (each(tokens).logits for each in (model, read))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_all_families_of_the_table_have_an_example():
    of_examples = {GGUF_FAMILIES[name]().config.model_type for name in EXPECTED}
    with_files = {name for name, family in FAMILIES.items() if family.gguf}
    assert with_files - of_examples == {"llama", "mistral", "qwen2"}
