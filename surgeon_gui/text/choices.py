"""Name and description of each choice in the window."""

from __future__ import annotations

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
    Widths,
)
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, Offload
from surgeon_gui.base.translation import tr

CHOICES: dict[Enum, tuple[str, str]] = {
    Structure.HEADS_AND_NEURONS: (
        tr("Heads and neurons"),
        tr(
            "Removes whole attention heads and MLP neurons. The layers stay plain "
            "dense layers, so the model is smaller and faster in every program. "
            "Recommended."
        ),
    ),
    Structure.NEURONS: (
        tr("Neurons"),
        tr(
            "Removes whole MLP neurons; attention is unchanged. The layers stay plain "
            "dense layers, so the model is smaller and faster in every program."
        ),
    ),
    Structure.HEADS: (
        tr("Heads"),
        tr(
            "Removes whole attention heads, together with all heads that share their "
            "key and value. The layers stay plain dense layers, the file is smaller, "
            "and each token needs less memory in the KV cache."
        ),
    ),
    Structure.ROWS_AND_COLUMNS: (
        tr("Rows and columns"),
        tr(
            "Removes rows and columns of each layer independently of other layers, as "
            "in the paper. Works for every model. The file is smaller, but loads in "
            "transformers only, and index lookups cost part of the time saved."
        ),
    ),
    Structure.ROWS: (
        tr("Rows"),
        tr(
            "Removes outputs of each layer independently of other layers. The file is "
            "smaller, but loads in transformers only, and index lookups cost part of "
            "the time saved."
        ),
    ),
    Structure.COLUMNS: (
        tr("Columns"),
        tr(
            "Removes inputs of each layer independently of other layers. The file is "
            "smaller, but loads in transformers only, and index lookups cost part of "
            "the time saved."
        ),
    ),
    Structure.N_M: (
        tr("N:M pattern"),
        tr(
            "Keeps N of every M consecutive weights, such as 2 of 4, and sets the "
            "others to zero. The file keeps its size. Faster only in programs that "
            "support the pattern."
        ),
    ),
    Structure.ELEMENTS: (
        tr("Unstructured (single weights)"),
        tr(
            "Sets the least important weights to zero, anywhere. Preserves the most "
            "quality. The file keeps its size. Faster only in programs that support "
            "sparse weights."
        ),
    ),
    Method.LLM_SURGEON: (
        "LLM Surgeon",
        tr(
            "The paper's method: measures activations and gradients jointly and "
            "updates the remaining weights to compensate. Takes the most time."
        ),
    ),
    Method.FIRST_ORDER: (
        tr("First-order gates"),
        tr(
            "The default: selects by how much the loss of a window changes when a "
            "part is scaled down. Fast, with little memory; recovery then adapts the "
            "remaining weights."
        ),
    ),
    Method.K_OBD: (
        "K-OBD",
        tr(
            "Selects by activations and gradients like LLM Surgeon, but does not "
            "update the remaining weights."
        ),
    ),
    Method.L_OBD: (
        "L-OBD",
        tr(
            "Selects by the error that a removal causes in the output of its own "
            "layer, from the inputs alone. Does not update the remaining weights."
        ),
    ),
    Method.MAGNITUDE: (
        tr("Magnitude"),
        tr(
            "Removes the smallest weights. Measures nothing and does not update the "
            "remaining weights. Fast; the usual baseline."
        ),
    ),
    Method.SPARSEGPT: (
        "SparseGPT",
        tr(
            "Selects by activations alone, layer by layer, and updates the remaining "
            "weights to compensate. For unstructured and N:M pruning."
        ),
    ),
    Method.WANDA: (
        "Wanda",
        tr(
            "Selects by the magnitude of weights times the norm of their inputs. Does "
            "not update the remaining weights. For unstructured and N:M pruning."
        ),
    ),
    Target.PRUNABLE_SHARE: (
        tr("Share of prunable weights"),
        tr("Share of the weights of the prunable linear layers to remove."),
    ),
    Target.PARAMETER_SHARE: (
        tr("Share of all parameters"),
        tr(
            "Share of the whole model to remove, including embeddings and norms, which "
            "are never pruned."
        ),
    ),
    Target.PARAMETERS: (
        tr("Remaining parameters"),
        tr("Number of parameters that the whole model keeps."),
    ),
    Target.FILE_SIZE: (
        tr("Size of the weights"),
        tr("Size of the remaining parameters of the whole model, in megabytes."),
    ),
    Target.MEMORY: (
        tr("Memory to run it"),
        tr(
            "Memory for the weights, the context and the buffers of a batch. Your "
            "programs and screen need some on top."
        ),
    ),
    Widths.FREE: (
        tr("Different per layer"),
        tr(
            "Each layer loses as many heads or neurons as its costs suggest: the best "
            "quality."
        ),
    ),
    Widths.SAME: (
        tr("The same in all layers"),
        tr(
            "All layers lose the same number, each its cheapest: plain files for any "
            "program."
        ),
    ),
    Fisher.EMPIRICAL: (
        tr("Empirical (tokens of the text)"),
        tr("Computes gradients for the tokens that actually follow in the text."),
    ),
    Fisher.SAMPLED: (
        tr("Sampled (tokens from the model)"),
        tr(
            "Computes gradients for tokens sampled from the predictions of the model: "
            "closer to the theory, but noisier with little text."
        ),
    ),
    CostBasis.PER_PARAMETER: (
        tr("Per parameter"),
        tr("Increase in loss per removed weight: the best use of a size budget."),
    ),
    CostBasis.RAW: (
        tr("Total"),
        tr("Increase in loss of the whole removal, as in the paper."),
    ),
    UpdateKind.JOINT: (
        tr("Joint"),
        tr("The optimal change of all remaining weights of a layer together."),
    ),
    UpdateKind.SEPARATE: (
        tr("Separate"),
        tr("The sum of the changes for rows and for columns, as in the paper's code."),
    ),
    Damping.AUTOMATIC: (
        tr("Automatic"),
        tr(
            "Each shot tries several values on held-out windows of the calibration "
            "text and changes them if that clearly helps. With fewer than 4 windows, "
            "0.01 (costs) and 0.1 (update) are used."
        ),
    ),
    Damping.FIXED: (tr("Fixed"), tr("The values below, in every shot.")),
    Schedule.LINEAR: (
        tr("Even steps"),
        tr("Every shot removes about the same amount."),
    ),
    Schedule.CUBIC: (tr("Large steps first"), tr("The first shots remove the most.")),
    Dtype.FLOAT32: ("float32", tr("32 bits per weight: exact, the most memory.")),
    Dtype.BFLOAT16: ("bfloat16", tr("16 bits per weight: the range of float32.")),
    Dtype.FLOAT16: (
        "float16",
        tr("16 bits per weight: more precision, less range."),
    ),
    Device.AUTO: (tr("Automatic"), tr("A GPU if available, otherwise the CPU.")),
    Device.CPU: (tr("CPU"), tr("Always the CPU.")),
    Device.GPU: (tr("GPU"), tr("Always the GPU; without one, no run can start.")),
}
_FILE_DTYPES = {
    FileDtype.SAME: (
        tr("Same as the original"),
        tr(
            "The number format of the original files, or the one used for pruning if "
            "that has fewer bits. For a quantized original: 8 bits in GGUF, float16 in "
            "other formats."
        ),
    ),
    FileDtype.FLOAT32: ("float32", tr("32 bits per weight: exact, the largest file.")),
    FileDtype.BFLOAT16: ("bfloat16", tr("16 bits per weight: the range of float32.")),
    FileDtype.FLOAT16: (
        "float16",
        tr("16 bits per weight: more precision, less range."),
    ),
    FileDtype.Q8_0: (
        tr("8 bits (Q8_0)"),
        tr("Blocks of 32 weights with one scale each: about half the size of 16 bits."),
    ),
    FileDtype.Q6_K: (
        tr("6 bits (Q6_K)"),
        tr("Blocks of 256 weights: hard to tell from 8 bits."),
    ),
    FileDtype.Q5_K_M: (
        tr("5 bits (Q5_K_M)"),
        tr("Blocks of 256 weights; sensitive matrices have 6 bits. Little is lost."),
    ),
    FileDtype.Q4_K_M: (
        tr("4 bits (Q4_K_M)"),
        tr(
            "Blocks of 256 weights; sensitive matrices have 6 bits. The usual choice "
            "for a small file."
        ),
    ),
    FileDtype.IQ4_NL: (
        tr("4 bits (IQ4_NL)"),
        tr(
            "Blocks of 32 weights in uneven steps: for widths that are no multiples "
            "of 256. Rounding errors are compensated."
        ),
    ),
    FileDtype.Q4_0: (
        tr("4 bits (Q4_0)"),
        tr(
            "Blocks of 32 weights in even steps: fast on many devices. Rounding errors "
            "are compensated."
        ),
    ),
}


