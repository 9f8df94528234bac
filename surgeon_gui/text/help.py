"""Texts of the Help menu."""

from __future__ import annotations

from surgeon_gui.base.translation import tr

ABOUT = tr(
    "Surgeon prunes pretrained language models.\n\n"
    "It measures how much each part contributes, removes the least important parts, "
    "updates the remaining weights, and writes a verified checkpoint. Based on The LLM "
    "Surgeon (van der Ouderaa et al., ICLR 2024)."
)
LICENSE = tr("Free software under the MIT license, which is included.")
