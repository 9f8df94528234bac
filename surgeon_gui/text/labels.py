"""What the window says about settings and stages, in one place.

Each field of each config has its label, unit and explanation here, each stage its
name. `words/choices.py` has those of choices, `words/sentences.py` what is said about a
particular state, `captions/` what is written on buttons.
"""

from __future__ import annotations

from pathlib import Path

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.messages.events import Level
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.model_info.source_names import DEMO, hub_name
from surgeon_gui.base.translation import tr
from surgeon_gui.text import source_fields
from surgeon_gui.text.field_text import FieldText

APPLICATION = "Surgeon"
BUNDLED_DEMO = tr("Bundled demo")
BUILT_IN_TEXT = tr("Built-in text")


FIELDS = {
    **source_fields.FIELDS,
    "pruning.structure": FieldText(
        tr("What goes"), tr("Which parts of the model are removed as a whole.")
    ),
    "pruning.pattern": FieldText(
        tr("Pattern"),
        tr("How many of each group of neighbouring weights in a row are kept."),
    ),
    "pruning.method": FieldText(
        tr("Method"),
        tr(
            "By what it is decided which parts matter least, and whether the weights "
            "that stay make up for those that go."
        ),
    ),
    "pruning.target": FieldText(
        tr("Target"),
        tr(
            "How the size to reach is given. If you change this, the size stays the "
            "same and is only written in another way."
        ),
    ),
    "pruning.sparsity": FieldText(
        tr("Sparsity"),
        tr(
            "The share that is removed: of the prunable weights or of all parameters, "
            "as the target says. Embeddings and norms are not prunable and stay as "
            "they are."
        ),
        "%",
        decimals=1,
        is_share=True,
    ),
    "pruning.million_parameters": FieldText(
        tr("Parameters"),
        tr("How many parameters of the whole model remain, in millions."),
        "M",
        decimals=6,
    ),
    "pruning.megabytes": FieldText(
        tr("Weights"),
        tr(
            "How much room the parameters that remain take in the number format of "
            "the files (step 5), in millions of bytes."
        ),
        "MB",
        decimals=6,
    ),
    "pruning.max_perplexity_increase": FieldText(
        tr("Quality limit"),
        tr(
            "By how much perplexity may rise above the original's. A shot that goes "
            "beyond, even when it is corrected, is undone and tried in smaller steps; "
            "where none fits any more the run ends, even if the target is not reached."
        ),
        "%",
        decimals=1,
        least=tr("no limit"),
    ),
    "pruning.shots": FieldText(
        tr("Shots"),
        tr(
            "In how many rounds of measuring and removing the target is reached. More "
            "shots lose less quality and take proportionally longer."
        ),
        tr("shots"),
        unit_of_one=tr("shot"),
    ),
    "pruning.width_multiple": FieldText(
        tr("Width multiple"),
        tr(
            "The MLP width that remains in each layer that is cut is a multiple of "
            "this. GPUs compute multiples of 64 faster than odd widths. 1: any width."
        ),
    ),
    "pruning.widths": FieldText(
        tr("Widths"),
        tr(
            "Whether each layer loses as many heads or neurons as its costs say, or "
            "all layers equally many. Equal widths lose more quality, and the file "
            "loads in whatever knows the architecture, without code."
        ),
    ),
    "pruning.protect": FieldText(
        tr("Protect"),
        tr(
            "Layers from which nothing is removed, with commas between them: names, "
            "kinds such as mlp.down_proj, or blocks such as block 0. A * stands for "
            "anything. Heads and neurons are protected with any of their layers."
        ),
        example=tr("e.g. block 0, *.down_proj"),
    ),
    "pruning.min_density": FieldText(
        tr("Keep at least"),
        tr(
            "The share of its weights that each layer keeps, however cheap they are to "
            "remove. 0 %: all but the last row, column or group may go."
        ),
        "%",
        decimals=1,
        is_share=True,
    ),
    "pruning.layer_min_density": FieldText(
        tr("Limits"),
        tr(
            "Layers that keep more than that, with the share that stays, from 0 to 1, "
            "and commas between them: block 3=0.5 keeps at least half of each layer "
            "of block 3. Where several hold, the largest does. Heads and neurons keep "
            "what any of their layers has to."
        ),
        example=tr("e.g. block 3=0.5"),
    ),
    "pruning.schedule": FieldText(
        tr("Schedule"), tr("How the target is spread over the shots.")
    ),
    "pruning.fisher": FieldText(
        tr("Gradients for"),
        tr(
            "Which next tokens the model is asked about when its gradients are "
            "measured."
        ),
    ),
    "pruning.cost_basis": FieldText(
        tr("Compare costs"), tr("What decides which parts are the cheapest to remove.")
    ),
    "pruning.update": FieldText(
        tr("Weight update"), tr("How the weights that stay make up for those that go.")
    ),
    "pruning.max_correlated": FieldText(
        tr("Made up jointly"),
        tr(
            "For how many removed weights of a layer at a time the others make up. "
            "More of them lose less quality and need more time and memory."
        ),
        tr("weights"),
        unit_of_one=tr("weight"),
        least=tr("all of a layer"),
    ),
    "pruning.correction": FieldText(
        tr("Correction"),
        tr(
            "Whether, after the last shot, the weights that stay also follow the "
            "gradient of the loss. It wins back much of the perplexity, and draws the "
            "model towards the calibration text."
        ),
    ),
    "pruning.damping": FieldText(
        tr("Damping"),
        tr(
            "How much the measured curvature is trusted, for costs and for the update: "
            "found by trying on held-out windows, or given below."
        ),
    ),
    "pruning.cost_damping": FieldText(
        tr("Cost damping"),
        tr(
            "How much is added to the measured curvature before costs are computed, "
            "as a multiple of its mean eigenvalue. Raise it for little calibration "
            "text. Used where Damping is As given, and by SparseGPT."
        ),
        tr("\N{MULTIPLICATION SIGN} mean"),
    ),
    "pruning.update_damping": FieldText(
        tr("Update damping"),
        tr(
            "The same for the weight update. Larger values change the kept weights "
            "less. Used where Damping is As given."
        ),
        tr("\N{MULTIPLICATION SIGN} mean"),
    ),
    "export.folder": FieldText(
        tr("Destination"),
        tr(
            "The folder for the pruned model. What is in it already stays unless you "
            "agree that it is replaced. Empty: a folder called export inside the "
            "run's own folder."
        ),
    ),
    "export.format": FieldText(
        tr("Format"),
        tr("In which form the pruned model is written, for which programs."),
    ),
    "export.dtype": FieldText(
        tr("Number format"),
        tr(
            "How many bits a weight takes in the file. Fewer make it smaller and a "
            "little less exact."
        ),
    ),
    "export.shard_gigabytes": FieldText(
        tr("Largest file"),
        tr(
            "Weights that need more room than this are spread over several files. For "
            "transformers only: the other formats are one file."
        ),
        "GB",
        decimals=3,
    ),
}

