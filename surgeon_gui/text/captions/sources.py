"""Downloads, samples, recent models, and paging through a text."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

MAX_RECENT_SHOWN = 4  # recent models on the first screen

CAPTIONS = {
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
