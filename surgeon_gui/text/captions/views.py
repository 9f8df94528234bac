"""The charts, the live numbers, the diagnosis and the playground."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

_PLOTS = (
    "perplexity",
    "costs",
    "recovery",
    "memory",
    "times",
    "forecast",
    "compare_curves",
    "compare_size",
)
_CHARTS = (
    *_PLOTS,
    "sparsity",
    "sensitivity",
    "planned",
    "architecture",
    "compare_ladder",
    "compare_figures",
    "compare_settings",
)
_CONTROLS = {
    "more": Caption(
        tr("More"), tr("Enlarge or zoom this, or save it as PNG, SVG or CSV.")
    ),
    "return": Caption(tr("Back"), tr("Show the other charts again (Esc).")),
}

_RESET = Caption(
    tr("Reset zoom"), tr("Show everything again, as a double click on the plot does.")
)

_CHART_CAPTIONS = {
    f"{chart}_{name}_button": caption
    for chart in _CHARTS
    for name, caption in _CONTROLS.items()
} | {f"{chart}_reset_button": _RESET for chart in _PLOTS}

CAPTIONS = {
    **_CHART_CAPTIONS,
    # the strip at the bottom
    "pause_button": Caption(
        tr("&Pause"),
        tr(
            "Pause the run at the next safe point. The model stays in memory and "
            "nothing is lost (Ctrl+P)."
        ),
    ),
    "resume_button": Caption(tr("Resu&me"), tr("Resume the paused run (Ctrl+P).")),
    "pause_action": Caption(tr("&Pause"), ""),
    # live charts
    "perplexity_measure_combo": Caption(
        tr("Measure"),
        tr(
            "Fidelity compares the model with the original: KL is 0 if both predict "
            "the same. Perplexity is the exponential of the loss."
        ),
    ),
    "perplexity_log_button": Caption(
        tr("Log scale"), tr("Use a logarithmic vertical axis.")
    ),
    "costs_measure_combo": Caption(
        tr("Quantity"),
        tr(
            "Count removed weights, or removals; or show the recovery in place of the "
            "costs."
        ),
    ),
    "recovery_costs_button": Caption(
        tr("Costs"), tr("Show the costs in place of the recovery.")
    ),
    "diagnosis_tab": Caption(
        tr("Diagnosis"), tr("Cost of removing each part, and quality at each size.")
    ),
    "diagnose_button": Caption(
        tr("Diagnose"),
        tr(
            "Measure the cost of removing each part of the model, without pruning "
            "anything."
        ),
    ),
    "diagnose_cancel_button": Caption(tr("Cancel"), tr("Cancel the diagnosis.")),
    "target_diagnose_button": Caption(
        tr("Diagnose…"),
        tr(
            "Measure the cost of removing each part once, then try out targets before "
            "pruning."
        ),
    ),
    "sensitivity_share_combo": Caption(
        tr("Remove the cheapest"),
        tr("Share that is removed from one part at a time, for the map below."),
    ),
    "architecture_tab": Caption(
        tr("Architecture"),
        tr("Every layer before and after pruning, and why it was pruned."),
    ),
    "architecture_tree": Caption(
        tr("Layers"), tr("All blocks and their layers, before and after pruning.")
    ),
    "architecture_source_combo": Caption(
        tr("Show"), tr("Show the widths of the run or of the plan.")
    ),
    "protect_layer_button": Caption(
        tr("Protect"), tr("Protect this layer in the next run.")
    ),
    "unprotect_layer_button": Caption(
        tr("Unprotect"), tr("Allow pruning this layer again.")
    ),
    "protect_block_button": Caption(
        tr("Protect block"), tr("Protect all layers of the block in the next run.")
    ),
    "unprotect_block_button": Caption(
        tr("Unprotect block"), tr("Allow pruning the block again.")
    ),
    "limit_layer_button": Caption(
        tr("Set minimum"),
        tr("Set the minimum density of this layer for the next run; 0 % removes it."),
    ),
    "limit_layer_spin": Caption(
        tr("Minimum density"), tr("Share of its weights that this layer keeps.")
    ),
    "protect_layer_action": Caption(tr("Protect or unprotect this layer"), ""),
    "protect_block_action": Caption(tr("Protect this block"), ""),
    "limit_half_action": Caption(tr("Keep at least half"), ""),
    "free_layer_action": Caption(tr("Remove protection and minimum"), ""),
    "playground_tab": Caption(
        tr("Playground"),
        tr("Generate text with the original and the pruned model."),
    ),
    "playground_prompt": Caption(
        tr("Prompt"),
        tr("Start of both texts. Press Ctrl+Return to generate."),
    ),
    "playground_examples_combo": Caption(tr("Examples"), tr("Example prompts.")),
    "playground_seed": Caption(
        tr("Seed"),
        tr("The same seed gives the same texts. Both models use the same seed."),
    ),
    "playground_new_seed_button": Caption(
        tr("New seed"), tr("Draw a new random seed.")
    ),
    "playground_temperature": Caption(
        tr("Temperature"),
        tr(
            "Randomness of sampling. 0: always the most likely token, regardless of "
            "the seed. 1: the probabilities of the model."
        ),
    ),
    "playground_top_p": Caption(
        tr("Top-p"),
        tr(
            "Sample only from the most likely tokens whose probabilities add up to "
            "this value. 1: all tokens."
        ),
    ),
    "playground_length": Caption(
        tr("Length"), tr("Maximum number of tokens to generate.")
    ),
    "playground_chat_check": Caption(
        tr("As a chat message"),
        tr("Wrap the prompt in the chat template of the original model."),
    ),
    "playground_generate_button": Caption(
        tr("Generate"), tr("Generate with both models in turns (Ctrl+Return).")
    ),
    "playground_stop_button": Caption(
        tr("Stop"),
        tr("Stop and compare the text so far. Press again to stop immediately."),
    ),
    "playground_run_button": Caption(
        tr("Use the run's models"),
        tr("Compare the original and the export of the shown run."),
    ),
    "playground_original_button": Caption(
        tr("Choose original"),
        tr("Choose the original model to compare with."),
    ),
    "playground_original_demo_action": Caption(tr("Bundled demo"), ""),
    "playground_original_folder_action": Caption(tr("Model folder…"), ""),
    "playground_original_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_pruned_button": Caption(
        tr("Choose pruned"),
        tr("Choose a pruned model or the folder of a finished run."),
    ),
    "playground_pruned_folder_action": Caption(tr("Checkpoint or run folder…"), ""),
    "playground_pruned_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_original_text": Caption(
        tr("Text of the original"), tr("The prompt and the text of the original.")
    ),
    "playground_pruned_text": Caption(
        tr("Text of the pruned model"),
        tr("The prompt and the text of the pruned model."),
    ),
    "playground_original_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the text of the original.")
    ),
    "playground_pruned_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the text of the pruned model.")
    ),
    "playground_differences": Caption(
        tr("Largest differences"),
        tr("Select a line to highlight its token in the text."),
    ),
}

# Explanation of a perplexity below the original's.
BELOW_ORIGINAL = tr(
    "The pruned model is closer to the calibration text than the original, not better: "
    "it has specialised. Fidelity shows how far it is from the original."
)

# Explanations of tiles and charts, by name.
MEANINGS = {
    "fidelity": tr(
        "How closely the pruned model follows the original on held-out text. KL "
        "measures how far its predictions are from the original's, in nats per token: "
        "0 if both predict the same. Same top token is the share of tokens that both "
        "find most likely. In brackets: 95 % intervals. Usual for a default run of "
        "SmolLM2-135M: a KL of 0.12 with 10 % removed, 0.43 with 30 % and 0.80 with "
        "50 %."
    ),
    "perplexity": tr(
        "How well the model predicts held-out calibration text: the exponential of the "
        "mean loss per token. Lower means closer to this text, not closer to the "
        "original."
    ),
    "quality": tr(
        "Quality on held-out text. Fidelity: KL to the original, and the share of "
        "same top tokens, for each text. Perplexity and loss: on the calibration text."
    ),
    "recovery": tr(
        "KL to the original on held-out windows of calibration text and own text, "
        "before recovery, before the training of the whole model and during it."
    ),
    "parameters": tr("Number of parameters of the model, before and after pruning."),
    "sparsity": tr("Share of the prunable weights that has been removed."),
    "time": tr("Time since the start, without pauses."),
    "damping": tr(
        "Damping is added to the measured curvature to prevent overfitting to the "
        "calibration text. Loss is in nats per token."
    ),
    "costs": tr(
        "Cost of each removal. For LLM Surgeon and the OBD methods, it is the "
        "predicted increase in loss, by default per removed weight (Cost basis in step "
        "3). The cheapest parts are removed until the target is reached; the highest "
        "cost among them is the threshold."
    ),
    "memory": tr("Memory of the engine process, and of its tensors on a GPU."),
    "times": tr("Time spent on curvature, selection, updates and evaluation."),
}
