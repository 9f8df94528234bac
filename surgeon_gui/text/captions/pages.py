"""The page New, its sections, the result, and where models and texts come from."""

from __future__ import annotations

from surgeon_gui.text.captions.caption import caption

MAX_RECENT_SHOWN = 4  # recent models on the first screen

CAPTIONS = {
    # the first screen
    "empty_demo_button": caption(
        "&Try the bundled demo",
        "Set up a run of a small model that comes with Surgeon.",
    ),
    "empty_folder_button": caption("Open folder…", "Choose the folder of a model."),
    "empty_gguf_button": caption("Open GGUF…", "Choose a .gguf file."),
    # New
    "model_change_button": caption("Change…", "Choose another model."),
    "model_details_button": caption(
        "Details", "All about this model: facts, layers, sensitivity."
    ),
    "details_back_button": caption("Back", "Go back to the page New."),
    "compare_back_button": caption("← Runs", "Show all runs."),
    "layers_back_button": caption("Back", "Go back to the run."),
    "use_sample_action": caption("Sample"),
    "size_curve": caption(
        "Expected quality by size",
        "Drag the handle, or use the arrow keys, to choose the size.",
    ),
    "size_unit_combo": caption("Unit", "Unit of the size."),
    "purpose_smaller_button": caption(
        "Smaller file",
        "Remove heads and neurons, or experts if the model has some, in a file like "
        "the original's.",
    ),
    "purpose_faster_button": caption(
        "Faster", "The same, with widths that every program computes fast."
    ),
    "purpose_text_button": caption(
        "My domain…", "Keep what your own text needs. Text files can also be dropped."
    ),
    "purpose_languages_button": caption(
        "Keep languages…",
        "Remove tokens of other languages from the vocabulary, where that costs less "
        "than parts of the blocks.",
    ),
    "languages_edit": caption(
        "Languages to keep",
        "Languages by their English names, scripts, or text files, separated by "
        "commas.",
    ),
    "domain_files_button": caption(
        "Choose files…", "Choose one or more texts, or one file of token ids."
    ),
    "plan_folder_button": caption("Folder of the result", "Choose another folder."),
    "quantize_only_button": caption(
        "Quantize only", "Write the whole model in fewer bits; remove nothing."
    ),
    "use_possible_button": caption("Use the nearest", "Use the nearest possible size."),
    "expert_button": caption("Expert", "Show or hide all settings."),
    "expert_reset_button": caption(
        "Reset",
        "Restore the default settings. Model, texts, size and purpose stay. Edit, Undo "
        "brings your settings back.",
    ),
    "expert_close_button": caption("Close", "Hide the settings."),
    "expert_search_edit": caption(
        "Find a setting",
        "Type a word of its name, help or choices, or a program such as LM Studio.",
    ),
    # sections of Expert
    "step_model_header": caption("Model", "Choose the model to prune."),
    "step_calibration_header": caption(
        "Calibration", "Choose the text for measuring the importance of each part."
    ),
    "step_target_header": caption("Target", "Choose what to prune and how much."),
    "step_run_header": caption("Run", "Choose the run folder; save or load a job."),
    "step_export_header": caption(
        "Export", "Choose folder and format of the pruned model."
    ),
    # Calibration
    "builtin_text_button": caption(
        "Use the built-in text", "Use the text that comes with Surgeon; works offline."
    ),
    "text_file_button": caption(
        "Choose file…",
        "A .txt, .jsonl, .csv or .parquet file, or token ids in a .npy file.",
    ),
    "validation_file_button": caption(
        "Choose file…", "Use a different text for measuring perplexity."
    ),
    "more_texts_table": caption(
        "Further texts",
        "The texts, their shares and windows. Double-click a share to change it.",
    ),
    "more_share_box": caption("Share", "Share of the calibration windows, in percent."),
    "more_file_button": caption(
        "Add file…", "Add a .txt, .jsonl, .csv or .parquet file."
    ),
    "more_builtin_button": caption(
        "Add built-in text", "Add the text that comes with Surgeon."
    ),
    "more_dataset_button": caption(
        "Add dataset…", "Add a dataset of the Hugging Face Hub."
    ),
    "more_remove_button": caption("Remove", "Remove the selected text."),
    "more_dataset_edit": caption(
        "Dataset, as organization/name",
        "Name or address of a dataset on the Hugging Face Hub.",
    ),
    "more_config_edit": caption(
        "Configuration (optional)",
        "Configuration of the dataset. Empty: its only or default one.",
    ),
    "more_split_edit": caption(
        "Split (optional)", "Split of the dataset. Empty: train, or the first split."
    ),
    "more_column_edit": caption(
        "Column (optional)",
        "Column of the dataset. Empty: text, chats, or the longest texts.",
    ),
    "more_keep_button": caption("Add", "Add this dataset."),
    "more_drop_button": caption("Cancel", "Add no dataset."),
    "preview_button": caption(
        "Preview", "Show the first windows and the amount of text."
    ),
    "preview_text": caption("Preview of the text", "The first windows, decoded."),
    # Target
    "quality_limit_combo": caption(
        "Unit of the quality limit",
        "Limit the increase of perplexity, or the KL to the original, which shows "
        "how far its predictions are from the original's.",
    ),
    # Run
    "run_parent_edit": caption("Runs folder", "Each run creates its own folder here."),
    "run_parent_button": caption("Choose…", "Choose the runs folder."),
    "save_job_button": caption(
        "Save job…", "Save these settings to a TOML file, to repeat the run."
    ),
    "load_job_button": caption("Load job…", "Load all settings from a TOML file."),
    "command_edit": caption(
        "Command", "Runs the same job without the window, for scripts and servers."
    ),
    "copy_command_button": caption("Copy", "Copy the command."),
    # presets
    "preset_combo": caption("Preset", "A named set of settings for this page."),
    "preset_save_button": caption("Save as…", "Save these settings as a preset."),
    "preset_more_button": caption("More", "Export, import or delete presets."),
    "preset_export_action": caption("&Export to file…"),
    "preset_import_action": caption("&Import from file…"),
    "preset_delete_action": caption("&Delete"),
    "preset_restore_button": caption("Restore", "Restore the deleted preset."),
    "preset_name_edit": caption("Preset name", "Name of the new preset."),
    "preset_keep_button": caption("Save", "Save the preset under this name."),
    "preset_drop_button": caption("Cancel", "Do not save a preset."),
    # protections
    "protect_choose_button": caption(
        "Choose layers…", "Show the layers of the model and select those to protect."
    ),
    "protect_tree": caption("Protected layers", "Checked layers are never pruned."),
    # the plan
    "fit_button": caption(
        "Use settings that fit",
        "Change as few settings as needed for the run to fit, starting with "
        "batch, number formats and windows.",
    ),
    # menus
    "undo_action": caption("&Undo"),
    "redo_action": caption("&Redo"),
    # Export
    "export_choose_button": caption(
        "Choose…", "Choose the folder for the pruned model."
    ),
    "export_replace_button": caption(
        "Replace…", "Allow the run to replace the export in this folder."
    ),
    "save_folder": caption(
        "Destination of the other format",
        "Folder for the other format. Empty: a folder in the run folder.",
    ),
    "save_choose_button": caption("Choose…", "Choose the folder for the other format."),
    "save_button": caption(
        "Save", "Write the pruned model in this format and verify it."
    ),
    "save_cancel_button": caption(
        "Cancel", "Cancel saving and delete the partial files."
    ),
    "open_saved_button": caption("Open folder", "Show the files of this format."),
    "measure_button": caption(
        "Measure speed",
        "Run the original and the pruned model in turns, each in its own process, "
        "and compare their speed.",
    ),
    "measure_cancel_button": caption("Cancel", "Cancel the measurement."),
    # question before an export is replaced
    "replace_yes_button": caption("Replace", "Replace the export with the new files."),
    "replace_other_button": caption("Choose another…", "Choose another folder."),
    "replace_cancel_button": caption("Cancel", "Keep the files."),
    "empty_sample_button": caption(
        "Try SmolLM2-135M-Instruct",
        "Set up a run of SmolLM2-135M-Instruct, quantized to 4 bits (Q4_1). It is "
        "downloaded if it is not on this computer.",
    ),
    "empty_hub_edit": caption(
        "Model on the Hub",
        "Name of a model on the Hugging Face Hub, or the URL of its page.",
    ),
    "empty_hub_button": caption(
        "Look up", "Choose this model. Nothing is downloaded without your consent."
    ),
    **{
        f"empty_recent_button_{number}": caption(
            "Recent model", "Choose this recent model."
        )
        for number in range(1, MAX_RECENT_SHOWN + 1)
    },
    "search_edit": caption(
        "Words", "Words in the name of a model, such as smollm 135m"
    ),
    "search_list": caption("Models", "The models that were found. Enter chooses one."),
    "search_choose_button": caption(
        "Choose", "Choose this model. Nothing is downloaded yet."
    ),
    "search_close_button": caption("Close", "Close without a choice."),
    "download_button": caption(
        "Download", "Download the required files of the model from the Hub."
    ),
    "download_cancel_button": caption(
        "Cancel download", "Cancel the download; the files so far are kept."
    ),
    "window_back_button": caption("Previous", "Show the previous window."),
    "window_on_button": caption("Next", "Show the next window."),
    "window_jump_button": caption(
        "To validation", "Switch between calibration and validation text."
    ),
}
