"""What the window says about settings, choices and stages, in one place.

Each field of each config has its label, unit and explanation here, each choice and
each stage its name. What the window says about a particular state is put together in
`sentences.py`; what is written on buttons stands in `captions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.config import (
    CostBasis,
    Device,
    Dtype,
    Schedule,
    Structure,
    UpdateKind,
)
from surgeon_engine.events import Level, Stage

APPLICATION = "Surgeon"
BUNDLED_DEMO = "Bundled demo"
BUILT_IN_TEXT = "Built-in text"


@dataclass(frozen=True, slots=True)
class FieldText:
    """What a form shows for one setting."""

    label: str
    tip: str
    unit: str = ""


FIELDS = {
    "model.source": FieldText(
        "Model",
        "A folder with config.json and safetensors, a .gguf file, or the bundled demo.",
    ),
    "model.dtype": FieldText(
        "Number format",
        "The format in which weights are held while pruning. float32 is exact; the "
        "16-bit formats halve the memory.",
    ),
    "model.device": FieldText(
        "Compute on",
        "Where the engine computes. Automatic: on a GPU if there is one.",
    ),
    "calibration.text": FieldText(
        "Text",
        "What the model reads while Surgeon measures which parts matter. Text like "
        "that of the later use is best.",
    ),
    "calibration.validation_text": FieldText(
        "Validation text",
        "What perplexity is measured on. Empty: a part of the text above that is "
        "held out for this.",
    ),
    "calibration.windows": FieldText(
        "Windows",
        "How many pieces of text are measured. More of them make the choice of what "
        "to remove more reliable, and take proportionally longer.",
        "windows",
    ),
    "calibration.validation_windows": FieldText(
        "Validation windows",
        "How many held-out pieces perplexity is measured on. More of them make the "
        "number steadier.",
        "windows",
    ),
    "calibration.window_length": FieldText(
        "Window length",
        "How many tokens a piece of text has; at most what the model can read.",
        "tokens",
    ),
    "calibration.seed": FieldText(
        "Seed", "Which windows are drawn. The same seed draws the same windows."
    ),
    "calibration.batch": FieldText(
        "Batch",
        "How many windows are computed at once. Larger is faster and needs more "
        "memory; the result is the same.",
        "windows",
    ),
    "pruning.structure": FieldText(
        "Remove", "Which parts of the model are removed as a whole."
    ),
    "pruning.sparsity": FieldText(
        "Sparsity",
        "The share of prunable weights that is removed. Embeddings and norms are not "
        "prunable and stay as they are.",
        "%",
    ),
    "pruning.shots": FieldText(
        "Shots",
        "In how many rounds of measuring and removing the target is reached. More "
        "shots lose less quality and take proportionally longer.",
        "shots",
    ),
    "pruning.schedule": FieldText(
        "Schedule", "How the target is spread over the shots."
    ),
    "pruning.cost_basis": FieldText(
        "Compare costs", "What decides which parts are the cheapest to remove."
    ),
    "pruning.update": FieldText(
        "Weight update", "How the weights that stay make up for those that go."
    ),
    "pruning.cost_damping": FieldText(
        "Cost damping",
        "How much is added to the measured curvature before costs are computed, as a "
        "multiple of its mean eigenvalue. Raise it for little calibration text.",
        "\N{MULTIPLICATION SIGN} mean",
    ),
    "pruning.update_damping": FieldText(
        "Update damping",
        "The same for the weight update. Larger values change the kept weights less.",
        "\N{MULTIPLICATION SIGN} mean",
    ),
    "export.folder": FieldText(
        "Destination",
        "The folder for the pruned model. It must not exist yet or be empty. Empty: "
        "a folder called export inside the run's own folder.",
    ),
}

# The name of each choice, and a line that says what it means.
CHOICES: dict[Enum, tuple[str, str]] = {
    Structure.HEADS_AND_NEURONS: (
        "Heads and neurons",
        "Attention heads and MLP neurons go as a whole, and what stays are plain "
        "dense layers. It loses least quality at equal size.",
    ),
    Structure.ROWS_AND_COLUMNS: (
        "Rows and columns",
        "Rows and columns of each layer go independently of other layers, as in the "
        "paper. Works for every model.",
    ),
    CostBasis.PER_PARAMETER: (
        "Per parameter",
        "The rise in loss per removed weight: the best use of a size budget.",
    ),
    CostBasis.RAW: ("As they are", "The rise in loss alone, as in the paper."),
    UpdateKind.JOINT: (
        "Joint",
        "The exact best change of all kept weights of a layer together.",
    ),
    UpdateKind.SEPARATE: (
        "Separate",
        "The changes for rows and for columns added up, as in the paper's code.",
    ),
    Schedule.LINEAR: ("Even steps", "Every shot removes about as much."),
    Schedule.CUBIC: ("Large steps first", "The first shots remove most."),
    Dtype.FLOAT32: ("float32", "32 bits a weight: exact, the most memory."),
    Dtype.BFLOAT16: ("bfloat16", "16 bits a weight: the range of float32."),
    Dtype.FLOAT16: ("float16", "16 bits a weight: finer steps, less range."),
    Device.AUTO: ("Automatic", "A GPU if there is one, else the processor."),
    Device.CPU: ("Processor", "Always the processor."),
    Device.CUDA: ("GPU", "Always the GPU; without one the run does not start."),
}

# What the engine does in a stage, as a phase ("measuring curvature") and as a noun.
STAGES = {
    Stage.LOAD: ("loading the model", "Load"),
    Stage.TEXT: ("preparing the text", "Text"),
    Stage.BASELINE: ("evaluating the original", "Baseline"),
    Stage.CURVATURE: ("measuring curvature", "Curvature"),
    Stage.SELECTION: ("choosing what to remove", "Selection"),
    Stage.UPDATE: ("updating the weights that stay", "Update"),
    Stage.EVALUATION: ("evaluating", "Evaluation"),
    Stage.EXPORT: ("writing the pruned model", "Export"),
    Stage.VERIFICATION: ("checking what was written", "Verification"),
}

# What a stage counts, where "12 of 30" alone would say too little.
UNITS = {
    Stage.LOAD: "part",
    Stage.TEXT: "part",
    Stage.BASELINE: "batch",
    Stage.CURVATURE: "step",
    Stage.SELECTION: "layer",
    Stage.UPDATE: "layer",
    Stage.EVALUATION: "batch",
    Stage.EXPORT: "layer",
    Stage.VERIFICATION: "batch",
}

FROM_LEVEL = {
    Level.INFO: "Everything",
    Level.WARNING: "Warnings and errors",
    Level.ERROR: "Errors",
}
LEVELS = {Level.INFO: "Info", Level.WARNING: "Warning", Level.ERROR: "Error"}

ENGINE_CRASHED_HINT = (
    "The engine has been started again. If this was for want of memory, fewer or "
    "shorter windows or a smaller batch need less of it."
)
ENGINE_DOES_NOT_START_HINT = (
    "The details are the engine's last words. Running surgeon --version in a terminal "
    "shows whether the installation is complete."
)
ENGINE_CANNOT_START = "The engine cannot be started."
ENGINE_MISSING = "There is no engine to do this."
ENGINE_MISSING_HINT = "Close Surgeon and start it again."
WINDOW_BUG = "Something went wrong in the window: {error}"
WINDOW_BUG_HINT = "A run under way is not affected. The details help to report it."
MASKED = (
    "Removed weights are zeros that stand in their place: the checkpoint loads in "
    "plain transformers, and is as large and as fast as the unpruned model in the "
    "same number format."
)
ABOUT = (
    "Surgeon prunes pretrained language models.\n\n"
    "It measures what each part contributes, removes what matters least, adapts the "
    "rest, and writes a checkpoint that has been checked. After The LLM Surgeon "
    "(van der Ouderaa et al., ICLR 2024)."
)