# The two numbers of `pruning.pattern`.
PATTERN = {
    "kept": FieldText(
        tr("Keep"),
        tr("How many weights of each group of neighbours stay: the 2 of 2:4."),
        tr("weights"),
        unit_of_one=tr("weight"),
    ),
    "of": FieldText(
        tr("Of every"),
        tr(
            "How many neighbours in a row of a layer are a group: the 4 of 2:4. GPUs "
            "that know a pattern know 2:4."
        ),
        tr("weights"),
        unit_of_one=tr("weight"),
    ),
}

# What the engine does in a stage, as a phase ("measuring curvature") and as a noun.
STAGES = {
    Stage.LOAD: (tr("loading the model"), tr("Load")),
    Stage.TEXT: (tr("preparing the text"), tr("Text")),
    Stage.BASELINE: (tr("evaluating the original"), tr("Baseline")),
    Stage.CURVATURE: (tr("measuring curvature"), tr("Curvature")),
    Stage.DAMPING: (tr("choosing the damping"), tr("Damping")),
    Stage.SELECTION: (tr("choosing what to remove"), tr("Selection")),
    Stage.UPDATE: (tr("removing, and updating what stays"), tr("Update")),
    Stage.CORRECTION: (tr("correcting the weights that stay"), tr("Correction")),
    Stage.EVALUATION: (tr("evaluating"), tr("Evaluation")),
    Stage.EXPORT: (tr("writing the pruned model"), tr("Export")),
    Stage.VERIFICATION: (tr("checking what was written"), tr("Verification")),
    Stage.MEASUREMENT: (tr("measuring speed and memory"), tr("Measurement")),
    Stage.GENERATION: (tr("letting both models write"), tr("Generation")),
    Stage.COMPARISON: (
        tr("comparing what both models expect"),
        tr("Comparison"),
    ),
}

# What a stage counts, where "12 of 30" alone would say too little.
UNITS = {
    Stage.LOAD: tr("part"),
    Stage.TEXT: tr("part"),
    Stage.BASELINE: tr("batch"),
    Stage.CURVATURE: tr("step"),
    Stage.DAMPING: tr("step"),
    Stage.SELECTION: tr("layer"),
    Stage.UPDATE: tr("layer"),
    Stage.CORRECTION: tr("step"),
    Stage.EVALUATION: tr("batch"),
    Stage.EXPORT: tr("layer"),
    Stage.VERIFICATION: tr("batch"),
    Stage.MEASUREMENT: tr("turn"),
    Stage.GENERATION: tr("token"),
    Stage.COMPARISON: tr("stretch"),
}

FROM_LEVEL = {
    Level.INFO: tr("Everything"),
    Level.WARNING: tr("Warnings and errors"),
    Level.ERROR: tr("Errors"),
}
LEVELS = {
    Level.INFO: tr("Info"),
    Level.WARNING: tr("Warning"),
    Level.ERROR: tr("Error"),
}

ENGINE_CRASHED_HINT = tr(
    "The engine has been started again. If this was for want of memory, fewer or "
    "shorter windows or a smaller batch need less of it."
)
ENGINE_DOES_NOT_START_HINT = tr(
    "The details are the engine's last words. Running surgeon --version in a terminal "
    "shows whether the installation is complete."
)
ENGINE_CANNOT_START = tr("The engine cannot be started.")
ENGINE_MISSING = tr("There is no engine to do this.")
ENGINE_MISSING_HINT = tr("Close Surgeon and start it again.")
WINDOW_BUG = tr("Something went wrong in the window: {error}")
WINDOW_BUG_HINT = tr("A run under way is not affected. The details help to report it.")


def source_name(source: str) -> str:
    """A model or text by the name people know it by."""
    if source == DEMO:
        return BUNDLED_DEMO
    if source == BUILTIN_TEXT:
        return BUILT_IN_TEXT
    if (name := hub_name(source)) is not None:
        return name.display_name
    return Path(source).name or source