_RECOVERY: dict[Recovery, tuple[str, str]] = {
    Recovery.AUTOMATIC: (
        tr("Automatic"),
        tr(
            "Distillation, or if memory or time does not suffice, reconstruction or "
            "the refit. The plan shows which it is."
        ),
    ),
    Recovery.OFF: (tr("Off"), tr("The remaining weights stay as they are.")),
    Recovery.REFIT: (
        tr("Refit"),
        tr(
            "Fits the remaining weights, layer after layer, to what the original "
            "computes. Takes about as long as reading the text four times."
        ),
    ),
    Recovery.RECONSTRUCTION: (
        tr("Reconstruction"),
        tr(
            "After its refit, trains each block to compute what the original's block "
            "does. Needs the memory to train one block."
        ),
    ),
    Recovery.DISTILLATION: (
        tr("Distillation"),
        tr(
            "After the refit, trains the whole model to predict what the original "
            "predicts."
        ),
    ),
    Recovery.BOTH: (
        tr("Reconstruction and distillation"),
        tr(
            "Trains each block after its refit, and then the whole model. Closest to "
            "the original, and takes the longest."
        ),
    ),
}

_TRAINED_WEIGHTS: dict[TrainedWeights, tuple[str, str]] = {
    TrainedWeights.AUTOMATIC: (
        tr("Automatic"),
        tr("All weights if memory suffices, and otherwise adapters."),
    ),
    TrainedWeights.FULL: (
        tr("All weights"),
        tr("Trains every remaining weight. Closest to the original."),
    ),
    TrainedWeights.LORA: (
        tr("Adapters (LoRA)"),
        tr(
            "Trains two small matrices for each layer, which are added to its weight "
            "at the end. Needs much less memory."
        ),
    ),
}

