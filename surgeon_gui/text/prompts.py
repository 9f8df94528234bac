"""Example prompts that fit a model; the first one is the default."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from surgeon_gui.base.translation import tr


class Example(NamedTuple):
    """A prompt, and its name on a button."""

    name: str
    prompt: str


class PromptKind(Enum):
    """Kinds of prompts for a model to continue."""

    DEMO = "demo"  # it was trained on Python
    CHAT = "chat"  # its tokenizer has a template for chats
    TEXT = "text"


# The prompts are not translated: models know the language of their training data.
EXAMPLES: dict[PromptKind, tuple[Example, ...]] = {
    PromptKind.DEMO: (
        Example(tr("Python: the import statement"), "The import statement"),
        Example(tr("Python: a docstring"), "Return a new dictionary with the keys"),
        Example(
            tr("Python: an exception"), "If the file does not exist, this function"
        ),
    ),
    PromptKind.CHAT: (
        Example(tr("A question"), "Why is the sky blue? Answer in two sentences."),
        Example(tr("A list"), "Name three rivers in Europe and the seas they reach."),
        Example(tr("An email"), "Write a short email that moves a meeting to Friday."),
    ),
    PromptKind.TEXT: (
        Example(tr("A story"), "Once upon a time, in a small village by the sea,"),
        Example(tr("Knowledge"), "The capital of France is"),
        Example(tr("Code"), "def fibonacci(n):\n    "),
    ),
}


def first_prompt(kind: PromptKind) -> str:
    """Return the prompt that is there at first."""
    return EXAMPLES[kind][0].prompt
