"""Writes the pruned model as a checkpoint that transformers loads, and proves it.

The form is *masked*: what was removed is zero and stands in its place, so that the
checkpoint loads anywhere and is as large as before. It is written beside its
destination, loaded in a fresh process, its logits compared with those of the model in
memory, and only then renamed to its final name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from surgeon_engine.config import Dtype, RunConfig, config_to_toml
from surgeon_engine.errors import ExportError
from surgeon_engine.events import Evaluation, Exported, ShotFinished
from surgeon_engine.export.model_card import model_card
from surgeon_engine.export.verify import Verdict
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.run_folder import (
    RunFolder,
    folder_appearing_at,
    refuse_occupied,
    write_atomically,
)

_PROBE_TOKENS = 64  # whose logits are compared
# Of the largest logit: the kernels of another device or format round differently.
_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.BFLOAT16: 3e-2, Dtype.FLOAT16: 1e-2}
_VERIFY = (sys.executable, "-m", "surgeon_engine.export.verify")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was done to the model: what its card tells."""

    config: RunConfig
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]


def check_destination(destination: Path) -> None:
    """Refuse a destination that could not be written to in the end.

    Raises:
        ExportError: there is something in it, or its parent is not writable.
    """
    refuse_occupied(destination, ExportError)
    ancestor = next(path for path in destination.parents if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=ancestor, prefix=".surgeon."):
            pass
    except OSError as error:
        raise _unwritable(destination, error) from error


def save_probe(loaded: LoadedModel, windows: Tensor, path: Path) -> None:
    """Keep the logits of some validation tokens: what the model in memory says."""
    tokens = windows[:1, :_PROBE_TOKENS].to(loaded.device)
    with torch.no_grad():
        logits = loaded.model(tokens, use_cache=False).logits.float()
    probe = {"tokens": tokens.cpu(), "logits": logits.contiguous().cpu()}
    write_atomically(path, save(probe))


@contextmanager
def checkpoint_at(destination: Path) -> Iterator[Path]:
    """A folder to fill with a checkpoint; nothing is left if that fails.

    Raises:
        ExportError: there is something at the destination, or it cannot be written.
    """
    refuse_occupied(destination, ExportError)
    try:
        with folder_appearing_at(destination) as folder:
            yield folder
    except OSError as error:
        raise _unwritable(destination, error) from error


def write_masked(loaded: LoadedModel, recipe: Recipe, folder: Path) -> None:
    """Fill `folder` with weights, config, tokenizer, model card and the job."""
    loaded.model.save_pretrained(folder)
    if loaded.tokenizer is not None:
        loaded.tokenizer.save_pretrained(folder)
    config = recipe.config
    (folder / "run.toml").write_text(config_to_toml(config), encoding="utf-8")
    card = model_card(loaded.source.name, config, recipe.baseline, recipe.shots)
    (folder / "README.md").write_text(card, encoding="utf-8")


def copy_export(folder: str, destination: str) -> Exported:
    """Copy the checkpoint of the run in `folder`, and verify the copy.

    Raises:
        RunFolderError: there is no finished run.
        ExportError: see `checkpoint_at` and `verify`.
    """
    run = RunFolder(Path(folder))
    original = Path(run.read_report().exported.folder)
    target = Path(destination).expanduser()
    with checkpoint_at(target) as copy:
        shutil.copytree(original, copy, dirs_exist_ok=True)
        verdict = verify(copy, run.probe_path)
    return exported(target, verdict)


def verify(checkpoint: Path, probe: Path) -> Verdict:
    """Load `checkpoint` in a fresh process and compare its logits with `probe`.

    Raises:
        ExportError: it does not load, or its logits differ.
    """
    done = subprocess.run(
        [*_VERIFY, str(checkpoint), str(probe)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExportError(
            f"The checkpoint does not load in a fresh process: {last}.",
            "It was discarded. The log has the details; please report them.",
        )
    verdict = msgspec.json.decode(done.stdout.splitlines()[-1], type=Verdict)
    tolerance = _TOLERANCE[Dtype(verdict.dtype)] * verdict.largest_logit
    if not verdict.largest_difference <= tolerance:  # NaN is not within it either
        raise ExportError(
            f"The reloaded checkpoint gives other logits: they differ by up to "
            f"{verdict.largest_difference:.3g} (largest logit "
            f"{verdict.largest_logit:.3g}).",
            "It was discarded. Please report this with the name of the model.",
        )
    return verdict


def exported(folder: Path, verdict: Verdict) -> Exported:
    """What there is to tell of a checkpoint that has been verified."""
    return Exported(
        folder=str(folder),
        bytes=sum(file.stat().st_size for file in folder.rglob("*")),
        tokens_compared=verdict.tokens,
        largest_difference=verdict.largest_difference,
    )


def _unwritable(destination: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{destination} cannot be written: {error.strerror or error}.",
        "Choose a folder that you may write to, on a disk with room for the model.",
    )
