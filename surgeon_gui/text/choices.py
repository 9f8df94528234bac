"""The name of each choice in the window, and a line that says what it means."""

from __future__ import annotations

from enum import Enum

from surgeon_engine.api.config.export import DESCRIPTIONS, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Correction,
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
from surgeon_engine.api.config.run import Device, Dtype
from surgeon_gui.base.translation import tr

CHOICES: dict[Enum, tuple[str, str]] = {
    Structure.HEADS_AND_NEURONS: (
        tr("Heads and neurons"),
        tr(
            "Attention heads and MLP neurons go as a whole, and what stays are plain "
            "dense layers: the file is smaller, and it needs less memory and time "
            "everywhere. The first choice."
        ),
    ),
    Structure.NEURONS: (
        tr("Neurons"),
        tr(
            "Neurons of the MLPs go as a whole; attention stays as it is. What stays "
            "are plain dense layers: the file is smaller, and it needs less memory "
            "and time everywhere."
        ),
    ),
    Structure.HEADS: (
        tr("Heads"),
        tr(
            "Attention heads go as a whole, with all heads that share their key and "
            "value. What stays are plain dense layers: the file is smaller, and each "
            "token of a text needs less memory."
        ),
    ),
    Structure.ROWS_AND_COLUMNS: (
        tr("Rows and columns"),
        tr(
            "Rows and columns of each layer go independently of other layers, as in "
            "the paper. Works for every model. The file is smaller, for transformers "
            "only; lists of the rows and columns that are left cost part of the time "
            "that is saved."
        ),
    ),
    Structure.ROWS: (
        tr("Rows"),
        tr(
            "Outputs of each layer go independently of other layers. The file is "
            "smaller, for transformers only; lists of the rows that are left cost "
            "part of the time that is saved."
        ),
    ),
    Structure.COLUMNS: (
        tr("Columns"),
        tr(
            "Inputs of each layer go independently of other layers. The file is "
            "smaller, for transformers only; lists of the columns that are left cost "
            "part of the time that is saved."
        ),
    ),
    Structure.N_M: (
        tr("N:M pattern"),
        tr(
            "Of every M neighbouring weights N stay, such as 2 of 4, and the others "
            "become zeros. The file stays as large, and nothing is faster unless the "
            "runtime knows the pattern."
        ),
    ),
    Structure.ELEMENTS: (
        tr("Single weights"),
        tr(
            "Weights become zeros wherever they matter least. It loses the least "
            "quality, but the file stays as large, and nothing is faster unless the "
            "runtime knows about zeros."
        ),
    ),
    Method.LLM_SURGEON: (
        "LLM Surgeon",
        tr(
            "Measures activations and gradients together, and the weights that stay "
            "make up for those that go. The best quality, and the most work."
        ),
    ),
    Method.K_OBD: (
        "K-OBD",
        tr(
            "Chooses by activations and gradients like LLM Surgeon, but leaves the "
            "weights that stay as they are."
        ),
    ),
    Method.L_OBD: (
        "L-OBD",
        tr(
            "Chooses by the error that a removal makes in its own layer, from the "
            "inputs alone, and leaves the weights that stay as they are."
        ),
    ),
    Method.MAGNITUDE: (
        tr("Magnitude"),
        tr(
            "The smallest weights go; nothing is measured, nothing makes up for them. "
            "Quick, and what the others are compared with."
        ),
    ),
    Method.SPARSEGPT: (
        "SparseGPT",
        tr(
            "Goes by activations alone, layer by layer, and the weights that stay "
            "make up for those that go. For single weights and N:M patterns."
        ),
    ),
    Method.WANDA: (
        "Wanda",
        tr(
            "Goes by the size of weights times that of their inputs, and leaves the "
            "weights that stay as they are. For single weights and N:M patterns."
        ),
    ),
    Target.PRUNABLE_SHARE: (
        tr("Share of prunable weights"),
        tr("How much of what can be removed goes: the weights of the linear layers."),
    ),
    Target.PARAMETER_SHARE: (
        tr("Share of all parameters"),
        tr(
            "How much of the whole model goes, counting embeddings and norms, which "
            "stay."
        ),
    ),
    Target.PARAMETERS: (
        tr("Parameters that remain"),
        tr("How many parameters the whole model has left."),
    ),
    Target.FILE_SIZE: (
        tr("Size of the weights"),
        tr("How many megabytes the parameters take that the whole model has left."),
    ),
    Widths.FREE: (
        tr("Each layer its own"),
        tr(
            "Each layer loses as many heads or neurons as its costs say: the best "
            "quality."
        ),
    ),
    Widths.SAME: (
        tr("The same in all layers"),
        tr(
            "All layers lose equally many, each its cheapest: plain files for any "
            "program."
        ),
    ),
    Fisher.EMPIRICAL: (
        tr("The text's own tokens"),
        tr("Those that really come next in the text."),
    ),
    Fisher.SAMPLED: (
        tr("Tokens the model draws"),
        tr(
            "Those that the model itself predicts, drawn at random: closer to the "
            "theory, noisier with little text."
        ),
    ),
    CostBasis.PER_PARAMETER: (
        tr("Per parameter"),
        tr("The rise in loss per removed weight: the best use of a size budget."),
    ),
    CostBasis.RAW: (tr("As they are"), tr("The rise in loss alone, as in the paper.")),
    UpdateKind.JOINT: (
        tr("Joint"),
        tr("The exact best change of all kept weights of a layer together."),
    ),
    UpdateKind.SEPARATE: (
        tr("Separate"),
        tr("The changes for rows and for columns added up, as in the paper's code."),
    ),
    Correction.NONE: (
        tr("None"),
        tr("The weights that stay make up for those that go, and no more."),
    ),
    Correction.LOSS: (
        tr("Along the loss"),
        tr(
            "After the last shot they also take steps down the loss, of the lengths "
            "that held-out windows of the calibration text like best. Draws the model "
            "towards that text."
        ),
    ),
    Damping.AUTOMATIC: (
        tr("Automatic"),
        tr(
            "In each shot several values are tried on held-out windows of the "
            "calibration text, and others are taken where that clearly helps. With "
            "fewer than 4 windows, 0.01 (costs) and 0.1 (update) are used."
        ),
    ),
    Damping.FIXED: (tr("As given"), tr("The values below, in every shot.")),
    Schedule.LINEAR: (tr("Even steps"), tr("Every shot removes about as much.")),
    Schedule.CUBIC: (tr("Large steps first"), tr("The first shots remove most.")),
    Dtype.FLOAT32: ("float32", tr("32 bits a weight: exact, the most memory.")),
    Dtype.BFLOAT16: ("bfloat16", tr("16 bits a weight: the range of float32.")),
    Dtype.FLOAT16: ("float16", tr("16 bits a weight: finer steps, less range.")),
    Device.AUTO: (tr("Automatic"), tr("A GPU if there is one, else the processor.")),
    Device.CPU: (tr("Processor"), tr("Always the processor.")),
    Device.CUDA: (tr("GPU"), tr("Always the GPU; without one the run does not start.")),
}
_FILE_DTYPES = {
    FileDtype.SAME: (
        tr("As the original"),
        tr(
            "That of the original's files, or the one it was pruned in if that is "
            "shorter."
        ),
    ),
    FileDtype.FLOAT32: ("float32", tr("32 bits a weight: exact, the largest file.")),
    FileDtype.BFLOAT16: ("bfloat16", tr("16 bits a weight: the range of float32.")),
    FileDtype.FLOAT16: ("float16", tr("16 bits a weight: finer steps, less range.")),
    FileDtype.Q8_0: (
        tr("8 bits (Q8_0)"),
        tr("Blocks of 32 weights with a scale each: about half the size of 16 bits."),
    ),
}


def choice_label(choice: Enum) -> tuple[str, str]:
    """The name of a choice and what it means.

    Members of two enums that are spelled alike would be one key of a dict.
    """
    match choice:
        case Format():
            words = DESCRIPTIONS[choice]
            return tr(words.label), f"{tr(words.can)} {tr(words.cannot)}".strip()
        case FileDtype():
            return _FILE_DTYPES[choice]
    return CHOICES[choice]
