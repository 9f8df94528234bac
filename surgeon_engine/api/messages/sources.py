"""Events about models and texts."""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.pruning import Coupling, Structure, Widths, display_name
from surgeon_engine.api.model_info.header import DecoderSizes, ModelFacts
from surgeon_engine.api.model_info.source_names import is_gguf_name
from surgeon_engine.base.sentences import Text, say


class Downloading(msgspec.Struct, frozen=True, tag=True):
    """Progress of a download; sizes of the needed files in bytes."""

    done: int
    total: int  # 0: the list of files has not arrived yet
    files_done: int
    files: int
    file: str = ""  # current file
    speed: float = 0.0  # bytes per second, over the last seconds
    kept: int = 0  # bytes of `done` from an earlier attempt
    attempt: int = 1  # from 2: the connection was lost or stalled


class ModelDownloaded(msgspec.Struct, frozen=True, tag=True):
    """All files of a model are in the cache."""

    source: str
    folder: str
    bytes: int
    fetched: int  # bytes that were downloaded


class HubModel(msgspec.Struct, frozen=True):
    """A model that a search of the Hub has found; unknown values are empty or 0."""

    facts: ModelFacts  # with the name on the Hub, and the size of the weights
    sizes: DecoderSizes | None = None  # None: its config does not state them
    model_type: str = ""
    license: str = ""
    downloads: int = 0
    is_gated: bool = False  # its authors ask who uses it


class HubSearched(msgspec.Struct, frozen=True, tag=True):
    """Response to `SearchHub`: the most downloaded models first."""

    models: tuple[HubModel, ...]


class TextDescribed(msgspec.Struct, frozen=True, tag=True):
    """The choices of a table or a dataset of texts."""

    columns: tuple[str, ...]  # the columns with text or chats
    column: str  # default column
    configs: tuple[str, ...] = ()  # configs of a dataset
    splits: tuple[str, ...] = ()
    split: str = ""  # default split


class LeftWhole(msgspec.Struct, frozen=True):
    """Blocks that have no groups of a kind that could be removed."""

    kind: Coupling
    blocks: tuple[int, ...]  # ascending
    reason: Text = ""  # why no block of the model has any; empty: some have

    @property
    def sentence(self) -> Text:
        """The sentence for the user."""
        return self.reason or say(
            "In some blocks, Surgeon finds no {kind} to remove: {blocks}.",
            kind=display_name(self.kind),
            blocks=_ranges(self.blocks),
        )


class NotLoaded(msgspec.Struct, frozen=True):
    """Weights in the files of a model that transformers does not load."""

    parts: tuple[str, ...]  # names of modules
    parameters: int

    @property
    def sentence(self) -> Text:
        """The sentence for the user."""
        return say(
            "transformers does not load {parts} ({parameters:,} parameters): results "
            "do not contain these weights.",
            parts=", ".join(self.parts),
            parameters=self.parameters,
        )


def _ranges(numbers: tuple[int, ...]) -> str:
    """Return ascending numbers as text, such as "0-2, 5"."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in ends)


NO_EXPERTS = say("The model has no experts.")


class StructureSupport(msgspec.Struct, frozen=True):
    """Support of a structure for a model."""

    structure: Structure
    reason: Text = ""  # why it is not supported; empty: it is
    left_whole: tuple[LeftWhole, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether the structure can be chosen for this model."""
        return not self.reason


class LayerSummary(msgspec.Struct, frozen=True):
    """One prunable layer."""

    name: str  # full name of the module in the model
    block: int  # index of its decoder block, from 0
    kind: str  # its name inside the block, such as "mlp.down_proj"
    rows: int
    columns: int
    weights: int  # including the bias, if any
    coupling: str = ""  # the kind of groups that its columns are divided into

    @property
    def is_experts(self) -> bool:
        """Whether it is no matrix: each column has all weights of an expert."""
        return self.coupling == Coupling.EXPERTS


def is_shared_expert(name: str) -> bool:
    """Return whether a layer is of an expert that all tokens use, by its name."""
    return "shared" in name


class CoupledSummary(msgspec.Struct, frozen=True):
    """The heads, the neurons or the experts of a block."""

    kind: Coupling
    layers: tuple[str, ...]  # the consumer, then its producers
    groups: int  # number of them
    least: int = 1  # groups that stay
    classes: int = 1  # number of equal runs of experts; all lose equally many
    chosen: int = 0  # experts that a token uses; 0: it uses all groups
    neurons: int = 0  # neurons per expert; 0: not known
    weights_per_neuron: int = 0  # in one expert


