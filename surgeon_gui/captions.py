"""Names, captions and tooltips of the window's own controls, by object name.

The object name is the stable handle by which tests and accessibility tools find a
control (docs/objects.md lists them). A letter after & is the control's mnemonic.
Controls of settings are named part_field, and their words are in `text.FIELDS`.
"""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """What a control says, and what its tooltip adds."""

    label: str
    tip: str

    @property
    def spoken(self) -> str:
        """The label as a screen reader says it."""
        return self.label.replace("&", "").removesuffix("\N{HORIZONTAL ELLIPSIS}")


CAPTIONS = {
    # the strip at the bottom
    "start_button": Caption("&Start", "Start the run as it is set up (Ctrl+R)."),
    "stop_button": Caption(
        "Stop and &keep",
        "End after the shot that is under way and export the model as it is then.",
    ),
    "cancel_button": Caption("&Cancel", "End the run now and export nothing."),
    "log_button": Caption("&Log", "Show or hide what the engine has reported."),
    # before a model is chosen
    "empty_demo_button": Caption(
        "&Try the bundled demo",
        "Set everything up for a small model that comes with Surgeon.",
    ),
    "empty_folder_button": Caption("Open folder…", "Choose a model's folder."),
    "empty_gguf_button": Caption("Open GGUF…", "Choose a .gguf file."),
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
    # 5 Export
    "export_choose_button": Caption("Choose…", "Choose where the pruned model goes."),
    "open_export_button": Caption("Open folder", "Show the pruned model's files."),
    "export_replace_button": Caption(
        "Replace…", "Let the export take the place of what is in this folder."
    ),
    "save_folder": Caption(
        "Destination of the other format",
        "The folder for the other format. Empty: a folder inside the run's own.",
    ),
    "save_choose_button": Caption("Choose…", "Choose where the other format goes."),
    "save_button": Caption(
        "Save", "Write the pruned model in this format, load it and check it."
    ),
    "save_cancel_button": Caption("Cancel", "End the saving and leave nothing of it."),
    "open_saved_button": Caption("Open folder", "Show the files of this format."),
    "measure_button": Caption(
        "Measure speed",
        "Let the original and the pruned model work in turns, each in a process of its "
        "own, and compare how fast they are and how much memory they need.",
    ),
    "measure_cancel_button": Caption("Cancel", "End the measurement."),
    # question before something is replaced
    "replace_yes_button": Caption(
        "Replace", "Let the new files take the place of what is there."
    ),
    "replace_other_button": Caption("Choose another…", "Choose another folder."),
    "replace_cancel_button": Caption("Cancel", "Leave everything as it is."),
    # live charts
    "perplexity_measure_combo": Caption(
        "Measure", "Perplexity is the exponential of the loss; less is better."
    ),
    "perplexity_log_button": Caption("Log scale", "Show the vertical axis in decades."),
    "perplexity_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
    "parameters_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
    "sparsity_save_button": Caption("Save", "Save this chart as PNG, SVG or CSV."),
    # log
    "log_level_combo": Caption("Show", "The least serious lines to show."),
    "log_filter_edit": Caption("Filter", "Show only lines that contain this."),
    "log_copy_button": Caption("Copy", "Copy the lines that are shown."),
    "log_save_button": Caption("Save…", "Write the lines that are shown to a file."),
    "log_text": Caption("Log", "What the engine has reported."),
    # errors
    "error_details_button": Caption("Details", "Show or hide the technical details."),
    "error_copy_button": Caption("Copy", "Copy the message with its details."),
    "error_dismiss_button": Caption("Dismiss", "Close this message."),
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
    # menus
    "open_folder_action": Caption("&Open model folder…", ""),
    "open_gguf_action": Caption("Open &GGUF file…", ""),
    "use_demo_action": Caption("Use the bundled &demo", ""),
    "load_job_action": Caption("&Load job…", ""),
    "save_job_action": Caption("&Save job…", ""),
    "save_picture_action": Caption("Save &picture of the window…", ""),
    "quit_action": Caption("&Quit", ""),
    "start_action": Caption("&Start", ""),
    "stop_action": Caption("Stop and &keep", ""),
    "cancel_action": Caption("&Cancel", ""),
    "theme_system_action": Caption("As the &system", ""),
    "theme_light_action": Caption("&Light", ""),
    "theme_dark_action": Caption("&Dark", ""),
    "log_action": Caption("&Log", ""),
    "reset_layout_action": Caption("&Reset layout", ""),
    "about_action": Caption("&About Surgeon", ""),
}
