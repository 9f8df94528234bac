"""Writes the pruned model as a checkpoint that transformers loads, and proves it.

The form is *masked*: what was removed is zero and stands in its place, so that the
checkpoint loads anywhere and is as large as before. It is written beside its
destination, loaded in a fresh process, its logits compared with those of the model in
memory, and only then renamed to its final name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.config import Dtype
from surgeon_engine.errors import ExportError
from surgeon_engine.events import Exported
from surgeon_engine.export.model_card import Recipe, model_card
from surgeon_engine.export.verify import Verdict
from surgeon_engine.job_file import config_to_toml
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
_SECONDS_BETWEEN_LOOKS = 0.05
_VERIFY = (sys.executable, "-m", "surgeon_engine.export.verify")


def check_destination(destination: Path, run: Path) -> None:
    """Refuse a destination that could not be written to in the end.

    Raises:
        ExportError: there is something in it, its parent is not writable, or the run
            itself is about to write there.
    """
    refuse_occupied(destination, ExportError)
    if run.absolute().is_relative_to(destination):
        raise ExportError(
            f"{destination} is where the run itself keeps its files.",
            "Choose another folder, or leave the destination empty.",
        )
    try:
        with tempfile.TemporaryDirectory(
            dir=_ancestor(destination), prefix=".surgeon."
        ):
            pass
    except OSError as error:
        raise _unwritable(destination, error) from error


def check_room(destination: Path, model: PreTrainedModel) -> None:
    """Refuse a disk on which there is no room for `model`.

    Raises:
        ExportError: there is not; with the numbers.
    """
    needed = sum(x.numel() * x.element_size() for x in model.parameters())
    free = shutil.disk_usage(_ancestor(destination)).free
    if free < needed:
        raise ExportError(
            f"The checkpoint needs {needed / 1e9:.1f} GB, but the disk of "
            f"{destination} has {free / 1e9:.1f} GB free.",
            "Make room, or choose a folder on another disk.",
        )


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
    except (OSError, SafetensorError) as error:
        raise _unwritable(destination, error) from error


def write_masked(loaded: LoadedModel, recipe: Recipe, folder: Path) -> None:
    """Fill `folder` with weights, config, tokenizer, model card and the job."""
    _make_saveable(loaded.model)
    loaded.model.save_pretrained(folder)
    if loaded.tokenizer is not None:
        loaded.tokenizer.save_pretrained(folder)
    config = recipe.config
    (folder / "run.toml").write_text(config_to_toml(config), encoding="utf-8")
    card = model_card(loaded.source.name, recipe)
    (folder / "README.md").write_text(card, encoding="utf-8")


def copy_export(folder: str, destination: str) -> Exported:
    """Copy the checkpoint of the run in `folder`, and verify the copy.

    Raises:
        RunFolderError: there is no finished run.
        ExportError: see `checkpoint_at` and `verify`.
    """
    run = RunFolder(Path(folder))
    original = Path(run.read_report().exported.folder)
    target = Path(os.path.expanduser(destination)).absolute()
    with checkpoint_at(target) as copy:
        shutil.copytree(original, copy, dirs_exist_ok=True)
        exported = verify(copy, run.probe_path)
    return msgspec.structs.replace(exported, folder=str(target))


def verify(
    checkpoint: Path, probe: Path, check: Callable[[], None] = lambda: None
) -> Exported:
    """Load `checkpoint` in a fresh process and compare its logits with `probe`.

    `check` is called now and then while that goes on; what it raises ends it.

    Raises:
        ExportError: it does not load, or its logits differ.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*_VERIFY, str(checkpoint), str(probe)], stdout=out, stderr=errors
        )
        try:
            while process.poll() is None:
                check()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        errors.seek(0)
        said, complaint = out.read(), errors.read().decode(errors="replace").strip()
    if process.returncode != 0:
        last = (complaint.splitlines() or [f"exit code {process.returncode}"])[-1]
        raise ExportError(
            f"The checkpoint does not load in a fresh process: {last}.",
            "It may have run out of memory; close other programs and try again.",
        )
    verdict = msgspec.json.decode(said.splitlines()[-1], type=Verdict)
    difference = verdict.largest_difference
    tolerance = _TOLERANCE[Dtype(verdict.dtype)] * verdict.largest_logit
    if difference is None or difference > tolerance:
        by = "beyond measure" if difference is None else f"by up to {difference:.3g}"
        raise ExportError(
            f"The reloaded checkpoint gives other logits: they differ {by} "
            f"(largest logit {verdict.largest_logit:.3g}).",
            "Please report this with the name of the model.",
        )
    return Exported(
        folder=str(checkpoint),
        bytes=sum(file.stat().st_size for file in checkpoint.rglob("*")),
        tokens_compared=verdict.tokens,
        largest_difference=difference,
    )


def _make_saveable(model: PreTrainedModel) -> None:
    """Many models ship sampling settings without saying that they sample.

    transformers reads such a generation config, but refuses to write it.
    """
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config.do_sample = True


def _ancestor(destination: Path) -> Path:
    """The nearest folder above `destination` that exists."""
    return next(path for path in destination.parents if os.path.exists(path))


def _unwritable(destination: Path, error: Exception) -> ExportError:
    reason = getattr(error, "strerror", None) or error
    return ExportError(
        f"{destination} cannot be written: {reason}.",
        "Choose a folder that you may write to, on a disk with room for the model.",
    )
