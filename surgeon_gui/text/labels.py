"""Labels, units and tooltips of settings, and names of stages and log levels.

`choices.py` has the names of choices, `captions/` the labels of all other controls.
Sentences about a state are in `surgeon_gui/state`.
"""

from __future__ import annotations

from pathlib import Path

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, TEXT_NAMES
from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import NAMES, SAME_WIDTHS, Widths
from surgeon_engine.api.config.run import ON_CPU, Device
from surgeon_engine.api.messages.events import Level
from surgeon_engine.api.messages.run import ACTIVITIES, Stage
from surgeon_engine.api.model_info.source_names import DEMO, hub_name
from surgeon_engine.base.formatting import size_units
from surgeon_engine.base.sentences import reworded, use_names
from surgeon_gui.base.translation import tr
from surgeon_gui.text import source_fields
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.field_text import FieldText

APPLICATION = "Surgeon"
BUNDLED_DEMO = tr("Bundled demo")
BUILT_IN_TEXT = reworded(TEXT_NAMES[BUILTIN_TEXT])
(_MEGABYTE, _MEGABYTE_NAME), (_GIGABYTE, _GIGABYTE_NAME) = size_units()


FIELDS = {
    **source_fields.FIELDS,
    "pruning.structure": FieldText(
        "What to prune", "Parts of the model that are removed as a unit."
    ),
    "pruning.pattern": FieldText(
        "Pattern",
        "Number of weights to keep of each group of consecutive weights in a row.",
    ),
    "pruning.method": FieldText(
        "Method",
        "How the cost of each removal is estimated, and whether the remaining "
        "weights are updated to compensate.",
    ),
    "pruning.target": FieldText(
        "Target",
        "Unit of the pruning target. Changing the unit converts the value and "
        "keeps the target.",
    ),
    "pruning.sparsity": FieldText(
        "Sparsity",
        "Share to remove: of the prunable weights or of all parameters, depending "
        "on the target.",
        "%",
        decimals=2,
        is_share=True,
    ),
    "pruning.million_parameters": FieldText(
        "Parameters",
        "Number of parameters that the whole model keeps, in millions.",
        "M",
    ),
    "pruning.megabytes": FieldText(
        "Size of the file",
        "Size of the remaining parameters in the number format of the export "
        "(Expert, Export).",
        _MEGABYTE_NAME,
        unit_bytes=_MEGABYTE,
        stored_bytes=10**6,
    ),
    "pruning.memory_gigabytes": FieldText(
        "Memory",
        "Memory in which the pruned model runs: the weights in the number format "
        "of the export (Expert, Export), keys and values of the context in 16 bits, "
        "and the buffers of 512 tokens. Your programs and screen need some on top.",
        _GIGABYTE_NAME,
        unit_bytes=_GIGABYTE,
        stored_bytes=10**9,
    ),
    "pruning.context": FieldText(
        "Context",
        "Length of prompt and answer together, for the memory to run it.",
        tr("tokens"),
        unit_of_one=tr("token"),
    ),
    "pruning.vocabulary": FieldText(
        "Vocabulary",
        "Whether tokens are removed from the vocabulary, before anything else. They "
        "count toward the target. A removed token is split into others, so no text is "
        "lost, but some texts get longer.",
    ),
    "pruning.vocabulary_tokens": FieldText(
        "Tokens",
        "Number of tokens to keep. The rarest ones are removed; bytes, digits and "
        "special tokens are not.",
        tr("tokens"),
    ),
    "pruning.kept_texts": FieldText(
        "Keep",
        "What keeps all its tokens, separated by commas: languages by their English "
        "names, scripts such as Cyrillic or Emoji, or text files.",
        example=tr("e.g. English, German, words.txt"),
    ),
    "pruning.max_perplexity_increase": FieldText(
        "Quality limit",
        "Maximum increase in perplexity over the original. A shot that exceeds it, "
        "even after recovery, is rolled back and retried in smaller steps. If no "
        "step stays within the limit, the run ends before the target is reached.",
        "%",
        decimals=1,
        minimum_text=tr("No limit"),
    ),
    "pruning.max_divergence": FieldText(
        "Quality limit (KL)",
        "Maximum KL to the original on held-out calibration text, in nats per "
        "token: 0.1 is hard to tell from the original, 0.5 is clearly another "
        "text. A shot that exceeds it, even after recovery, is rolled back and "
        "retried in smaller steps.",
        tr("nats"),
        unit_of_one=tr("nat"),
        decimals=3,
        minimum_text=tr("No limit"),
    ),
    "pruning.shots": FieldText(
        "Shots",
        "Number of rounds of measuring and removing. More shots preserve more "
        "quality and take proportionally longer.",
        tr("shots"),
        unit_of_one=tr("shot"),
    ),
    "pruning.width_multiple": FieldText(
        "Width multiple",
        "The remaining MLP width of each pruned layer is a multiple of this "
        "number. Automatic: 32 or 256 where the number format of the export has "
        "blocks of so many weights, 8 on an NVIDIA GPU, otherwise any width. Some "
        "GPUs are fastest with multiples of 64.",
        minimum_text=tr("Automatic"),
    ),
    "pruning.widths": FieldText(
        "Widths",
        "Whether the costs decide how many heads, neurons or experts each layer loses, "
        "or all layers lose the same number. Equal widths lose more quality, but "
        "every program that supports the architecture loads the file without extra "
        "code.",
    ),
    "pruning.dropped_blocks": FieldText(
        "Whole blocks",
        "Number of blocks that are removed as a whole; heads and neurons of the "
        "others make up the rest of the target. Those go whose absence changes the "
        "predictions least on held-out text. Fewer blocks save time for each token "
        "and memory for the context.",
        minimum_text=tr("None"),
    ),
    "pruning.dropped_sublayers": FieldText(
        "Attentions and MLPs",
        "Number of attentions and MLPs that are removed as a whole after the "
        "blocks, at most one of each block. They are chosen as blocks are. Plain "
        "files for transformers cannot hold such models; compact and GGUF files "
        "can.",
        minimum_text=tr("None"),
    ),
    "pruning.protect": FieldText(
        "Protect",
        "Layers that are never pruned, separated by commas: names, kinds such as "
        "mlp.down_proj, or blocks such as block 0. * matches anything. Heads and "
        "neurons are protected if any of their layers is; experts are one layer, such "
        "as mlp.experts.",
        example=tr("e.g. block 0, *.down_proj"),
    ),
    "pruning.min_density": FieldText(
        "Minimum density",
        "Share of weights that every layer keeps, however low their costs. 0 %: "
        "all but the last row, column or group may be removed.",
        "%",
        decimals=1,
        is_share=True,
    ),
    "pruning.layer_min_density": FieldText(
        "Minimum per layer",
        "Layers with a higher minimum density, from 0 to 1, separated by commas: "
        "block 3=0.5 keeps at least half of each layer of block 3. If several "
        "match, the highest applies. Heads and neurons keep the highest minimum of "
        "their layers.",
        example=tr("e.g. block 3=0.5"),
    ),
    "pruning.schedule": FieldText(
        "Schedule", "How the target is distributed over the shots."
    ),
    "pruning.fisher": FieldText(
        "Fisher information",
        "Next tokens for which the gradients are computed: the text's own, or "
        "samples from the model.",
    ),
    "pruning.cost_basis": FieldText(
        "Cost basis", "How the costs of possible removals are compared."
    ),
    "pruning.update": FieldText(
        "Weight update", "How the remaining weights compensate for the removed ones."
    ),
    "pruning.max_correlated": FieldText(
        "Joint update size",
        "Number of removed weights of a layer that are compensated for together. A "
        "larger number preserves more quality and needs more time and memory.",
        tr("weights"),
        unit_of_one=tr("weight"),
        minimum_text=tr("All of a layer"),
    ),
    "pruning.damping": FieldText(
        "Damping",
        "Damping of the measured curvature, for costs and for the update: searched "
        "on held-out windows, or fixed to the values below.",
    ),
    "pruning.cost_damping": FieldText(
        "Cost damping",
        "Amount added to the diagonal of the curvature before costs are computed, "
        "as a multiple of its mean eigenvalue. Increase it for little calibration "
        "text. Used if Damping is Fixed, and by SparseGPT.",
        tr("\N{MULTIPLICATION SIGN} mean"),
    ),
    "pruning.update_damping": FieldText(
        "Update damping",
        "The same for the weight update. Larger values change the remaining "
        "weights less. Used if Damping is Fixed.",
        tr("\N{MULTIPLICATION SIGN} mean"),
    ),
    "recovery.level": FieldText(
        "Recovery",
        "How the remaining weights make up for the removed ones after the last "
        "shot. The result is never further from the original than before.",
    ),
    "recovery.general_windows": FieldText(
        "General text",
        "Number of windows that are used beside your text, so that the model does not "
        "specialize in it. The original model writes a half, which is kept, or an "
        "eighth in the training. The rest is of many kinds and comes with Surgeon.",
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "recovery.epochs": FieldText(
        "Epochs",
        "How long the training lasts. An epoch reads as many windows as the refit: new "
        "ones of your text and of general text, while there are any. The training ends "
        "early when nothing more is gained.",
    ),
    "recovery.minutes": FieldText(
        "Training time",
        "How long the training lasts. It reads new windows of your text and of general "
        "text, while there are any. It ends early when nothing more is gained. "
        "Automatic recovery trains only if a quarter of an epoch fits into this time. "
        "With a time, results depend on the speed of the machine.",
        tr("min"),
        minimum_text=tr("By epochs"),
    ),
    "recovery.trained_weights": FieldText(
        "Trained weights", "What the distillation trains."
    ),
    "recovery.lora_rank": FieldText(
        "Rank of the adapters",
        "A larger rank comes closer to the original and needs more memory.",
    ),
    "recovery.gradient_checkpointing": FieldText(
        "Gradient checkpointing",
        "Whether the training computes the activations of a block again instead of "
        "keeping them.",
    ),
    "export.folder": FieldText(
        "Destination",
        "Folder for the pruned model. Existing content is replaced only if you "
        "confirm it. Empty: a folder named export in the run folder.",
    ),
    "export.format": FieldText(
        "Format", "File format of the pruned model; decides which programs can load it."
    ),
    "export.dtype": FieldText(
        "Number format",
        "Bits per weight in the file. Fewer bits make the file smaller and "
        "slightly less exact.",
    ),
    "export.shard_gigabytes": FieldText(
        "Maximum file size",
        "Larger weights are split over several files. For transformers only; other "
        "formats are a single file.",
        _GIGABYTE_NAME,
        decimals=3,
        unit_bytes=_GIGABYTE,
        stored_bytes=10**9,
    ),
    "samples.after_shots": FieldText(
        "Write a sample after each shot",
        "After each shot, the model continues the prompt by 32 tokens. The page of "
        "the run shows the text beside the original's. The result stays the same.",
    ),
    "samples.prompt": FieldText(
        "Prompt", "Beginning of a text that both models continue."
    ),
    "export.save_progress": FieldText(
        "Save the progress",
        "Keeps what the run has achieved in its folder, so that it can go on after "
        "an interruption. The files are deleted when the run is complete.",
    ),
}

# The two numbers of `pruning.pattern`.
PATTERN = {
    "kept": FieldText(
        "Keep",
        "Number of weights to keep in each group: the 2 of 2:4.",
        tr("weights"),
        unit_of_one=tr("weight"),
    ),
    "of": FieldText(
        "Of every",
        "Number of consecutive weights of a row that form a group: the 4 of 2:4. "
        "GPUs that support a pattern support 2:4.",
        tr("weights"),
        unit_of_one=tr("weight"),
    ),
}

# Names of the stages of a run, as an activity and as a noun.
STAGES = {
    stage: (tr(ACTIVITIES[stage]), name)
    for stage, name in {
        Stage.LOAD: tr("Load"),
        Stage.TEXT: tr("Text"),
        Stage.BASELINE: tr("Baseline"),
        Stage.VOCABULARY: tr("Vocabulary"),
        Stage.DEPTH: tr("Whole blocks"),
        Stage.CURVATURE: tr("Measuring"),
        Stage.DAMPING: tr("Damping"),
        Stage.SELECTION: tr("Selection"),
        Stage.UPDATE: tr("Update"),
        Stage.SAMPLING: tr("Own text"),
        Stage.REFERENCE: tr("Reference"),
        Stage.REFIT: tr("Refit"),
        Stage.RECONSTRUCTION: tr("Reconstruction"),
        Stage.DISTILLATION: tr("Distillation"),
        Stage.EVALUATION: tr("Evaluation"),
        Stage.EXPORT: tr("Export"),
        Stage.VERIFICATION: tr("Verification"),
        Stage.MEASUREMENT: tr("Measurement"),
        Stage.GENERATION: tr("Generation"),
        Stage.COMPARISON: tr("Comparison"),
    }.items()
}

# What a stage counts, as in "layer 12 of 30".
UNITS = {
    Stage.LOAD: tr("part"),
    Stage.TEXT: tr("part"),
    Stage.BASELINE: tr("batch"),
    Stage.VOCABULARY: tr("batch"),
    Stage.DEPTH: tr("step"),
    Stage.CURVATURE: tr("step"),
    Stage.DAMPING: tr("trial"),
    Stage.SELECTION: tr("layer"),
    Stage.UPDATE: tr("layer"),
    Stage.SAMPLING: tr("token"),
    Stage.REFERENCE: tr("batch"),
    Stage.REFIT: tr("block"),
    Stage.RECONSTRUCTION: tr("block"),
    Stage.DISTILLATION: tr("step"),
    Stage.EVALUATION: tr("batch"),
    Stage.EXPORT: tr("layer"),
    Stage.VERIFICATION: tr("batch"),
    Stage.MEASUREMENT: tr("turn"),
    Stage.GENERATION: tr("token"),
    Stage.COMPARISON: tr("chunk"),
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
    "The engine has been restarted. If it ran out of memory, use fewer or shorter "
    "windows or a smaller batch."
)
ENGINE_DOES_NOT_START_HINT = tr(
    "The details show the last output of the engine. Run surgeon --version in a "
    "terminal to check that the installation is complete."
)
ENGINE_CANNOT_START = tr("The engine cannot be started.")
ENGINE_MISSING = tr("The engine is not available.")
ENGINE_MISSING_HINT = tr("Restart Surgeon.")
WINDOW_BUG = tr("Internal error in the window: {error}")
WINDOW_BUG_HINT = tr(
    "A run in progress is not affected. Include the details in a bug report."
)


def name_settings() -> None:
    """Let the engine's sentences show names of choices and labels of settings."""
    quote = tr("“{prompt}”")
    labels = {name: quote.format(prompt=text.label) for name, text in FIELDS.items()}
    for line, choice in ((SAME_WIDTHS, Widths.SAME), (ON_CPU, Device.CPU)):
        setting = labels[line.partition(" = ")[0]]
        label = quote.format(prompt=choice_label(choice).label)
        labels[line] = f"{setting}: {label}"
    formats = {each.value: choice_label(each).label for each in Format}
    switches = {"true": tr("Yes"), "false": tr("No")}
    use_names(NAMES | TEXT_NAMES | formats | switches | labels)


def source_name(source: str) -> str:
    """Return the display name of a model or text."""
    if source == DEMO:
        return BUNDLED_DEMO
    if source == BUILTIN_TEXT:
        return BUILT_IN_TEXT
    if (name := hub_name(source)) is not None:
        return name.display_name
    return Path(source).name or source


def beginning_note(beginning: str) -> str:
    """Return how each window begins, as the end of a protocol; empty if as the text."""
    if not beginning:
        return ""
    return tr(", each begins with {beginning}").format(beginning=beginning)
