"""Texts of a fidelity: KL, same top tokens, their intervals, the name of the text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.messages.run import Fidelity, format_estimate
from surgeon_engine.api.verdict import LIMITS, Beyond
from surgeon_gui.base.translation import inside, tr
from surgeon_gui.text import numbers
from surgeon_gui.text.judgments import PROBES
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.verdicts import PHRASES

# The figure and its decimals for each limit of a verdict; 0: a percentage.
_FIGURES = {
    "divergence": (tr("KL {nats}"), 2),
    "agreement": (tr("{share} same top token"), 0),
    "perplexity_ratio": (tr("Perplexity \N{MULTIPLICATION SIGN}{factor}"), 2),
    "lost_items": (tr("{share} lost"), 0),
}
_MOST_DECIMALS = 6


def text_name(name: str) -> str:
    """Return the display name of a text that judges."""
    return tr("Text by the model itself") if name == OWN_TEXT else source_name(name)


def text_phrase(name: str) -> str:
    """Return the name of a text for use in a sentence; files keep their names."""
    is_own_name = name in (OWN_TEXT, BUILTIN_TEXT)
    return inside(text_name(name)) if is_own_name else text_name(name)


def title(fidelity: Fidelity) -> str:
    """Return the title of a fidelity, with the text on which it was measured."""
    return tr("Fidelity, {text}").format(text=text_phrase(fidelity.text))


def divergence(fidelity: Fidelity) -> str:
    """Return the KL in few words."""
    return tr("KL {nats}").format(nats=numbers.nats(fidelity.divergence.value))


def agreement(fidelity: Fidelity) -> str:
    """Return the share of same top tokens in few words."""
    return same_top_token(fidelity.agreement.value)


def same_top_token(*shares: float) -> str:
    """Return shares of same top tokens in few words."""
    shown = ", ".join(map(whole_percent, shares))
    return tr("{share} same top token").format(share=shown)


def whole_percent(share: float) -> str:
    """Return a share of same top tokens as a whole percentage.

    It is rounded down where it would look as if it had reached a limit of the verdict.
    """
    rounded, limits = round(share, 2), [each.agreement for each in LIMITS.values()]
    if any(share < limit <= rounded for limit in (1.0, *limits)):
        rounded -= 0.01
    return numbers.percent(rounded, decimals=0)


def same_tokens(fidelity: Fidelity) -> str:
    """Return how often a model has the original's top token, and on which text."""
    text = tr("Its top token is the original's in {n} of 100 places, on {text}.")
    return text.format(
        n=whole_percent(fidelity.agreement.value).split()[0],
        text=text_phrase(fidelity.text),
    )


def decision(beyond: Beyond) -> str:
    """Return what has decided a verdict, with its limit: a sentence without its end."""
    figure, usual = _FIGURES[beyond.figure]
    form = numbers.fixed if usual else _percent
    limit = form(beyond.limit, usual)
    # With more decimals if it looks as if it were within the limit.
    shown = (form(beyond.value, n) for n in range(usual, _MOST_DECIMALS))
    value = next((each for each in shown if each != limit), limit)
    text = tr("{figure} (“{verdict}” allows at most {limit})")
    if beyond.figure == "agreement":
        text = tr("{figure} (“{verdict}” needs at least {limit})")
    return text.format(
        figure=figure.format(nats=value, share=value, factor=value),
        limit=limit,
        verdict=PHRASES[beyond.better],
    )


def explained_decision(beyond: Beyond) -> str:
    """Return what has decided a verdict, after the name of its text or test."""
    measured = beyond.measured
    if isinstance(measured, Fidelity):
        return f"{text_name(measured.text)}: {decision(beyond)}."
    return f"{PROBES[measured.probe]}: {decision(beyond)}."


def _percent(share: float, decimals: int) -> str:
    return numbers.percent(share, decimals=decimals)


def divergence_interval(fidelity: Fidelity) -> str:
    """Return the KL with its interval."""
    return format_estimate(fidelity.divergence, numbers.nats)


def agreement_interval(fidelity: Fidelity) -> str:
    """Return the share of same top tokens with its interval."""
    return format_estimate(fidelity.agreement, partial(numbers.percent, zeros=True))


def compared(found: Iterable[Fidelity]) -> str:
    """Return at how many tokens a file of fewer tokens is compared; empty: at all."""
    shares = [x.compared for x in found if x.compared is not None]
    if not shares:
        return ""
    return tr("compared at {share} of the tokens").format(
        share=numbers.percent(min(shares))
    )


def about_tokens(found: Iterable[Fidelity]) -> str:
    """Return what fewer tokens mean for the figures of a file."""
    text = tr("The file has fewer tokens. Perplexity is per token of the original.")
    if places := compared(found):
        more = tr(
            "KL and same top token are {compared}: where a token of the original "
            "ends, too."
        )
        text += " " + more.format(compared=places)
    return text


def bits(fidelity: Fidelity) -> str:
    """Return the bits per byte of the original and the model; empty: not measured."""
    before, after = fidelity.original_bits, fidelity.bits_per_byte
    if before is None or after is None:
        return ""
    return tr("bits per byte {before} \N{RIGHTWARDS ARROW} {after}").format(
        before=numbers.fixed(before.value, 3), after=numbers.fixed(after.value, 3)
    )


def bits_interval(fidelity: Fidelity) -> str:
    """Return the bits per byte with their interval; empty: not measured."""
    found = fidelity.bits_per_byte
    if found is None:
        return ""
    return format_estimate(found, lambda x: numbers.fixed(x, 3))


def original_bits(fidelity: Fidelity) -> str:
    """Return the bits per byte of the original; empty: not measured."""
    found = fidelity.original_bits
    return "" if found is None else numbers.fixed(found.value, 3)


def line(fidelity: Fidelity) -> str:
    """Return the fidelity on one text with its intervals, in a line."""
    return tr("{text}: KL {nats}, same top token {share}").format(
        text=text_name(fidelity.text),
        nats=divergence_interval(fidelity),
        share=agreement_interval(fidelity),
    )


def summary(fidelity: Fidelity) -> str:
    """Return KL and same top tokens in few words."""
    return f"{divergence(fidelity)}, {agreement(fidelity)}"
