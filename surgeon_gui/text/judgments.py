"""The answers of a file and the original, and the names of what judges them."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.judgment import Probe, TokenClass
from surgeon_gui.base.translation import tr


@dataclass(frozen=True, slots=True)
class Answer:
    """The texts of both models after the same prompt."""

    prompt: str
    original: str
    pruned: str
    # The original's nats per byte of each; None: not measured.
    nats: tuple[float, float] | None = None
    is_rounded_later: bool = False  # saving has rounded the weights after `pruned`

    @property
    def shared(self) -> str:
        """The beginning that both have in common, up to a space."""
        pairs = zip(self.original, self.pruned, strict=False)
        length = next((n for n, (a, b) in enumerate(pairs) if a != b), -1)
        if length < 0:
            length = min(len(self.original), len(self.pruned))
        if self.original == self.pruned:
            return self.original
        return self.original[: self.original.rfind(" ", 0, length) + 1]


PROBES = {
    Probe.REFUSES_HARM: tr("Refuses harmful requests"),
    Probe.ANSWERS_HARMLESS: tr("Answers harmless requests"),
    Probe.JSON: tr("JSON answers"),
    Probe.ARITHMETIC: tr("Arithmetic"),
    Probe.LANGUAGE: tr("Answers in the language of the question"),
    Probe.NEEDLE_SHORT: tr("Finds a fact in a short text"),
    Probe.NEEDLE_MIDDLE: tr("Finds a fact in a longer text"),
    Probe.NEEDLE_LONG: tr("Finds a fact in a long text"),
    Probe.CONTINUATION: tr("Knows the true continuation"),
}
CLASSES = {
    TokenClass.NUMBERS: tr("Numbers"),
    TokenClass.CODE: tr("Code"),
    TokenClass.NAMES: tr("Names"),
    TokenClass.RARE_WORDS: tr("Rare words"),
    TokenClass.OTHERS: tr("All other words"),
}
