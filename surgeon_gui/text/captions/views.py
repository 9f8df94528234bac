"""The charts, the live numbers, the diagnosis and the playground."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import caption

EXAMPLES_SHOWN = 3  # prompts in the playground

_PLOTS = (
    "perplexity",
    "costs",
    "recovery",
    "memory",
    "times",
    "compare_size",
)
_CHARTS = (
    *_PLOTS,
    "sparsity",
    "experts",
    "measured_experts",
    "sensitivity",
    "planned",
    "architecture",
    "compare_files",
)
_CONTROLS = {
    "more": caption("More", "Enlarge or zoom this, or save it as PNG, SVG or CSV."),
    "return": caption("Back", "Show the other charts again (Esc)."),
}

_RESET = caption(
    "Reset zoom", "Show everything again, as a double click on the plot does."
)

_EXPERTS_MEASURE = caption(
    "Value", "Show what the removal of experts costs, or how many tokens they get."
)

_CHART_CAPTIONS = {
    f"{chart}_{name}_button": caption
    for chart in _CHARTS
    for name, caption in _CONTROLS.items()
} | {f"{chart}_reset_button": _RESET for chart in _PLOTS}

# The page of a run.
_RUN_CAPTIONS = {
    "run_back_button": caption("← Runs", "Show all runs."),
    "run_resume_button": caption(
        "Resume", "Go on with the run from its last saved state."
    ),
    "run_again_button": caption(
        "Start again…", "Set up a run with the settings of this one."
    ),
    "run_gentler_button": caption(
        "Ge&ntler", "Set up the same run with a target that removes less."
    ),
    "run_smaller_button": caption(
        "S&maller", "Set up the same run with a target that leaves a smaller model."
    ),
    "run_file_button": caption("Path of the result", "Open its folder."),
    "run_folder_button": caption("&Open folder", "Show the files of the run."),
    "run_copy_button": caption(
        "Copy &path", "Copy the path of the model, for another program."
    ),
    "run_lm_studio_button": caption(
        "Copy to &LM Studio", "Add the file to the models of LM Studio."
    ),
    "copy_path_action": caption("Path of the file"),
    "copy_modelfile_action": caption("For Ollama, as a line of a Modelfile"),
    "run_try_button": caption(
        "&Try it", "Generate text with the original and the pruned model."
    ),
    "run_course_link": caption(
        "Course of the run", "Show or hide the parts of the run and its charts."
    ),
    "run_layers_link": caption("Layers", "Show every layer before and after pruning."),
    "run_report_link": caption("Report", "Show or hide all figures of the result."),
    "run_save_link": caption(
        "Save in another format", "Write the pruned model in another format."
    ),
    "run_settings_link": caption(
        "Settings of this run", "Show or hide the settings of the run."
    ),
    "run_discard_link": caption("Discard…", "Move the run and its files to the trash."),
    "copy_settings_button": caption(
        "Use these settings", "Copy the settings of this run to the next one."
    ),
    "judge_button": caption(
        "Judge this file",
        "Compare the file with the original on tests, texts and prompts.",
    ),
    "judge_prompts_button": caption(
        "With your prompts…",
        "Judge with prompts of your own, too: a file with one in each line, or .jsonl.",
    ),
    "judge_cancel_button": caption("Stop", "Stop judging the file."),
    "more_answers_button": caption("More", "Show the other answers."),
}

CAPTIONS = {
    **_CHART_CAPTIONS,
    **_RUN_CAPTIONS,
    # a run
    "pause_button": caption(
        "&Pause",
        "Pause the run at the next safe point. The model stays in memory and "
        "nothing is lost (Ctrl+P).",
    ),
    "resume_button": caption("Resu&me", "Resume the paused run (Ctrl+P)."),
    "pause_action": caption("&Pause"),
    # live charts
    "perplexity_measure_combo": caption(
        "Measure",
        "Fidelity compares the model with the original: KL is 0 if both predict "
        "the same. Perplexity is the exponential of the loss.",
    ),
    "costs_measure_combo": caption("Quantity", "Count removed weights, or removals."),
    "experts_measure_combo": _EXPERTS_MEASURE,
    "measured_experts_measure_combo": _EXPERTS_MEASURE,
    "more_charts_button": caption(
        "More charts", "Show costs, recovery, memory and times, or hide them."
    ),
    "diagnose_button": caption(
        "Measure this model",
        "Measure the cost of removing each part of the model, without pruning "
        "anything.",
    ),
    "diagnose_cancel_button": caption("Cancel", "Cancel the measurement."),
    "sensitivity_share_combo": caption(
        "Remove the cheapest",
        "Share that is removed from one part at a time, for the map below.",
    ),
    "architecture_tree": caption(
        "Layers", "All blocks and their layers, before and after pruning."
    ),
    "architecture_source_combo": caption(
        "Show", "Show the widths of the run or of the plan."
    ),
    "protect_layer_button": caption("Protect", "Protect this layer in the next run."),
    "unprotect_layer_button": caption("Unprotect", "Allow pruning this layer again."),
    "protect_block_button": caption(
        "Protect block", "Protect all layers of the block in the next run."
    ),
    "unprotect_block_button": caption(
        "Unprotect block", "Allow pruning the block again."
    ),
    "limit_layer_button": caption(
        "Set minimum",
        "Set the minimum density of this layer for the next run; 0 % removes it.",
    ),
    "limit_layer_spin": caption(
        "Minimum density", "Share of its weights that this layer keeps."
    ),
    "protect_layer_action": caption("Protect or unprotect this layer"),
    "protect_block_action": caption("Protect this block"),
    "limit_half_action": caption("Keep at least half"),
    "free_layer_action": caption("Remove protection and minimum"),
    "playground_prompt": caption(
        "Prompt", "Start of both texts. Press Ctrl+Return to generate."
    ),
    **{
        f"playground_example_button_{number}": caption(
            "Example", "Continue this prompt with both models."
        )
        for number in range(1, EXAMPLES_SHOWN + 1)
    },
    "playground_seed": caption(
        "Seed", "The same seed gives the same texts. Both models use the same seed."
    ),
    "playground_new_seed_button": caption("New seed", "Draw a new random seed."),
    "playground_temperature": caption(
        "Temperature",
        "Randomness of sampling. 0: always the most likely token, regardless of "
        "the seed. 1: the probabilities of the model.",
    ),
    "playground_top_p": caption(
        "Top-p",
        "Sample only from the most likely tokens whose probabilities add up to "
        "this value. 1: all tokens.",
    ),
    "playground_length": caption("Length", "Maximum number of tokens to generate."),
    "playground_chat_check": caption(
        "As a chat message",
        "Wrap the prompt in the chat template of the original model.",
    ),
    "playground_generate_button": caption(
        "Generate", "Generate with both models in turns (Ctrl+Return)."
    ),
    "playground_stop_button": caption(
        "Stop", "Stop and compare the text so far. Press again to stop immediately."
    ),
    "playground_run_button": caption(
        "Use the run's models", "Compare the original and the export of the shown run."
    ),
    "playground_original_button": caption(
        "Choose original", "Choose the original model to compare with."
    ),
    "playground_original_demo_action": caption("Bundled demo"),
    "playground_original_folder_action": caption("Model folder…"),
    "playground_original_gguf_action": caption("GGUF file…"),
    "playground_pruned_button": caption(
        "Choose pruned", "Choose a pruned model or the folder of a finished run."
    ),
    "playground_pruned_folder_action": caption("Checkpoint or run folder…"),
    "playground_pruned_gguf_action": caption("GGUF file…"),
    "playground_original_text": caption(
        "Text of the original", "The prompt and the text of the original."
    ),
    "playground_pruned_text": caption(
        "Text of the pruned model", "The prompt and the text of the pruned model."
    ),
    "playground_original_copy_button": caption(
        "Copy", "Copy the prompt and the text of the original."
    ),
    "playground_pruned_copy_button": caption(
        "Copy", "Copy the prompt and the text of the pruned model."
    ),
    "playground_differences": caption(
        "Largest differences", "Select a line to highlight its token in the text."
    ),
}

# Explanation of a perplexity below the original's.
BELOW_ORIGINAL = tr(
    "The pruned model is closer to the calibration text than the original, not better: "
    "it has specialized. Fidelity shows how far it is from the original."
)

# Explanations of tiles and charts, by name.
MEANINGS = {
    "quality": tr(
        "Quality on held-out text. Fidelity: KL to the original, and the share of "
        "same top tokens, for each text. Perplexity and loss: on the calibration text."
    ),
    "recovery": tr(
        "KL to the original on held-out windows of calibration and general text, "
        "before recovery, before the training of the whole model and during it."
    ),
    "parameters": tr("Number of parameters of the model, before and after pruning."),
    "sparsity": tr("Share of the prunable weights that has been removed."),
    "damping": tr(
        "Damping is added to the measured curvature to prevent overfitting to the "
        "calibration text. Loss is in nats per token."
    ),
    "costs": tr(
        "Cost of each removal. For LLM Surgeon and the OBD methods, it is the "
        "predicted increase in loss, by default per removed weight (Cost basis in "
        "Expert, Target). The cheapest parts are removed until the target is reached; "
        "the highest cost among them is the threshold."
    ),
    "experts": tr(
        "A row for each block with its experts: what the removal of each costs, or the "
        "share of the calibration tokens that are routed to it. Outlines are removed "
        "experts."
    ),
    "memory": tr("Memory of the engine process, and of its tensors on a GPU."),
    "times": tr("Time spent on curvature, selection, updates and evaluation."),
}
