"""The shares of several calibration texts, and their windows. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import source_name

_USUAL = 0.25  # share of a new text
_DECIMALS = 3  # decimals of a share
_PARTS = 10**_DECIMALS


class ShareRow(NamedTuple):
    """A row of the table of texts."""

    name: str
    share: str
    windows: str
    tip: str  # the whole name, with the parts of a dataset


def share_rows(config: CalibrationConfig) -> tuple[ShareRow, ...]:
    """Return a row for the main text, then one for each further text."""
    main = (
        config.text,
        config.dataset_config,
        config.split,
        config.column,
    )
    further = [
        (more.text, more.dataset_config, more.split, more.column)
        for more in config.more_texts
    ]
    shares = [more.share for more in config.more_texts]
    return tuple(
        ShareRow(
            source_name(text),
            numbers.percent(share),
            numbers.whole(windows),
            ", ".join(filter(None, (text, *parts))),
        )
        for (text, *parts), share, windows in zip(
            (main, *further),
            (1 - sum(shares), *shares),
            config.window_counts,
            strict=True,
        )
    )


def with_texts(config: CalibrationConfig, texts: Sequence[str]) -> CalibrationConfig:
    """Return a config that calibrates on these texts, all with the same share.

    Raises:
        ConfigError: There are more texts than windows or shares.
    """
    first, *others = texts
    most = min(config.windows, _PARTS)
    if len(texts) > most:
        message = tr(
            "{n} texts were chosen, but at most {most} can be used together: each "
            "needs a window and a share of at least {share}."
        )
        raise ConfigError(
            message.format(
                n=numbers.whole(len(texts)),
                most=numbers.whole(most),
                share=numbers.percent(1 / _PARTS),
            ),
            tr("Choose fewer texts, or more windows in Expert, Calibration."),
        )
    share = _PARTS // len(texts) / _PARTS  # rounded down: the main text has the rest
    more = tuple(MoreText(text, share) for text in others)
    return replace(
        config,
        text=first,
        column="",
        dataset_config="",
        split="",
        validation_split="",
        more_texts=more,
    )


def new_share(config: CalibrationConfig) -> float:
    """Return the share of a text that is added: at most half of the main text's."""
    left = 1 - sum(more.share for more in config.more_texts)
    return round(min(_USUAL, left / 2), _DECIMALS)


def max_share(further: Sequence[MoreText], number: int) -> float:
    """Return the largest share of a further text that leaves some to the main text."""
    others = sum(more.share for i, more in enumerate(further) if i != number)
    return round(1 - others - 10**-_DECIMALS, _DECIMALS)
