"""Form of the texts that judge the pruned model beside the calibration text."""

from __future__ import annotations

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_gui.state.sources.resolver import resolve_text
from surgeon_gui.text.labels import BUILT_IN_TEXT
from surgeon_gui.widgets.forms.form import ConfigForm, Values


class JudgingTexts(ConfigForm):
    """A line with the names of the texts; their windows are an advanced setting."""

    def __init__(self) -> None:
        super().__init__(
            "evaluation", EvaluationConfig, _with_resolved_texts, in_front=("texts",)
        )


def _with_resolved_texts(before: Values, after: Values) -> Values:
    return {"texts": tuple(map(_resolved, after["texts"]))}


def _resolved(typed: str) -> str:
    return BUILTIN_TEXT if typed == BUILT_IN_TEXT else resolve_text(typed)