class ModelSummary(msgspec.Struct, frozen=True):
    """A model before pruning."""

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
    dtype: str = ""  # dtype of the weights in the files; empty: quantized
    coupled: tuple[CoupledSummary, ...] = ()  # empty: the family is not known
    cache_width: int = 0  # numbers that each token of a context adds to keys and values
    window_blocks: tuple[int, ...] = ()  # blocks whose attention has a sliding window
    attention_window: int = 0  # tokens, in the blocks above
    # SAME: GGUF files of this family have one width for all blocks; None: it has none.
    gguf_widths: Widths | None = None
    fills_shared: bool = False  # there, shared experts are as wide as several others
    tokenizer_bytes: int = 0  # approximate size of the tokenizer in a GGUF file
    tokenizer_problem: Text = ""  # empty unless the model has none
    other_parameters: int = 0  # towers and projectors beside the language model
    not_loaded: NotLoaded | None = None  # such as heads that predict several tokens
    # Parameters per token in embeddings and head; 0: no tokens can be removed.
    token_parameters: int = 0
    has_mxfp4: bool = False  # weights that are MXFP4 in the files
    heads: int = 0  # heads of an attention; 0: not stated by the model
    score_heads: int = 0  # heads of an attention that holds all its scores; 0: none

    @property
    def experts(self) -> tuple[CoupledSummary, ...]:
        """The experts of each block that has some."""
        return tuple(x for x in self.coupled if x.kind is Coupling.EXPERTS)

    @property
    def has_mxfp4_experts(self) -> bool:
        """Whether the model has experts, and they are MXFP4 in the files."""
        return self.has_mxfp4 and bool(self.experts)

    @property
    def linear_layers(self) -> tuple[LayerSummary, ...]:
        """The layers that have one matrix: all but experts."""
        return tuple(x for x in self.layers if not x.is_experts)

    @property
    def idle_parameters(self) -> int:
        """The number of parameters that a token does not use: of other experts."""
        each = {x.layers[0]: 1 - x.chosen / x.groups for x in self.experts}
        return round(sum(x.weights * each.get(x.name, 0) for x in self.layers))

    @property
    def is_gguf(self) -> bool:
        """Whether the weights are in a GGUF file."""
        return is_gguf_name(self.source)


class ModelInspected(msgspec.Struct, frozen=True, tag=True):
    """Response to `InspectModel`."""

    model: ModelSummary


class PreviewedText(msgspec.Struct, frozen=True):
    """The windows of one of several texts."""

    text: str  # the source
    windows: int  # number of all windows, shown or not
    shown: tuple[str, ...]  # the first windows, decoded


class TextStatistics(msgspec.Struct, frozen=True):
    """Counts of what was read of texts, and of what was left out."""

    tokens: int = 0  # tokens read, the ones in front of each window included
    unread_characters: int = 0  # in texts far longer than their windows
    documents: int = 0
    short_documents: int = 0  # shorter than a window
    repeated_documents: int = 0  # omitted
    rows_without_text: int = 0  # omitted
    shared_windows: int = 0  # omitted, because they equal a calibration window
    column: str = ""  # column of the table for calibration
    chats: int = 0  # documents that are chats
    skipped_chats: int = 0  # omitted, because the template cannot render them
    unjudged: tuple[str, ...] = ()  # further texts without a window left to judge


class TextPreviewed(msgspec.Struct, frozen=True, tag=True):
    """Response to `PreviewText`: the first windows of each part, decoded."""

    calibration: tuple[str, ...]  # windows of the main text
    validation: tuple[str, ...]
    calibration_tokens: int  # used by the run, of all texts
    validation_tokens: int
    statistics: TextStatistics  # of all texts
    source: str
    window_length: int = 0
    calibration_windows: int = 0  # all of the main text, not only those shown
    validation_windows: int = 0
    beginning: str = ""  # text that begins each window, such as "<bos>"
    more_texts: tuple[PreviewedText, ...] = ()
    # Some of the windows that the model wrote; none if they are not in the cache.
    own: tuple[str, ...] = ()
    own_cache_bytes: int = 0  # size of the cached windows of all models


SourceEvent = (
    Downloading
    | ModelDownloaded
    | HubSearched
    | TextDescribed
    | ModelInspected
    | TextPreviewed
)
