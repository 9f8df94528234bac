"""Steps 1 to 4, and the first screen."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

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
}
