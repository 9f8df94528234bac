"""Example prompts: for the demo, which was trained on Python, and for any model."""

from __future__ import annotations

from surgeon_gui.base.translation import tr

# The prompts are not translated: models know the language of their training data.
EXAMPLES: tuple[tuple[str, str], ...] = (
    (tr("Python: the import statement"), "The import statement"),
    (tr("Python: a docstring"), "Return a new dictionary with the keys"),
    (tr("Python: a session"), ">>> from sympy import symbols\n>>> "),
    (tr("Python: an exception"), "If the file does not exist, this function"),
    (tr("Knowledge"), "The capital of France is"),
    (tr("A story"), "Once upon a time, in a small village by the sea,"),
    (tr("A list"), "To make a good cup of tea:\n1. "),
    (tr("Code"), "def fibonacci(n):\n    "),
)
FIRST = EXAMPLES[0][1]
