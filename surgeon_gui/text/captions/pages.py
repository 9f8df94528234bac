"""The steps, the result, and where models and texts come from."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

MAX_RECENT_SHOWN = 4  # recent models on the first screen

CAPTIONS = {
    # the first screen
    "empty_demo_button": Caption(
        tr("&Try the bundled demo"),
        tr("Set up a run of a small model that comes with Surgeon."),
    ),
    "empty_folder_button": Caption(
        tr("Open folder…"), tr("Choose the folder of a model.")
    ),
    "empty_gguf_button": Caption(tr("Open GGUF…"), tr("Choose a .gguf file.")),
    # steps
    "step_model_header": Caption(tr("Model"), tr("Choose the model to prune.")),
    "step_calibration_header": Caption(
        tr("Calibration"),
        tr("Choose the text for measuring the importance of each part."),
    ),
    "step_target_header": Caption(
        tr("Target"), tr("Choose what to prune and how much.")
    ),
    "step_run_header": Caption(
        tr("Run"), tr("Choose the run folder; save or load a job.")
    ),
    "step_export_header": Caption(
        tr("Export"),
        tr("Choose folder and format of the pruned model, and see the result."),
    ),
    # 1 Model
    "open_folder_button": Caption(
        tr("Open folder…"),
        tr("Choose a folder with config.json and safetensors files (Ctrl+O)."),
    ),
    "open_gguf_button": Caption(tr("Open GGUF…"), tr("Choose a .gguf file.")),
    "use_demo_button": Caption(
        tr("Bundled demo"), tr("Use the small model that comes with Surgeon.")
    ),
    "recent_models_combo": Caption(tr("Recent models"), tr("Recently opened models.")),
    # 2 Calibration
    "builtin_text_button": Caption(
        tr("Use the built-in text"),
        tr("Use the text that comes with Surgeon; works offline."),
    ),
    "text_file_button": Caption(
        tr("Choose file…"),
        tr("A .txt, .jsonl, .csv or .parquet file, or token ids in a .npy file."),
    ),
    "validation_file_button": Caption(
        tr("Choose file…"), tr("Use a different text for measuring perplexity.")
    ),
    "more_texts_table": Caption(
        tr("Further texts"),
        tr("The texts, their shares and windows. Double-click a share to change it."),
    ),
    "more_share_box": Caption(
        tr("Share"), tr("Share of the calibration windows, in percent.")
    ),
    "more_file_button": Caption(
        tr("Add file…"), tr("Add a .txt, .jsonl, .csv or .parquet file.")
    ),
    "more_builtin_button": Caption(
        tr("Add built-in text"), tr("Add the text that comes with Surgeon.")
    ),
    "more_dataset_button": Caption(
        tr("Add data set…"), tr("Add a data set of the Hugging Face Hub.")
    ),
    "more_remove_button": Caption(tr("Remove"), tr("Remove the selected text.")),
    "more_dataset_edit": Caption(
        tr("Data set, as organisation/name"),
        tr("Name or address of a data set on the Hugging Face Hub."),
    ),
    "more_config_edit": Caption(
        tr("Configuration (optional)"),
        tr("Configuration of the data set. Empty: its only or default one."),
    ),
    "more_split_edit": Caption(
        tr("Split (optional)"),
        tr("Split of the data set. Empty: train, or the first split."),
    ),
    "more_column_edit": Caption(
        tr("Column (optional)"),
        tr("Column of the data set. Empty: text, chats, or the longest texts."),
    ),
    "more_keep_button": Caption(tr("Add"), tr("Add this data set.")),
    "more_drop_button": Caption(tr("Cancel"), tr("Add no data set.")),
    "preview_button": Caption(
        tr("Preview"),
        tr("Show the first windows and the amount of text."),
    ),
    "preview_text": Caption(
        tr("Preview of the text"), tr("The first windows, decoded.")
    ),
    # 3 Target
    "quality_limit_combo": Caption(
        tr("Unit of the quality limit"),
        tr(
            "Limit the increase of perplexity, or the KL to the original, which shows "
            "how far its predictions are from the original's."
        ),
    ),
    # 4 Run
    "run_parent_edit": Caption(
        tr("Runs folder"), tr("Each run creates its own folder here.")
    ),
    "run_parent_button": Caption(tr("Choose…"), tr("Choose the runs folder.")),
    "save_job_button": Caption(
        tr("Save job…"), tr("Save these settings to a TOML file, to repeat the run.")
    ),
    "load_job_button": Caption(
        tr("Load job…"), tr("Load all settings from a TOML file.")
    ),
    "command_edit": Caption(
        tr("Command"),
        tr("Runs the same job without the window, for scripts and servers."),
    ),
    "copy_command_button": Caption(tr("Copy"), tr("Copy the command.")),
    "open_run_button": Caption(tr("Open folder"), tr("Show the files of the run.")),
    # presets
    "preset_combo": Caption(tr("Preset"), tr("A named set of settings for this page.")),
    "preset_save_button": Caption(
        tr("Save as…"), tr("Save these settings as a preset.")
    ),
    "preset_more_button": Caption(tr("More"), tr("Export, import or delete presets.")),
    "preset_export_action": Caption(tr("&Export to file…"), ""),
    "preset_import_action": Caption(tr("&Import from file…"), ""),
    "preset_delete_action": Caption(tr("&Delete"), ""),
    "preset_restore_button": Caption(tr("Restore"), tr("Restore the deleted preset.")),
    "preset_name_edit": Caption(tr("Preset name"), tr("Name of the new preset.")),
    "preset_keep_button": Caption(tr("Save"), tr("Save the preset under this name.")),
    "preset_drop_button": Caption(tr("Cancel"), tr("Do not save a preset.")),
    # target
    "sparsity_slider": Caption(
        tr("Share of prunable weights to remove"),
        tr("Share of the prunable weights that is removed."),
    ),
    # protections
    "protect_choose_button": Caption(
        tr("Choose layers…"),
        tr("Show the layers of the model and select those to protect."),
    ),
    "protect_tree": Caption(
        tr("Protected layers"), tr("Checked layers are never pruned.")
    ),
    # the plan
    "fit_button": Caption(
        tr("Use settings that fit"),
        tr(
            "Change as few settings as needed for the run to fit, starting with "
            "batch, number formats and windows."
        ),
    ),
    # menus
    "undo_action": Caption(tr("&Undo"), ""),
    "redo_action": Caption(tr("&Redo"), ""),
    # 5 Export
    "export_choose_button": Caption(
        tr("Choose…"), tr("Choose the folder for the pruned model.")
    ),
    "open_export_button": Caption(
        tr("Open folder"), tr("Show the files of the pruned model.")
    ),
    "export_replace_button": Caption(
        tr("Replace…"), tr("Allow the run to replace the export in this folder.")
    ),
    "save_folder": Caption(
        tr("Destination of the other format"),
        tr("Folder for the other format. Empty: a folder in the run folder."),
    ),
    "save_choose_button": Caption(
        tr("Choose…"), tr("Choose the folder for the other format.")
    ),
    "save_button": Caption(
        tr("Save"), tr("Write the pruned model in this format and verify it.")
    ),
    "save_cancel_button": Caption(
        tr("Cancel"), tr("Cancel saving and delete the partial files.")
    ),
    "open_saved_button": Caption(
        tr("Open folder"), tr("Show the files of this format.")
    ),
    "measure_button": Caption(
        tr("Measure speed"),
        tr(
            "Run the original and the pruned model in turns, each in its own process, "
            "and compare their speed and memory."
        ),
    ),
    "measure_cancel_button": Caption(tr("Cancel"), tr("Cancel the measurement.")),
    # result
    "result_tab": Caption(tr("Result"), tr("What the run has made.")),
    "result_try_button": Caption(
        tr("Try it"), tr("Generate text with the original and the pruned model.")
    ),
    "result_next_button": Caption(
        tr("Next size"),
        tr("Set up the same run with a target that leaves a smaller model."),
    ),
    "result_discard_button": Caption(
        tr("Discard…"), tr("Move the run and its files to the trash.")
    ),
    # question before an export is replaced
    "replace_yes_button": Caption(
        tr("Replace"), tr("Replace the export with the new files.")
    ),
    "replace_other_button": Caption(
        tr("Choose another…"), tr("Choose another folder.")
    ),
    "replace_cancel_button": Caption(tr("Cancel"), tr("Keep the files.")),
    "computers_button": Caption(
        tr("Computers…"), tr("Choose the computer on which the engine runs.")
    ),
    "empty_sample_button": Caption(
        tr("Try SmolLM2-135M-Instruct"),
        tr(
            "Set up a run of SmolLM2-135M-Instruct, quantized to 4 bits (Q4_1). It is "
            "downloaded if it is not on this computer."
        ),
    ),
    "use_sample_button": Caption(
        tr("SmolLM2-135M-Instruct"),
        tr(
            "Use SmolLM2-135M-Instruct, quantized to 4 bits (Q4_1). It is downloaded "
            "if it is not on this computer."
        ),
    ),
    "empty_hub_edit": Caption(
        tr("Model on the Hub"),
        tr("Name of a model on the Hugging Face Hub, or the URL of its page."),
    ),
    "empty_hub_button": Caption(
        tr("Look up"),
        tr("Choose this model. Nothing is downloaded without your consent."),
    ),
    **{
        f"empty_recent_button_{number}": Caption(
            tr("Recent model"), tr("Choose this recent model.")
        )
        for number in range(1, MAX_RECENT_SHOWN + 1)
    },
    "search_hub_button": Caption(
        tr("Search the Hub…"),
        tr("Find a model on this computer or on the Hugging Face Hub."),
    ),
    "search_edit": Caption(
        tr("Words"), tr("Words in the name of a model, such as smollm 135m")
    ),
    "search_list": Caption(
        tr("Models"), tr("The models that were found. Enter chooses one.")
    ),
    "search_choose_button": Caption(
        tr("Choose"), tr("Choose this model. Nothing is downloaded yet.")
    ),
    "search_close_button": Caption(tr("Close"), tr("Close without a choice.")),
    "download_button": Caption(
        tr("Download"), tr("Download the required files of the model from the Hub.")
    ),
    "download_cancel_button": Caption(
        tr("Cancel download"), tr("Cancel the download; the files so far are kept.")
    ),
    "window_back_button": Caption(tr("Previous"), tr("Show the previous window.")),
    "window_on_button": Caption(tr("Next"), tr("Show the next window.")),
    "window_jump_button": Caption(
        tr("To validation"), tr("Switch between calibration and validation text.")
    ),
}
