"""The samples part of a job: short texts that the model writes during the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from surgeon_engine.api.config.fields import Option
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.paths import check_text

NEW_TOKENS = 32  # tokens per sample


@dataclass(frozen=True, slots=True)
class SamplesConfig:
    """The prompt that the model continues after each shot, if any."""

    after_shots: bool = False
    prompt: Annotated[str, Option(used_if="after_shots")] = (
        "The most important thing is"
    )

    def __post_init__(self) -> None:
        check_text("samples.prompt", self.prompt)
        if not self.prompt.strip():
            raise ConfigError(
                "The prompt of the samples is empty.", "Write the beginning of a text."
            )
