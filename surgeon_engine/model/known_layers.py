"""The layers that any family may have, by their names alone.

A rule of `ATTENTION` or `MLP` holds wherever layers have its names. Where the same
names mean another order of rows in another family, the rule is in `families.py`.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.model.rules import (
    CouplingRule,
    Order,
    Part,
    ProducerRows,
    delta,
    fused,
    fused_gate,
    gated,
    latent,
    mamba,
    output_gate,
    plain,
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
    output_gate("gate_proj"),
    output_gate("g_proj"),
    # OPT, XGLM, GPT-J, GPT-Neo
    separate("out_proj"),
    # Gemma 4, where keys are values, too
    CouplingRule(
        "o_proj",
        (ProducerRows("q_proj", (Part.QUERY,)), ProducerRows("k_proj", (Part.KEY,))),
    ),
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
    gated("down_proj", "gate_proj", "up_proj"),
    # GLM and models built like it: all gates, then all values
    fused_gate("down_proj", "gate_up_proj"),
    # Nemotron, Arcee
    plain("down_proj", "up_proj"),
    # OPT, XGLM, Phi 1 and 2
    plain("fc2", "fc1"),
    # GPT-2, GPT-Neo, StarCoder2
    plain("c_proj", "c_fc"),
    # GPT-J
    plain("fc_out", "fc_in"),
    # GPT-NeoX, Pythia, Falcon, BLOOM
    plain("dense_4h_to_h", "dense_h_to_4h"),
    # BERT and models built like it
    plain("output.dense", "intermediate.dense", adds_residual=True),
    # LFM2
    gated("w2", "w1", "w3"),
    # CTRL
    plain("2", "0"),
    # CPM-Ant
    gated("w_out", "w_in.w_0", "w_in.w_1"),
    # The decoder of ModernBERT
    fused_gate("Wo", "Wi"),
    # xLSTM
    gated("proj_down", "proj_up_gate", "proj_up"),
    # ProphetNet
    plain("output", "intermediate"),
    # Granite hybrids
    fused_gate("output_linear", "input_linear"),
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
