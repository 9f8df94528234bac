"""Name and description of each choice in the window."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from surgeon_engine.api.config.export import DESCRIPTIONS, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    CostBasis,
    Damping,
    Fisher,
    Method,
    Schedule,
    Structure,
    Target,
    UpdateKind,
    Vocabulary,
    Widths,
)
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, Offload
from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption, caption

CHOICES: dict[Enum, Caption] = {
    Structure.HEADS_AND_NEURONS: caption(
        "Heads and neurons",
        "Removes whole attention heads and MLP neurons. The layers stay plain "
        "dense layers, so the model is smaller and faster in every program that "
        "loads the file. Recommended.",
    ),
    Structure.NEURONS: caption(
        "Neurons",
        "Removes whole MLP neurons; attention is unchanged. The layers stay plain "
        "dense layers, so the model is smaller and faster in every program that "
        "loads the file.",
    ),
    Structure.HEADS: caption(
        "Heads",
        "Removes whole attention heads, together with all heads that share their "
        "key and value. The layers stay plain dense layers, the file is smaller, "
        "and each token needs less memory in the KV cache.",
    ),
    Structure.EXPERTS: caption(
        "Experts",
        "Removes whole experts of each block, with their part of the router. Each "
        "token still uses as many experts as before: the file is much smaller, and "
        "about as fast.",
    ),
    Structure.EXPERTS_AND_NEURONS: caption(
        "Experts and neurons",
        "Removes whole experts, and neurons of those that stay and of the MLPs that "
        "all tokens use, whichever cost least for each weight. The experts of a "
        "block stay equally wide. Recommended for mixtures of experts.",
    ),
    Structure.EXPERTS_HEADS_AND_NEURONS: caption(
        "Experts, heads and neurons",
        "Removes experts, attention heads, and neurons of experts and of the MLPs "
        "that all tokens use, whichever cost least for each weight. The file is "
        "smaller, and each token takes less time.",
    ),
    Structure.ROWS_AND_COLUMNS: caption(
        "Rows and columns",
        "Removes rows and columns of each layer independently of other layers, as "
        "in the paper. Works for every model. The file is smaller, but loads in "
        "transformers only, and index lookups cost part of the time saved.",
    ),
    Structure.ROWS: caption(
        "Rows",
        "Removes outputs of each layer independently of other layers. The file is "
        "smaller, but loads in transformers only, and index lookups cost part of "
        "the time saved.",
    ),
    Structure.COLUMNS: caption(
        "Columns",
        "Removes inputs of each layer independently of other layers. The file is "
        "smaller, but loads in transformers only, and index lookups cost part of "
        "the time saved.",
    ),
    Structure.N_M: caption(
        "N:M pattern",
        "Keeps N of every M consecutive weights, such as 2 of 4, and sets the "
        "others to zero. The file keeps its size. Faster only in programs that "
        "support the pattern.",
    ),
    Structure.ELEMENTS: caption(
        "Unstructured (single weights)",
        "Sets the least important weights to zero, anywhere. Preserves the most "
        "quality. The file keeps its size. Faster only in programs that support "
        "sparse weights.",
    ),
    Method.LLM_SURGEON: Caption(
        "LLM Surgeon",
        tr(
            "The paper's method: measures activations and gradients jointly and "
            "updates the remaining weights to compensate. Takes the most time."
        ),
    ),
    Method.FIRST_ORDER: caption(
        "First-order gates",
        "The default: selects by how much the loss of a window changes when a "
        "part is scaled down. Fast, with little memory; recovery then adapts the "
        "remaining weights.",
    ),
    Method.K_OBD: Caption(
        "K-OBD",
        tr(
            "Selects by activations and gradients like LLM Surgeon, but does not "
            "update the remaining weights."
        ),
    ),
    Method.L_OBD: Caption(
        "L-OBD",
        tr(
            "Selects by the error that a removal causes in the output of its own "
            "layer, from the inputs alone. Does not update the remaining weights."
        ),
    ),
    Method.MAGNITUDE: caption(
        "Magnitude",
        "Removes the smallest weights. Measures nothing and does not update the "
        "remaining weights. Fast; the usual baseline.",
    ),
    Method.SPARSEGPT: Caption(
        "SparseGPT",
        tr(
            "Selects by activations alone, layer by layer, and updates the remaining "
            "weights to compensate. For unstructured and N:M pruning."
        ),
    ),
    Method.WANDA: Caption(
        "Wanda",
        tr(
            "Selects by the magnitude of weights times the norm of their inputs. Does "
            "not update the remaining weights. For unstructured and N:M pruning."
        ),
    ),
    Method.REAP: Caption(
        "REAP",
        tr(
            "Removes the experts whose output, times the router's weight, has the "
            "smallest mean norm on the tokens that choose them. For experts alone."
        ),
    ),
    Method.ROUTING_FREQUENCY: caption(
        "Routing frequency",
        "Removes the experts that the fewest tokens choose. For experts alone; the "
        "usual baseline.",
    ),
    Target.PRUNABLE_SHARE: caption(
        "Removed, of prunable",
        "Share of the weights of the prunable linear layers to remove.",
    ),
    Target.PARAMETER_SHARE: caption(
        "Removed, of all",
        "Share of the whole model to remove; embeddings and norms count, too.",
    ),
    Target.PARAMETERS: caption(
        "Parameters left", "Number of parameters that the whole model keeps."
    ),
    Target.FILE_SIZE: caption(
        "File",
        "Size of the file with the remaining weights, in megabytes. A GGUF file also "
        "has the tokenizer.",
    ),
    Target.MEMORY: caption(
        "Memory",
        "Memory for the weights, the context and the buffers of a batch. Your "
        "programs and screen need some on top.",
    ),
    Widths.FREE: caption(
        "Different per layer",
        "Each layer loses as many heads, neurons or experts as its costs suggest: the "
        "best quality.",
    ),
    Widths.SAME: caption(
        "The same in all layers",
        "All layers lose the same number, each its cheapest: plain files for any "
        "program.",
    ),
    Fisher.EMPIRICAL: caption(
        "Empirical (tokens of the text)",
        "Computes gradients for the tokens that actually follow in the text.",
    ),
    Fisher.SAMPLED: caption(
        "Sampled (tokens from the model)",
        "Computes gradients for tokens sampled from the predictions of the model: "
        "closer to the theory, but noisier with little text.",
    ),
    CostBasis.PER_PARAMETER: caption(
        "Per parameter",
        "Increase in loss per removed weight: the best use of a size budget.",
    ),
    CostBasis.RAW: caption(
        "Total", "Increase in loss of the whole removal, as in the paper."
    ),
    UpdateKind.JOINT: caption(
        "Joint", "The optimal change of all remaining weights of a layer together."
    ),
    UpdateKind.SEPARATE: caption(
        "Separate",
        "The sum of the changes for rows and for columns, as in the paper's code.",
    ),
    Damping.AUTOMATIC: caption(
        "Automatic",
        "Each shot tries several values on held-out windows of the calibration "
        "text and changes them if that clearly helps. With fewer than 4 windows, "
        "0.01 (costs) and 0.1 (update) are used.",
    ),
    Damping.FIXED: caption("Fixed", "The values below, in every shot."),
    Schedule.LINEAR: caption("Even steps", "Every shot removes about the same amount."),
    Schedule.CUBIC: caption("Large steps first", "The first shots remove the most."),
    Dtype.FLOAT32: Caption(
        "float32", tr("32 bits per weight: exact, the most memory.")
    ),
    Dtype.BFLOAT16: Caption(
        "bfloat16", tr("16 bits per weight: the range of float32.")
    ),
    Dtype.FLOAT16: Caption(
        "float16", tr("16 bits per weight: more precision, less range.")
    ),
    Device.AUTO: caption("Automatic", "A GPU if available, otherwise the CPU."),
    Device.CPU: caption("CPU", "Always the CPU."),
    Device.GPU: caption("GPU", "Always the GPU; without one, no run can start."),
}
_FILE_DTYPES: dict[Enum, Caption] = {
    FileDtype.SAME: caption(
        "Same as the original",
        "The number format of the original files, or the one used for pruning if "
        "that has fewer bits. For a quantized original: about as many bits in GGUF, "
        "bfloat16 in other formats.",
    ),
    FileDtype.FLOAT32: Caption(
        "float32", tr("32 bits per weight: exact, the largest file.")
    ),
    FileDtype.BFLOAT16: CHOICES[Dtype.BFLOAT16],
    FileDtype.FLOAT16: CHOICES[Dtype.FLOAT16],
    FileDtype.Q8_0: caption(
        "8 bits (Q8_0)",
        "Blocks of 32 weights with one scale each: about half the size of 16 bits.",
    ),
    FileDtype.Q6_K: caption(
        "6 bits (Q6_K)", "Blocks of 256 weights: hard to tell from 8 bits."
    ),
    FileDtype.Q5_K_M: caption(
        "5 bits (Q5_K_M)",
        "Blocks of 256 weights; sensitive matrices have 6 bits. Little is lost.",
    ),
    FileDtype.Q4_K_M: caption(
        "4 bits (Q4_K_M)",
        "Blocks of 256 weights; sensitive matrices have 6 bits. The usual choice "
        "for a small file.",
    ),
    FileDtype.IQ4_NL: caption(
        "4 bits (IQ4_NL)",
        "Blocks of 32 weights in uneven steps: for widths that are no multiples "
        "of 256. Rounding errors are compensated.",
    ),
    FileDtype.Q4_0: caption(
        "4 bits (Q4_0)",
        "Blocks of 32 weights in even steps: fast on many devices. Rounding errors "
        "are compensated.",
    ),
    FileDtype.MXFP4_MOE: caption(
        "4 bits for experts (MXFP4)",
        "As GPT-OSS stores its experts: those that keep all neurons and are not "
        "trained stay exact. All else has 8 bits (Q8_0).",
    ),
}


_RECOVERY: dict[Enum, Caption] = {
    Recovery.AUTOMATIC: caption(
        "Automatic",
        "Distillation, or if memory or time does not suffice, reconstruction or "
        "the refit. The plan shows which it is.",
    ),
    Recovery.OFF: caption("Off", "The remaining weights stay as they are."),
    Recovery.REFIT: caption(
        "Refit",
        "Fits the remaining weights, layer after layer, to what the original "
        "computes. Takes about as long as reading the text four times.",
    ),
    Recovery.RECONSTRUCTION: caption(
        "Reconstruction",
        "After its refit, trains each block to compute what the original's block "
        "does. Needs the memory to train one block.",
    ),
    Recovery.DISTILLATION: caption(
        "Distillation",
        "After the refit, trains the whole model to predict what the original "
        "predicts.",
    ),
    Recovery.BOTH: caption(
        "Reconstruction and distillation",
        "Trains each block after its refit, and then the whole model. Closest to "
        "the original, and takes the longest.",
    ),
}

_TRAINED_WEIGHTS: dict[Enum, Caption] = {
    TrainedWeights.AUTOMATIC: caption(
        "Automatic", "All weights if memory suffices, and otherwise adapters."
    ),
    TrainedWeights.FULL: caption(
        "All weights", "Trains every remaining weight. Closest to the original."
    ),
    TrainedWeights.LORA: caption(
        "Adapters (LoRA)",
        "Trains two small matrices for each layer, which are added to its weight "
        "at the end. Needs much less memory.",
    ),
    TrainedWeights.ROUTERS: caption(
        "Routers",
        "Trains only what chooses the experts of each token. For mixtures of experts; "
        "needs the least memory.",
    ),
}

_VOCABULARY: dict[Enum, Caption] = {
    Vocabulary.WHOLE: caption("Whole", "Keeps all tokens."),
    Vocabulary.AUTOMATIC: caption(
        "Automatic",
        "Removes tokens as long as that costs less, for each parameter, than the "
        "chosen structure does. The run measures both.",
    ),
    Vocabulary.TOKENS: caption(
        "A number of tokens", "Keeps as many tokens as you say, the most useful ones."
    ),
}

_CHECKPOINTING: dict[Enum, Caption] = {
    GradientCheckpointing.AUTOMATIC: caption("Automatic", "On if memory is short."),
    GradientCheckpointing.OFF: caption(
        "Off", "Keeps what the blocks compute until their gradients are known."
    ),
    GradientCheckpointing.ON: caption(
        "On",
        "Computes it again, block by block. Needs less memory and a third more "
        "time; the result is the same.",
    ),
}

_OFFLOAD: dict[Enum, Caption] = {
    Offload.AUTOMATIC: caption("Automatic", "On if the device has too little memory."),
    Offload.OFF: caption("Off", "Keeps the whole model on the device."),
    Offload.ON: caption(
        "On",
        "Moves the weights of one block at a time to the device. Large models fit "
        "on small GPUs; a run takes longer. Distillation trains adapters (LoRA). "
        "On the processor, weights are read from the files of the model.",
    ),
}

# Not one dict: members of two string enums with the same value would collide.
_TABLES: Mapping[type, Mapping[Enum, Caption]] = {
    FileDtype: _FILE_DTYPES,
    Recovery: _RECOVERY,
    TrainedWeights: _TRAINED_WEIGHTS,
    GradientCheckpointing: _CHECKPOINTING,
    Offload: _OFFLOAD,
    Vocabulary: _VOCABULARY,
}


def choice_label(choice: Enum) -> Caption:
    """Return the name of a choice and its description."""
    if isinstance(choice, Format):
        description = DESCRIPTIONS[choice]
        text = f"{tr(description.can)} {tr(description.cannot)}".strip()
        return Caption(tr(description.label), text)
    return _TABLES.get(type(choice), CHOICES)[choice]
