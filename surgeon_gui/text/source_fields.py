"""Labels and tooltips of the settings for models and texts."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.field_text import FieldText

FIELDS = {
    "model.source": FieldText(
        "Model",
        "A folder with config.json and safetensors files, a .gguf file, the name "
        "of a model on the Hugging Face Hub such as HuggingFaceTB/SmolLM2-135M, or "
        "the bundled demo.",
    ),
    "model.dtype": FieldText(
        "Compute in",
        "Number format of the weights during pruning. float32 is exact; the 16-bit "
        "formats use half the memory.",
    ),
    "model.device": FieldText(
        "Compute on", "Device of the computation. Automatic: a GPU if available."
    ),
    "model.offload": FieldText(
        "Offload blocks",
        "Whether the weights of the blocks stay in main memory or in files.",
    ),
    "model.gpus": FieldText(
        "GPUs",
        "How many GPUs of one machine share the run. Each has a process with a "
        "whole model, which needs main memory, too.",
        minimum_text=tr("All"),
    ),
    "calibration.text": FieldText(
        "Text",
        "Text on which Surgeon measures the importance of each part. Choose text "
        "similar to the intended use: a file, or the name of a dataset on the "
        "Hugging Face Hub such as Salesforce/wikitext.",
    ),
    "calibration.column": FieldText(
        "Column",
        "Column of the table that contains the texts. Automatic: the column named "
        "text, or else the one with chats (messages or conversations), or else the "
        "column with the longest texts. The chat template of the model renders "
        "chats.",
    ),
    "calibration.dataset_config": FieldText(
        "Configuration", "Configuration of the dataset."
    ),
    "calibration.split": FieldText(
        "Split", "Split of the dataset. Automatic: train, or the first split."
    ),
    "calibration.validation_split": FieldText(
        "Validation split",
        "Split of the dataset on which perplexity is measured. Automatic: a part "
        "of the split above is held out.",
    ),
    "calibration.rows": FieldText(
        "Rows",
        "Number of rows to read from the start of the dataset; no other rows are "
        "downloaded.",
        tr("rows"),
        unit_of_one=tr("row"),
    ),
    "calibration.validation_text": FieldText(
        "Validation text",
        "Text on which perplexity is measured. Empty: a part of the text above is "
        "held out.",
    ),
    "calibration.more_texts": FieldText(
        "Further texts",
        "Texts that take a share of the calibration windows, so that the model "
        "does not specialize to the text above. Held-out windows of each judge the "
        "model.",
    ),
    "evaluation.texts": FieldText(
        "Also judge on",
        "Texts of other kinds that show whether the pruned model still knows more "
        "than the calibration text: files, or datasets as organization/name, "
        "separated by commas. Nothing is fitted to them. Automatic: the built-in "
        "text, or text by the model itself where the built-in text calibrates or "
        "validates.",
        example=tr("Automatic"),
    ),
    "evaluation.windows": FieldText(
        "Judging windows",
        "Number of windows of each of these texts. 0: judge on none of them.",
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "evaluation.before_recovery": FieldText(
        "Evaluate before recovery",
        "Also evaluate the pruned model before recovery, to see what recovery gains. "
        "The result is evaluated in any case.",
    ),
    "calibration.windows": FieldText(
        "Windows",
        "Number of text windows for measuring. More windows make the selection "
        "more reliable and take proportionally longer.",
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "calibration.validation_windows": FieldText(
        "Validation windows",
        "Number of held-out windows for measuring perplexity. More windows make "
        "the result more stable.",
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "calibration.window_length": FieldText(
        "Window length",
        "Tokens of each of the windows; at most the context length of the model.",
        tr("tokens"),
        unit_of_one=tr("token"),
    ),
    "calibration.seed": FieldText(
        "Seed", "Random seed. The same seed draws the same windows."
    ),
    "calibration.batch": FieldText(
        "Batch",
        "Number of windows processed at once. A larger batch is faster and needs "
        "more memory; the result is the same.",
        tr("windows"),
        unit_of_one=tr("window"),
    ),
}
