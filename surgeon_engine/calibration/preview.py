"""Preview the windows of all texts, and the samples that the model has written."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.sources import PreviewedText, TextPreviewed
from surgeon_engine.base.files import own_samples_folder, size_of_folder
from surgeon_engine.calibration.own_samples import Author, own_text
from surgeon_engine.calibration.windows import draw_windows, vocabulary_of
from surgeon_engine.model.identity import stamps_of
from surgeon_engine.model.source import locate, read_model_config
from surgeon_engine.model.tokenizer import kept_tokenizer
from surgeon_engine.runtime import devices

_SHOWN = 12  # windows of each text


def preview_text(
    model: ModelConfig,
    config: CalibrationConfig,
    own_windows: int,
    has_tokenizer: bool,
) -> TextPreviewed:
    """Return the first windows of each text as text, and the counts of tokens.

    The `own_windows` that the model writes are shown if they are in the cache.

    Raises:
        ModelError: The model cannot be read.
        CalibrationError: See `load_windows`.
        ConfigError: See `load_windows`.
    """
    source = locate(model.source)
    tokenizer = kept_tokenizer(source) if has_tokenizer else None
    model_config = read_model_config(source)
    texts, drawn = draw_windows(config, tokenizer, vocabulary_of(model_config))
    main, *further = texts
    own = None
    if own_windows:
        dtype = devices.dtype_of(model.dtype)
        author = Author(stamps_of(source), dtype, model_config, tokenizer)
        length = main.shape[1]
        own = own_text(author, own_windows, length, config.seed).read_cached()

    def decode(windows: Tensor) -> tuple[str, ...]:
        if tokenizer is None:
            return tuple(str(window.tolist()) for window in windows)
        return tuple(tokenizer.decode(window) for window in windows)

    return TextPreviewed(
        calibration=decode(main[:_SHOWN]),
        validation=decode(drawn.validation[:_SHOWN]),
        calibration_tokens=drawn.calibration.numel(),
        validation_tokens=drawn.validation.numel(),
        statistics=drawn.statistics,
        source=config.text,
        window_length=main.shape[1],
        calibration_windows=main.shape[0],
        validation_windows=drawn.validation.shape[0],
        beginning=drawn.beginning,
        more_texts=tuple(
            PreviewedText(more.text, len(windows), decode(windows[:_SHOWN]))
            for more, windows in zip(config.more_texts, further, strict=True)
        ),
        own=() if own is None else decode(_ends_of(own)),
        own_cache_bytes=size_of_folder(own_samples_folder()),
    )


def _ends_of(windows: Tensor) -> Tensor:
    """Return the first and the last windows: texts, and chats if there are any."""
    half = _SHOWN // 2
    if len(windows) <= _SHOWN:
        return windows
    return torch.cat([windows[:half], windows[-half:]])
