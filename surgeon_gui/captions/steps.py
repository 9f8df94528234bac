"""The steps on the left, up to the run, and what stands there before them."""

from __future__ import annotations

from surgeon_gui.captions.caption import Caption

CAPTIONS = {
    # before a model is chosen
    "empty_demo_button": Caption(
        "&Try the bundled demo",
        "Set everything up for a small model that comes with Surgeon.",
    ),
    "empty_folder_button": Caption("Open folder…", "Choose a model's folder."),
    "empty_gguf_button": Caption("Open GGUF…", "Choose a .gguf file."),
    # steps
    "step_model_header": Caption("Model", "Choose what is pruned."),
    "step_calibration_header": Caption(
        "Calibration", "Choose the text that shows which parts matter."
    ),
    "step_target_header": Caption("Target", "Choose how much is removed, and what."),
    "step_run_header": Caption("Run", "Where the run goes, and how to repeat it."),
    "step_export_header": Caption(
        "Export", "Where the pruned model goes, in which form, and what came of it."
    ),
    # 1 Model
    "open_folder_button": Caption(
        "Open folder…", "Choose a folder with config.json and safetensors (Ctrl+O)."
    ),
    "open_gguf_button": Caption("Open GGUF…", "Choose a .gguf file."),
    "use_demo_button": Caption(
        "Bundled demo", "Use the small model that comes with Surgeon."
    ),
    "recent_models_combo": Caption("Recent models", "Models that were opened before."),
    # 2 Calibration
    "builtin_text_button": Caption(
        "Use the built-in text",
        "Use the text that comes with Surgeon: it needs no network.",
    ),
    "text_file_button": Caption(
        "Choose file…", "A .txt or .jsonl file, or token numbers in a .npy file."
    ),
    "validation_file_button": Caption(
        "Choose file…", "Another text for measuring perplexity."
    ),
    "preview_button": Caption(
        "Preview", "Show the beginning of what would be measured, and how much it is."
    ),
    "preview_text": Caption("Preview of the text", "The first windows, decoded."),
    # 3 Target
    "preset_combo": Caption("Preset", "Settings that go together, in one choice."),
    "sparsity_slider": Caption("Sparsity", "The share to remove."),
    # 4 Run
    "run_parent_edit": Caption("Runs folder", "Each run makes its own folder here."),
    "run_parent_button": Caption("Choose…", "Choose where the folders of runs go."),
    "save_job_button": Caption(
        "Save job…", "Write these settings to a TOML file that repeats the run."
    ),
    "load_job_button": Caption("Load job…", "Take all settings from a TOML file."),
    "command_edit": Caption(
        "Command", "Does the same without the window, for scripts and servers."
    ),
    "copy_command_button": Caption("Copy", "Copy the command."),
    "open_run_button": Caption("Open folder", "Show the run's files."),
}
