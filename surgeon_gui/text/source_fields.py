"""The words of the settings that say which model is pruned, and by which text."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.field_text import FieldText

FIELDS = {
    "model.source": FieldText(
        tr("Model"),
        tr(
            "A folder with config.json and safetensors, a .gguf file, the name of a "
            "model on the Hugging Face Hub such as HuggingFaceTB/SmolLM2-135M, or the "
            "bundled demo."
        ),
    ),
    "model.dtype": FieldText(
        tr("Compute in"),
        tr(
            "The number format in which weights are held while pruning. float32 is "
            "exact; the 16-bit formats halve the memory."
        ),
    ),
    "model.device": FieldText(
        tr("Compute on"),
        tr("Where the engine computes. Automatic: on a GPU if there is one."),
    ),
    "calibration.text": FieldText(
        tr("Text"),
        tr(
            "What the model reads while Surgeon measures which parts matter. Text like "
            "that of the later use is best: a file, or the name of a data set on the "
            "Hugging Face Hub such as Salesforce/wikitext."
        ),
    ),
    "calibration.column": FieldText(
        tr("Column"),
        tr(
            "Which column of the table holds the texts. Automatic: the one called "
            "text, or else the one with the longest texts."
        ),
    ),
    "calibration.dataset_config": FieldText(
        tr("Configuration"),
        tr("Which of its configurations the data set is read in."),
    ),
    "calibration.split": FieldText(
        tr("Split"),
        tr("Which split of the data set is read. Automatic: train, or the first."),
    ),
    "calibration.validation_split": FieldText(
        tr("Validation split"),
        tr(
            "Which split of the data set perplexity is measured on. Automatic: a part "
            "of what is read above is held out for this."
        ),
    ),
    "calibration.rows": FieldText(
        tr("Rows"),
        tr(
            "How many rows of the data set are read, from its beginning; no others "
            "are fetched."
        ),
        tr("rows"),
        unit_of_one=tr("row"),
    ),
    "calibration.validation_text": FieldText(
        tr("Validation text"),
        tr(
            "What perplexity is measured on. Empty: a part of the text above that is "
            "held out for this."
        ),
    ),
    "calibration.windows": FieldText(
        tr("Windows"),
        tr(
            "How many pieces of text are measured. More of them make the choice of "
            "what to remove more reliable, and take proportionally longer."
        ),
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "calibration.validation_windows": FieldText(
        tr("Validation windows"),
        tr(
            "How many held-out pieces perplexity is measured on. More of them make the "
            "number steadier."
        ),
        tr("windows"),
        unit_of_one=tr("window"),
    ),
    "calibration.window_length": FieldText(
        tr("Window length"),
        tr("How many tokens a piece of text has; at most what the model can read."),
        tr("tokens"),
        unit_of_one=tr("token"),
    ),
    "calibration.seed": FieldText(
        tr("Seed"), tr("Which windows are drawn. The same seed draws the same windows.")
    ),
    "calibration.batch": FieldText(
        tr("Batch"),
        tr(
            "How many windows are computed at once. Larger is faster and needs more "
            "memory; the result is the same."
        ),
        tr("windows"),
        unit_of_one=tr("window"),
    ),
}
