"""Measure the fidelity of a written file, where rounding has changed the weights.

The file's own numbers take the place of the weights in memory. The evaluation is the
same as in the run, against the original.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, quants
from torch import Tensor

from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_engine.base.errors import EngineError, ModelError
from surgeon_engine.calibration.fenced import load_windows
from surgeon_engine.calibration.judging_texts import (
    own_judging_text,
    read_judging_texts,
)
from surgeon_engine.calibration.own_samples import Author, own_samples
from surgeon_engine.calibration.windows import JudgingText, TokenWindows
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.evaluation.evaluate import References, evaluate, references_of
from surgeon_engine.export.gguf.file import file_tensors
from surgeon_engine.model.head import head_weight
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.offload import OffloadedBlocks
from surgeon_engine.model.source import ModelSource, vocabulary_size
from surgeon_engine.model.tokenizer import kept_tokenizer
from surgeon_engine.model.vocabulary.smaller import UNRELATED
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.run_context import RunContext


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """The original's hidden states, and the device for the model of a file."""

    references: References
    device: torch.device
    offloads: bool = False  # blocks come to the device one at a time
    calibration: Tensor | None = None  # windows in the tokens of the file


def yardstick_of(
    config: RunConfig, checkpoint: Path | None, context: RunContext
) -> Yardstick | None:
    """Run the original of a finished run on the texts that have judged it.

    The checkpoint may have fewer tokens; None: it is the original. The result is None,
    with a warning, if the original or a text cannot be read any longer.
    """
    try:
        loaded = load_model(config.model)
        windows = load_windows(
            config.calibration, loaded, judging=config.evaluation.windows
        )
        texts = _texts_of(config, loaded, windows, context)
        check, batch = context.raise_if_cancelled, config.calibration.batch
        references = references_of(
            loaded.model, texts, None, batch, check, loaded.tokenizer
        )
        calibration = windows.calibration
        source = ModelSource(checkpoint.name, checkpoint) if checkpoint else None
        if source and vocabulary_size(source) < len(head_weight(loaded.model)):
            smaller = SmallerVocabulary.of_file(loaded, kept_tokenizer(source))
            references = smaller.references(references, loaded.model)
            calibration = smaller.windows(calibration)
    except EngineError as error:
        context.warn(
            "{error} How closely the file follows the original is not measured.",
            error=error,
        )
        return None
    offloads = config.model.offload is Offload.ON
    device = loaded.device
    return Yardstick(references, device, offloads=offloads, calibration=calibration)


def _texts_of(
    config: RunConfig, loaded: LoadedModel, windows: TokenWindows, context: RunContext
) -> list[JudgingText]:
    length = windows.calibration.shape[1]
    texts = [*windows.judging, *read_judging_texts(config, loaded, length)]
    author = Author(
        loaded.files, loaded.model.dtype, loaded.model.config, loaded.tokenizer
    )
    if own := own_judging_text(config, author, length):
        written = own_samples(loaded.model, own, context.raise_if_cancelled)
        texts.append(JudgingText(OWN_TEXT, written))
    return texts


@torch.no_grad()
def put_file(pruned: PrunedModel, path: Path) -> Tensor:
    """Give a model the numbers of its GGUF file; return the weight of the head before.

    Removed weights stay zero. The few tensors that the file holds in another form, such
    as norms to which it adds one, are left alone: they are not rounded.

    Raises:
        ModelError: The file is of another model.
    """
    model = pruned.loaded.model
    before = head_weight(model).clone()
    own = {_memory_of(tensor) for tensor in model.state_dict().values()}
    stored = {each.name: each for each in GGUFReader(path).tensors}
    for each in file_tensors(pruned):
        if _memory_of(each.source.whole) in own and each.name in stored:
            found = stored[each.name]
            if found.n_elements != math.prod(each.shape):
                raise ModelError(
                    "The file is of another model: {name} is {found} in the file and "
                    "{needed} in {model}.",
                    UNRELATED,
                    name=each.name,
                    found=" x ".join(map(str, reversed(found.shape))),
                    needed=" x ".join(map(str, each.shape)),
                    model=pruned.loaded.source.name,
                )
            values = quants.dequantize(found.data, found.tensor_type)
            values = np.require(values, requirements="W")  # a copy of mapped data
            each.put(torch.from_numpy(values).view(each.shape))
    return before


def _memory_of(tensor: Tensor) -> int:
    """Return the address of the memory that a tensor shares with its views."""
    return tensor.untyped_storage().data_ptr()


def fidelity_of_file(
    pruned: PrunedModel, folder: Path, yardstick: Yardstick, context: RunContext
) -> tuple[Fidelity, ...]:
    """Return the fidelity of a GGUF file on each text.

    It is empty, with a warning, if memory is short. The model has the numbers of the
    file afterwards.
    """
    references, device = yardstick.references, yardstick.device
    model, check = pruned.loaded.model, context.raise_if_cancelled
    (_, first), *_ = references.texts
    model.to(first.hidden[0].dtype)  # a checkpoint may hold shorter numbers
    try:
        head = put_file(pruned, folder / GGUF_FILE)
        if yardstick.offloads and model.device != device:
            OffloadedBlocks(model, pruned.loaded.blocks, device, in_files=True)
        elif not yardstick.offloads:
            model.to(device)
        head = head.to(device)
        return evaluate(model, references, check, head=head).fidelity
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        context.warn(
            "There is not enough memory to measure how closely the file follows the "
            "original. The verdict is on the weights before rounding."
        )
        return ()