_CHECKPOINTING: dict[GradientCheckpointing, tuple[str, str]] = {
    GradientCheckpointing.AUTOMATIC: (
        tr("Automatic"),
        tr("On if memory is short."),
    ),
    GradientCheckpointing.OFF: (
        tr("Off"),
        tr("Keeps what the blocks compute until their gradients are known."),
    ),
    GradientCheckpointing.ON: (
        tr("On"),
        tr(
            "Computes it again, block by block. Needs less memory and a third more "
            "time; the result is the same."
        ),
    ),
}

_OFFLOAD: dict[Offload, tuple[str, str]] = {
    Offload.AUTOMATIC: (
        tr("Automatic"),
        tr("On if the device has too little memory."),
    ),
    Offload.OFF: (
        tr("Off"),
        tr("Keeps the whole model on the device."),
    ),
    Offload.ON: (
        tr("On"),
        tr(
            "Moves the weights of one block at a time to the device. Large models fit "
            "on small GPUs; a run takes longer. Distillation trains adapters (LoRA). "
            "On the processor, weights are read from the files of the model."
        ),
    ),
}


def choice_label(choice: Enum) -> tuple[str, str]:
    """Return the name of a choice and its description."""
    # Not one dict: members of two string enums with the same value would collide.
    match choice:
        case Format():
            description = DESCRIPTIONS[choice]
            text = f"{tr(description.can)} {tr(description.cannot)}".strip()
            return tr(description.label), text
        case FileDtype():
            return _FILE_DTYPES[choice]
        case Recovery():
            return _RECOVERY[choice]
        case TrainedWeights():
            return _TRAINED_WEIGHTS[choice]
        case GradientCheckpointing():
            return _CHECKPOINTING[choice]
        case Offload():
            return _OFFLOAD[choice]
    return CHOICES[choice]
