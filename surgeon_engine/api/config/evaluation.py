"""The evaluation part of a job: the texts that judge the model beside its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.base.errors import ConfigError

OWN_TEXT = "text by the model itself"  # the name of the text that it writes


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """Texts of other kinds than the calibration text, and their windows.

    Held-out windows of the calibration text judge every run; they are part of
    `CalibrationConfig`.
    """

    windows: Annotated[int, Option(Limits(0, 100_000), advanced=True)] = 16  # per text
    # As `CalibrationConfig.text`. Empty: the built-in text, or text that the model
    # writes itself where the built-in text calibrates or validates.
    texts: Annotated[tuple[str, ...], Option(used_if="windows", advanced=True)] = ()
    # Whether the pruned model is evaluated before its recovery, too. Without recovery,
    # and with a quality limit, every shot is.
    before_recovery: Annotated[bool, Option(advanced=True)] = True

    def __post_init__(self) -> None:
        check_limits(self)
        if not all(text.strip() for text in self.texts):
            raise ConfigError(
                "One of the texts to judge on has no name.",
                "Leave `texts` empty, or name text files.",
                settings=("texts",),
            )
