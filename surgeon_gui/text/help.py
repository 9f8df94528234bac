"""Texts of the Help menu and of the first start."""

from __future__ import annotations

from surgeon_gui.base.translation import tr

ABOUT = tr(
    "Surgeon prunes pretrained language models.\n\n"
    "It measures how much each part contributes, removes the least important parts, "
    "updates the remaining weights, and writes a verified checkpoint. Based on The LLM "
    "Surgeon (van der Ouderaa et al., ICLR 2024)."
)
LICENSE = tr("Free software under the MIT license, which is included.")
WELCOME = tr("Welcome to Surgeon")
FIRST_STEPS = tr(
    "Pick a model in step 1 or try the demo, then press Start. Everything else has "
    "sensible defaults. Hover for help."
)
