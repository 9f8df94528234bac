"""What Help says: about the program, and for the first start."""

from __future__ import annotations

from surgeon_gui.base.translation import tr

ABOUT = tr(
    "Surgeon prunes pretrained language models.\n\n"
    "It measures what each part contributes, removes what matters least, adapts the "
    "rest, and writes a checkpoint that has been checked. After The LLM Surgeon "
    "(van der Ouderaa et al., ICLR 2024)."
)
LICENCE = tr("Free software under the MIT licence, which comes with it.")
WELCOME = tr("Welcome to Surgeon")
FIRST_STEPS = tr(
    "Choose a model in step 1, or try the demo; the other steps are filled in already. "
    "Start, at the bottom right, begins, and says why while it cannot. The result is "
    "in step 5. Whatever is under the mouse explains itself."
)
