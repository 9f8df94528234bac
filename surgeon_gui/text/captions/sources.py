"""Downloads, samples, recent models, and paging through a text."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

MAX_RECENT_SHOWN = 4  # recent models, before one is chosen

CAPTIONS = {
    "empty_sample_button": Caption(
        tr("Try SmolLM2-135M"),
        tr("Set everything up for a real pretrained model that is installed here."),
    ),
    "use_sample_button": Caption(
        tr("SmolLM2-135M"), tr("Use the pretrained model of the samples package.")
    ),
    "empty_hub_edit": Caption(
        tr("Model on the Hub"),
        tr("The name of a model on the Hugging Face Hub, or the address of its page."),
    ),
    "empty_hub_button": Caption(
        tr("Look up"), tr("Choose this model; nothing is downloaded before you agree.")
    ),
    **{
        f"empty_recent_button_{number}": Caption(
            tr("Recent model"), tr("Choose a model that was opened before.")
        )
        for number in range(1, MAX_RECENT_SHOWN + 1)
    },
    "download_button": Caption(
        tr("Download"), tr("Fetch what is needed of the model from the Hub.")
    ),
    "download_cancel_button": Caption(
        tr("Cancel the download"), tr("End the download; what has arrived is kept.")
    ),
    "window_back_button": Caption(tr("Previous"), tr("Show the window before.")),
    "window_on_button": Caption(tr("Next"), tr("Show the next window.")),
    "window_jump_button": Caption(
        tr("To validation"), tr("Show the other part of the text.")
    ),
}
