"""What the window says about settings and stages, in one place.

Each field of each config has its label, unit and explanation here, each stage its
name; those of choices stand in `choices.py`. What the window says about a particular
state is put together in `sentences.py`; what is written on buttons stands in
`captions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.config import BUILTIN_TEXT, DEMO
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
    decimals: int = 4  # of a decimal number, at most
    is_share: bool = False  # a share of 1, shown as per cent
    example: str = ""  # what stands in a line while it is empty
    least: str = ""  # what a box says in place of its smallest number


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
    "pruning.kept": FieldText(
        "Keep",
        "How many weights of each group of neighbours stay: the 2 of 2:4.",
        "weights",
    ),
    "pruning.of": FieldText(
        "Of every",
        "How many neighbours in a row of a layer are a group: the 4 of 2:4. GPUs that "
        "know a pattern know 2:4.",
        "weights",
    ),
    "pruning.method": FieldText(
        "Method",
        "By what it is decided which parts matter least, and whether the weights that "
        "stay make up for those that go.",
    ),
    "pruning.target": FieldText(
        "Target",
        "How the size to reach is given. If you change this, the size stays the same "
        "and is only written in another way.",
    ),
    "pruning.sparsity": FieldText(
        "Sparsity",
        "The share that is removed: of the prunable weights or of all parameters, as "
        "the target says. Embeddings and norms are not prunable and stay as they are.",
        "%",
        decimals=1,
        is_share=True,
    ),
    "pruning.million_parameters": FieldText(
        "Parameters",
        "How many parameters of the whole model remain, in millions.",
        "M",
        decimals=6,
    ),
    "pruning.megabytes": FieldText(
        "Weights",
        "How much room the parameters that remain take in the number format of step "
        "1, in millions of bytes.",
        "MB",
        decimals=6,
    ),
    "pruning.perplexity_rise": FieldText(
        "Quality limit",
        "By how much perplexity may rise above the original's. A shot that goes beyond "
        "is undone and tried in smaller steps; where none fits any more the run ends, "
        "even if the target is not reached.",
        "%",
        decimals=1,
        least="no limit",
    ),
    "pruning.shots": FieldText(
        "Shots",
        "In how many rounds of measuring and removing the target is reached. More "
        "shots lose less quality and take proportionally longer.",
        "shots",
    ),
    "pruning.width_multiple": FieldText(
        "Width multiple",
        "The MLP width that remains in each layer is a multiple of this. GPUs compute "
        "multiples of 64 faster than odd widths. 1: any width.",
    ),
    "pruning.widths": FieldText(
        "Widths",
        "Whether each layer loses as many heads or neurons as its costs say, or all "
        "layers equally many. Equal widths lose more quality, and the file loads in "
        "whatever knows the architecture, without code.",
    ),
    "pruning.protect": FieldText(
        "Protect",
        "Layers from which nothing is removed, with commas between them: names, kinds "
        "such as mlp.down_proj, or blocks such as block 0. A * stands for anything. "
        "Heads and neurons are protected with any of their layers.",
        example="e.g. block 0, *.down_proj",
    ),
    "pruning.keep_at_least": FieldText(
        "Keep at least",
        "The share of its weights that each layer keeps, however cheap they are to "
        "remove. 0 %: all but the last row, column or group may go.",
        "%",
        decimals=1,
        is_share=True,
    ),
    "pruning.schedule": FieldText(
        "Schedule", "How the target is spread over the shots."
    ),
    "pruning.fisher": FieldText(
        "Gradients for",
        "Which next tokens the model is asked about when its gradients are measured.",
    ),
    "pruning.cost_basis": FieldText(
        "Compare costs", "What decides which parts are the cheapest to remove."
    ),
    "pruning.update": FieldText(
        "Weight update", "How the weights that stay make up for those that go."
    ),
    "pruning.max_correlated": FieldText(
        "Made up jointly",
        "For how many removed weights of a layer at a time the others make up. More "
        "of them lose less quality and need more time and memory.",
        "weights",
        least="all of a layer",
    ),
    "pruning.correction": FieldText(
        "Correction",
        "Whether, after the last shot, the weights that stay also follow the gradient "
        "of the loss. It wins back much of the perplexity, and draws the model "
        "towards the calibration text.",
    ),
    "pruning.damping": FieldText(
        "Damping",
        "How much the measured curvature is trusted, for costs and for the update: "
        "found by trying on held-out windows, or given below.",
    ),
    "pruning.cost_damping": FieldText(
        "Cost damping",
        "How much is added to the measured curvature before costs are computed, as a "
        "multiple of its mean eigenvalue. Raise it for little calibration text. Not "
        "used where the damping is chosen automatically.",
        "\N{MULTIPLICATION SIGN} mean",
    ),
    "pruning.update_damping": FieldText(
        "Update damping",
        "The same for the weight update. Larger values change the kept weights less. "
        "Not used where the damping is chosen automatically.",
        "\N{MULTIPLICATION SIGN} mean",
    ),
    "export.folder": FieldText(
        "Destination",
        "The folder for the pruned model. What is in it already stays unless you agree "
        "that it is replaced. Empty: a folder called export inside the run's own "
        "folder.",
    ),
    "export.format": FieldText(
        "Format", "In which form the pruned model is written, for which programs."
    ),
    "export.dtype": FieldText(
        "Number format",
        "How many bits a weight takes in the file. Fewer make it smaller and a little "
        "less exact.",
    ),
    "export.shard_gigabytes": FieldText(
        "Largest file",
        "Weights that need more room than this are spread over several files. For "
        "transformers only: the other formats are one file.",
        "GB",
        decimals=3,
    ),
}

# What the engine does in a stage, as a phase ("measuring curvature") and as a noun.
STAGES = {
    Stage.LOAD: ("loading the model", "Load"),
    Stage.TEXT: ("preparing the text", "Text"),
    Stage.BASELINE: ("evaluating the original", "Baseline"),
    Stage.CURVATURE: ("measuring curvature", "Curvature"),
    Stage.DAMPING: ("choosing the damping", "Damping"),
    Stage.SELECTION: ("choosing what to remove", "Selection"),
    Stage.UPDATE: ("updating the weights that stay", "Update"),
    Stage.CORRECTION: ("correcting the weights that stay", "Correction"),
    Stage.EVALUATION: ("evaluating", "Evaluation"),
    Stage.EXPORT: ("writing the pruned model", "Export"),
    Stage.VERIFICATION: ("checking what was written", "Verification"),
    Stage.MEASUREMENT: ("measuring speed and memory", "Measurement"),
}

# What a stage counts, where "12 of 30" alone would say too little.
UNITS = {
    Stage.LOAD: "part",
    Stage.TEXT: "part",
    Stage.BASELINE: "batch",
    Stage.CURVATURE: "step",
    Stage.DAMPING: "step",
    Stage.SELECTION: "layer",
    Stage.UPDATE: "layer",
    Stage.CORRECTION: "step",
    Stage.EVALUATION: "batch",
    Stage.EXPORT: "layer",
    Stage.VERIFICATION: "batch",
    Stage.MEASUREMENT: "turn",
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
ABOUT = (
    "Surgeon prunes pretrained language models.\n\n"
    "It measures what each part contributes, removes what matters least, adapts the "
    "rest, and writes a checkpoint that has been checked. After The LLM Surgeon "
    "(van der Ouderaa et al., ICLR 2024)."
)


def source_name(source: str) -> str:
    """A model or text by the name people know it by."""
    if source == DEMO:
        return BUNDLED_DEMO
    if source == BUILTIN_TEXT:
        return BUILT_IN_TEXT
    return Path(source).name or source
