"""What the engine says of models that are downloaded and of texts that are chosen.

Part of the contract: imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.pruning import Coupling, Structure


class Downloading(msgspec.Struct, frozen=True, tag=True):
    """How far a download is; sizes are of the files that are needed, in bytes."""

    done: int
    total: int  # 0: the list of files is still being asked for
    files_done: int
    files: int
    file: str = ""  # the one that is under way
    speed: float = 0.0  # bytes a second, over the last seconds
    kept: int = 0  # bytes of `done` that an earlier attempt had left
    attempt: int = 1  # from 2: the connection was lost or stood still


class ModelDownloaded(msgspec.Struct, frozen=True, tag=True):
    """All files of a model are in the cache."""

    source: str
    folder: str
    bytes: int
    fetched: int  # bytes that came over the network for it


class TextDescribed(msgspec.Struct, frozen=True, tag=True):
    """What can be chosen in a table or a data set of texts."""

    text: str  # the source
    columns: tuple[str, ...]  # those that hold text
    column: str  # the one that is read unless another is chosen
    configs: tuple[str, ...] = ()  # of a data set
    splits: tuple[str, ...] = ()
    split: str = ""  # the one that is read unless another is chosen


class StructureSupport(msgspec.Struct, frozen=True):
    """Whether a model can be pruned in a structure; if not, why not."""

    structure: Structure
    reason: str = ""  # empty: supported

    @property
    def supported(self) -> bool:
        """Whether the structure can be chosen for this model."""
        return not self.reason


class LayerSummary(msgspec.Struct, frozen=True):
    """One prunable layer as it was found."""

    name: str  # full name of the module in the model
    block: int  # index of its decoder block, from 0
    kind: str  # its name inside the block, such as "mlp.down_proj"
    rows: int
    columns: int
    weights: int  # with the bias, where there is one
    coupling: str = ""  # "heads" or "neurons" where whole ones are its columns


class CoupledSummary(msgspec.Struct, frozen=True):
    """The heads or the neurons of a block."""

    kind: Coupling
    layers: tuple[str, ...]  # whose columns they are, then those that make its input
    groups: int  # how many there are


class ModelSummary(msgspec.Struct, frozen=True):
    """A model as it stands before pruning."""

    name: str
    source: str
    architecture: str  # class name, such as "LlamaForCausalLM"
    parameters: int  # all of them; tied ones counted once
    prunable: int  # weights of the prunable layers, biases included
    blocks: int
    hidden_size: int
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    file_bytes: int
    layers: tuple[LayerSummary, ...]
    structures: tuple[StructureSupport, ...]
    dtype: str = ""  # of the weights in the files; empty: they are quantised
    coupled: tuple[CoupledSummary, ...] = ()  # where the model's are known


class ModelInspected(msgspec.Struct, frozen=True, tag=True):
    """Answer to `InspectModel`."""

    model: ModelSummary


class TextPreviewed(msgspec.Struct, frozen=True, tag=True):
    """Answer to `PreviewText`: the first windows of each part, decoded."""

    calibration: tuple[str, ...]
    validation: tuple[str, ...]
    calibration_tokens: int  # that will be used
    validation_tokens: int
    available_tokens: int  # in the whole text
    source: str
    window_length: int = 0
    calibration_windows: int = 0  # of which the first are shown
    validation_windows: int = 0
    column: str = ""  # of a table, that was read
    documents: int = 0
    short_documents: int = 0  # shorter than a window
    repeated_documents: int = 0  # left out, as they were there before
    shared_windows: int = 0  # not held out, as they are in the calibration text too
