"""The layers that any family may have, by their names alone.

A rule of `ATTENTION` or `MLP` holds wherever layers have its names. Where the same
names mean another order of rows in another family, the rule is in `families.py`.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.model.rules import (
    GATED,
    HEADS,
    PLAIN,
    CouplingRule,
    Order,
    Part,
    ProducerRows,
    delta,
    fused,
    latent,
    mamba,
    separate,
)

# Each query head has its queries, then a gate of its output.
GATED_QUERIES = CouplingRule(
    "o_proj",
    (
        ProducerRows("q_proj", (Part.QUERY, Part.GATE), Order.BY_GROUP),
        *separate("o_proj").producers[1:],
    ),
)
FUSED_BY_GROUP = fused("dense", "query_key_value", Order.BY_GROUP)
ATTENTION: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    separate("o_proj"),
    # HRM, AFMoE; LFM 3, Laguna
    separate("o_proj", "q_proj k_proj v_proj gate_proj", (*HEADS, Part.GATE)),
    separate("o_proj", "q_proj k_proj v_proj g_proj", (*HEADS, Part.GATE)),
    # OPT, XGLM, GPT-J, GPT-Neo
    separate("out_proj"),
    # Gemma 4, where keys are values, too
    separate("o_proj", "q_proj k_proj", (Part.QUERY, Part.KEY)),
    # Phi 1 and 2
    separate("dense"),
    # BERT and models built like it; Megatron-BERT and others normalize what it reads
    replace(
        separate("output.dense", "self.query self.key self.value", adds_residual=True),
        whole=tuple(
            f"{norm}.{name}"
            for norm in ("ln", "LayerNorm", "self_attn_layer_norm")
            for name in ("weight", "bias")
        ),
    ),
    # The decoder of ModernBERT
    separate("Wo"),
    # Moshi
    separate("o_proj.linear", "q_proj.linear k_proj.linear v_proj.linear"),
    # CTRL
    separate("dense", "Wq Wk Wv"),
    # XLM, whose MLPs are in a list of their own
    separate("out_lin", "q_lin k_lin v_lin"),
    # MiniCPM 3, Youtu, DeepSeek 2 and 3
    latent("q_b_proj"),
    latent("q_proj"),
    # Qwen 3.5
    delta(
        "out_proj",
        ProducerRows("in_proj_qkv", (Part.QUERY, Part.KEY, Part.VALUE)),
        ProducerRows("in_proj_z", (Part.GATE,)),
        ProducerRows("in_proj_b", (Part.HEAD,)),
        ProducerRows("in_proj_a", (Part.HEAD,)),
    ),
    # Qwen 3 Next
    delta(
        "out_proj",
        ProducerRows(
            "in_proj_qkvz",
            (Part.QUERY, Part.KEY, Part.VALUE, Part.GATE),
            Order.BY_GROUP,
        ),
        ProducerRows("in_proj_ba", (Part.HEAD, Part.HEAD), Order.BY_GROUP),
    ),
    # OLMo hybrids
    delta(
        "o_proj",
        *separate("o_proj").producers,
        ProducerRows("a_proj", (Part.HEAD,)),
        ProducerRows("b_proj", (Part.HEAD,)),
        ProducerRows("g_proj", (Part.GATE,)),
    ),
    # Nemotron H, Zamba 2
    mamba(),
)
MLP: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    separate("down_proj", "gate_proj up_proj", GATED),
    # GLM and models built like it: all gates, then all values
    fused("down_proj", "gate_up_proj", parts=GATED),
    # Nemotron, Arcee
    separate("down_proj", "up_proj", PLAIN),
    # OPT, XGLM, Phi 1 and 2
    separate("fc2", "fc1", PLAIN),
    # GPT-2, GPT-Neo, StarCoder2
    separate("c_proj", "c_fc", PLAIN),
    # GPT-J
    separate("fc_out", "fc_in", PLAIN),
    # GPT-NeoX, Pythia, Falcon, BLOOM
    separate("dense_4h_to_h", "dense_h_to_4h", PLAIN),
    # BERT and models built like it
    separate("output.dense", "intermediate.dense", PLAIN, adds_residual=True),
    # LFM2
    separate("w2", "w1 w3", GATED),
    # CTRL
    separate("2", "0", PLAIN),
    # CPM-Ant
    separate("w_out", "w_in.w_0 w_in.w_1", GATED),
    # The decoder of ModernBERT
    fused("Wo", "Wi", parts=GATED),
    # xLSTM
    separate("proj_down", "proj_up_gate proj_up", GATED),
    # ProphetNet
    separate("output", "intermediate", PLAIN),
    # Granite hybrids
    fused("output_linear", "input_linear", parts=GATED),
)
# Parameters beside linear layers with entries for each head, feature or neuron.
PARAMETERS: tuple[ProducerRows, ...] = (
    # Granite with sliding windows, GPT-OSS, MiMo
    ProducerRows("sinks", (Part.HEAD,)),
    # Beam
    ProducerRows("gate_bias", (Part.HEAD,)),
    # Dory
    ProducerRows("sqk", (Part.QUERY,)),
    ProducerRows("s_gate", (Part.QUERY,)),
    ProducerRows("suv_gate", (Part.GATE,)),
    ProducerRows("suv_up", (Part.UP,)),
)
