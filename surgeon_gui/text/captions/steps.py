"""The steps on the left, up to the run, and what stands there before them."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    # before a model is chosen
    "empty_demo_button": Caption(
        tr("&Try the bundled demo"),
        tr("Set everything up for a small model that comes with Surgeon."),
    ),
    "empty_folder_button": Caption(tr("Open folder…"), tr("Choose a model's folder.")),
    "empty_gguf_button": Caption(tr("Open GGUF…"), tr("Choose a .gguf file.")),
    # steps
    "step_model_header": Caption(tr("Model"), tr("Choose what is pruned.")),
    "step_calibration_header": Caption(
        tr("Calibration"), tr("Choose the text that shows which parts matter.")
    ),
    "step_target_header": Caption(
        tr("Target"), tr("Choose how much is removed, and what.")
    ),
    "step_run_header": Caption(
        tr("Run"), tr("Where the run goes, and how to repeat it.")
    ),
    "step_export_header": Caption(
        tr("Export"),
        tr("Where the pruned model goes, in which form, and what came of it."),
    ),
    # 1 Model
    "open_folder_button": Caption(
        tr("Open folder…"),
        tr("Choose a folder with config.json and safetensors (Ctrl+O)."),
    ),
    "open_gguf_button": Caption(tr("Open GGUF…"), tr("Choose a .gguf file.")),
    "use_demo_button": Caption(
        tr("Bundled demo"), tr("Use the small model that comes with Surgeon.")
    ),
    "recent_models_combo": Caption(
        tr("Recent models"), tr("Models that were opened before.")
    ),
    # 2 Calibration
    "builtin_text_button": Caption(
        tr("Use the built-in text"),
        tr("Use the text that comes with Surgeon: it needs no network."),
    ),
    "text_file_button": Caption(
        tr("Choose file…"),
        tr("A .txt, .jsonl, .csv or .parquet file, or token numbers in a .npy file."),
    ),
    "validation_file_button": Caption(
        tr("Choose file…"), tr("Another text for measuring perplexity.")
    ),
    "preview_button": Caption(
        tr("Preview"),
        tr("Show the beginning of what would be measured, and how much it is."),
    ),
    "preview_text": Caption(
        tr("Preview of the text"), tr("The first windows, decoded.")
    ),
    # 4 Run
    "run_parent_edit": Caption(
        tr("Runs folder"), tr("Each run makes its own folder here.")
    ),
    "run_parent_button": Caption(
        tr("Choose…"), tr("Choose where the folders of runs go.")
    ),
    "save_job_button": Caption(
        tr("Save job…"), tr("Write these settings to a TOML file that repeats the run.")
    ),
    "load_job_button": Caption(
        tr("Load job…"), tr("Take all settings from a TOML file.")
    ),
    "command_edit": Caption(
        tr("Command"), tr("Does the same without the window, for scripts and servers.")
    ),
    "copy_command_button": Caption(tr("Copy"), tr("Copy the command.")),
    "open_run_button": Caption(tr("Open folder"), tr("Show the run's files.")),
}
