"""The demo with a part of its tokens."""

from pathlib import Path

import numpy as np
import torch

from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.calibration.builtin import builtin_documents
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.vocabulary.smaller import with_vocabulary
from surgeon_engine.model.vocabulary.tokens import closed_costs, token_table


def demo() -> LoadedModel:
    """Return the demo."""
    return load_model(ModelConfig(DEMO, device=Device.CPU))


def kept_of_demo(loaded: LoadedModel, count: int = 1200) -> torch.Tensor:
    """Return tokens to keep: without the last ones that can be removed."""
    table = token_table(loaded.tokenizer)
    costs = np.arange(table.size, 0, -1).astype(float)
    _, order = closed_costs(costs, table)
    is_kept = torch.ones(table.size, dtype=torch.bool)
    is_kept[order[: table.size - count]] = False
    return is_kept.nonzero().squeeze(1)


def demo_with(kept: torch.Tensor) -> LoadedModel:
    """Return the demo with these tokens alone."""
    return with_vocabulary(demo(), kept)


def save(loaded: LoadedModel, folder: Path) -> Path:
    """Write a model as transformers does; return its folder."""
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def windows_of(
    loaded: LoadedModel, count: int = 4, length: int = 96, end: bool = True
) -> torch.Tensor:
    """Return windows of the text that comes with Surgeon, windows x length.

    With `end`, a special token is in each of them.
    """
    text = "\n".join(builtin_documents("validation"))[: 12 * count * length]
    ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    found = torch.tensor(ids[: count * length]).view(count, length)
    if end:
        found[:, length // 2] = loaded.tokenizer.eos_token_id
    return found
