"""The settings of a job that name files and folders: the model, texts, the export."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.source_names import DEMO, is_hub_source
from surgeon_engine.base.files import is_in_unknown_home

_KEPT_NAME = re.compile(r"[\w -]*")  # a language or script; "words.txt" is a path


def with_paths(config: RunConfig, change: Callable[[str], str]) -> RunConfig:
    """Return the config with each path in it changed by a function.

    Names of the Hub, of bundled models and texts, and of languages are no paths.
    """

    def changed(name: str, keyword: str = "") -> str:
        is_path = name not in ("", keyword) and not is_hub_source(name)
        return change(name) if is_path else name

    def kept(name: str) -> str:
        return name if _KEPT_NAME.fullmatch(name) else changed(name)

    replace = dataclasses.replace
    text, evaluation, pruning = config.calibration, config.evaluation, config.pruning
    return replace(
        config,
        model=replace(config.model, source=changed(config.model.source, DEMO)),
        calibration=replace(
            text,
            text=changed(text.text, BUILTIN_TEXT),
            validation_text=changed(text.validation_text, BUILTIN_TEXT),
            more_texts=tuple(
                replace(more, text=changed(more.text, BUILTIN_TEXT))
                for more in text.more_texts
            ),
        ),
        pruning=replace(pruning, kept_texts=tuple(map(kept, pruning.kept_texts))),
        evaluation=replace(
            evaluation,
            texts=tuple(changed(name, BUILTIN_TEXT) for name in evaluation.texts),
        ),
        export=replace(config.export, folder=changed(config.export.folder)),
    )


def with_paths_from(base: Path, config: RunConfig) -> RunConfig:
    """Return the config with absolute paths; relative ones start at `base`.

    Those in an unknown home stay as they are.
    """

    def absolute(path: str) -> str:
        if is_in_unknown_home(path, base):
            return path
        # Links are not resolved: their targets may have another suffix.
        return os.path.normpath((base / os.path.expanduser(path)).absolute())

    return with_paths(config, absolute)
