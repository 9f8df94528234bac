"""The memory of a run at its peak, and its room on the disk, in bytes.

Each moment of a run holds some of these, as the engine keeps them:

    weights     the model, in the number format in which it is pruned; of offloaded
                blocks, the device holds two at a time, and the host all or none
    record      the input of each block for all windows, and one gradient (collect.py),
                in a store like that of recovery
    logits      of a batch, with the copies for their loss and its gradient
    graph       the activations of one block, for a batch
    factors     A and G of all measured layers, float32, in a store on the host; twice
                during the damping search, because those of the held-out windows are
                added afterwards
    kept        a copy of the weights during a trial
    references  the original's last hidden states on the windows that judge
    undone      copies that a quality budget keeps to roll back a shot
    unrecovered a copy that the final recovery keeps to roll it back
    algebra     one layer's matrices

`recovery_memory.py` counts the bytes of recovery. Protected layers count as if they
were pruned. Constants are measured (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.export import (
    FOR_TRANSFORMERS,
    QUANTIZED,
    ExportConfig,
    Format,
)
from surgeon_engine.api.config.pruning import COUPLED, COUPLINGS, SPARSE, Method
from surgeon_engine.api.config.recovery import Recovery, judging_windows
from surgeon_engine.api.config.run import Dtype, Offload, RunConfig
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.planned_file import planned_file
from surgeon_engine.planning.recovery_memory import (
    HOST_SHARE,
    RecoveryMoment,
    pinned_bytes,
    recovery_moments,
    trained_weights,
)
from surgeon_engine.planning.target_size import file_dtype, goal_of

_FLOAT = 4  # bytes
_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2}
_HELD_OUT = 4  # one of so many calibration windows
_LOGIT_COPIES = 3.25  # float32: logits, probabilities, their sums
_EVALUATED_COPIES = 5.0  # of two models, without gradients
_LOGITS_AT_ONCE = 2**25  # numbers, in an evaluation
_GRADIENT_LOGITS_AT_ONCE = 2**26  # numbers, where their gradient is needed
_GRAPH = 2.5  # numbers kept for each number that a layer of a block reads or writes
_ALGEBRA = 2.5  # matrices of each of a layer's factors at once
_SPARSE_ALGEBRA = 9  # and of the layer itself, where single weights adapt
_DENSE_ALGEBRA = 4
_QUANTISER_COPIES = 4  # of the largest A, its inverse and factors
_PROBED_TOKENS = 64  # of which the logits are kept, to check the export
_OTHER_FILES = 1_000_000  # bytes of tokenizer, card and the rest beside the weights
_SAVED_NUMBERS = 4  # of a trained weight: itself, the best and two moments
_HEADERS = 0.01  # of a file's bytes at most
_OTHER_WEIGHTS = 1.02  # norms and biases beside the layers
_BLOCKS = 2  # of a model whose blocks are offloaded that are on the device at once


@dataclass(frozen=True)
class Footprint:
    """The memory and disk of a run."""

    config: RunConfig
    model: ModelSummary
    # Bytes of the device that the hidden states of recovery may take.
    store_on_device: float = 0.0
    is_on_gpu: bool = False
    free_on_host: float = math.inf  # bytes; what has no room there goes to files

    # what there is

    @cached_property
    def touched(self) -> tuple[LayerSummary, ...]:
        """The layers that lose weights."""
        structure = self.config.pruning.kind
        if structure not in COUPLED and not self.config.pruning.removes_nothing:
            return self.model.layers
        places = {place(layer) for layer in self.measured}
        return tuple(x for x in self.model.layers if place(x) in places)

    @cached_property
    def measured(self) -> tuple[LayerSummary, ...]:
        """The layers whose curvature is measured."""
        if self.config.pruning.removes_nothing:
            return ()
        wanted = COUPLINGS.get(self.config.pruning.kind)
        if wanted is None:
            return self.model.layers
        return tuple(x for x in self.model.layers if x.coupling in wanted)

    @property
    def each(self) -> int:
        """The bytes of a weight in memory."""
        return _BYTES[self.config.model.dtype]

    @property
    def measures_gradients(self) -> bool:
        """True if the method needs gradients."""
        return self.config.pruning.measures_gradients

    @property
    def measures(self) -> bool:
        """True if the method needs calibration text."""
        pruning = self.config.pruning
        return pruning.method is not Method.MAGNITUDE and not pruning.removes_nothing

    @property
    def judging_windows(self) -> int:
        """The number of windows of each evaluation, of all texts."""
        evaluation = self.config.evaluation
        others = evaluation.windows * max(1, len(evaluation.texts))
        return self.config.calibration.validation_windows + others

    @property
    def written_windows(self) -> int:
        """The number of windows that the model itself writes."""
        config = self.config
        judges = BUILTIN_TEXT in config.calibration.all_texts
        judges = judges and not config.evaluation.texts
        return config.own_windows + (config.evaluation.windows if judges else 0)

    @property
    def references(self) -> float:
        """The original's last hidden states on the windows that judge."""
        tokens = self.judging_windows + self.held_out
        tokens *= self.config.calibration.window_length
        return tokens * self.model.hidden_size * self.each

    @property
    def held_out(self) -> int:
        """The number of held-out calibration windows."""
        judges = self.config.pruning.searches_damping
        return self.config.calibration.windows // _HELD_OUT if judges else 0

    @cached_property
    def remaining(self) -> tuple[LayerSummary, ...]:
        """The touched layers at recovery; coupled ones are smaller by then.

        With a quality budget, recovery may come before they get smaller.
        """
        pruning = self.config.pruning
        if pruning.kind not in COUPLED or pruning.has_quality_limit:
            return self.touched
        try:
            dtype = file_dtype(self.config, self.model)
            removed = goal_of(pruning, self.model, dtype).removed
        except ConfigError:
            return self.touched
        stays = max(0.0, 1 - removed / max(1, sum(x.weights for x in self.touched)))
        return tuple(_scaled_layer(layer, stays) for layer in self.touched)

    @cached_property
    def weights_left(self) -> int:
        """The number of weights of the remaining layers."""
        return sum(layer.weights for layer in self.remaining)

    def tokens(self, windows: int) -> int:
        """Return the tokens of a batch of at most so many windows."""
        calibration = self.config.calibration
        return min(calibration.batch, windows) * calibration.window_length

    @property
    def fitted(self) -> int:
        """The number of calibration windows that are not held out."""
        return self.config.calibration.windows - self.held_out

    # bytes

    @property
    def weights(self) -> float:
        """The model in memory."""
        return self.model.parameters * self.each

    @property
    def offloads(self) -> bool:
        """Whether the blocks are offloaded."""
        return self.config.model.offload is Offload.ON

    @property
    def weights_on_device(self) -> float:
        """The model on the device; of offloaded blocks, one and the next."""
        if not self.offloads:
            return self.weights
        return self._streamed

    @property
    def _streamed(self) -> float:
        """What the device holds of a model whose blocks are offloaded."""
        return self.weights - self._of_blocks + self._visiting

    @property
    def _visiting(self) -> float:
        """The offloaded blocks that the device holds at once."""
        return min(_BLOCKS, self.model.blocks) * self._of_blocks / self.model.blocks

    @property
    def _ahead(self) -> float:
        """The offloaded blocks of both models that are copied ahead."""
        if self.model.blocks < _BLOCKS:
            return 0
        return (1 + self.offloads) * self._of_blocks / self.model.blocks

    @property
    def _of_blocks(self) -> float:
        return self.model.prunable * self.each

    @property
    def weights_on_host(self) -> float:
        """The offloaded blocks, unless they are left in files."""
        fits = self.offloads and self._pinned <= self._room()
        return self._pinned if fits else 0

    @property
    def _pinned(self) -> float:
        """The blocks in memory of the host; beside a GPU it is pinned."""
        if not self.is_on_gpu:
            return self._of_blocks
        sizes = (layer.rows * layer.columns * self.each for layer in self.model.layers)
        return sum(map(pinned_bytes, sizes))

    @property
    def loaded(self) -> float:
        """The model while it is loaded and converted."""
        converted = self.model.file_bytes if self._is_converted else 0
        return self._unmapped + converted

    @property
    def _is_converted(self) -> bool:
        """Whether the files hold another number format.

        Their header makes them slightly larger than the weights.
        """
        difference = abs(self.model.file_bytes - self.weights)
        return difference > _HEADERS * self.weights

    @property
    def _unmapped(self) -> float:
        """The model in the machine's memory, without what stays in its files."""
        stays = self.offloads and not self._is_converted
        return self.weights - (self._of_blocks if stays else 0)

    @property
    def kept(self) -> float:
        """A copy of the touched layers."""
        return sum(layer.weights for layer in self.touched) * self.each

    @property
    def undone(self) -> float:
        """Copies of the layers, by which a quality budget rolls back a shot.

        With recovery, the copies are of four states: before a shot, after it,
        recovered, and recovered after the last shot.
        """
        if not self.config.pruning.has_quality_limit:
            return 0
        copies = 4 if self.recovery_windows else 1
        return copies * sum(layer.weights for layer in self.model.layers) * self.each

    @property
    def unrecovered(self) -> float:
        """A copy from before the final recovery; 0 with a quality budget."""
        if self.undone or not self.recovery_windows:
            return 0
        weights = self.model.prunable - sum(x.weights for x in self.touched)
        return (weights + self.weights_left) * self.each

    @cached_property
    def factors(self) -> float:
        """A and G of the measured layers."""
        pruning = self.config.pruning
        if pruning.measures_factors:
            return self._factors(self.measured)
        return self._gates if pruning.method is Method.FIRST_ORDER else 0

    @property
    def _gates(self) -> float:
        """The gate gradients of the measured layers."""
        structure, windows = self.config.pruning.kind, self.config.calibration.windows
        if structure in SPARSE:
            return sum(layer.weights for layer in self.measured) * _FLOAT
        numbers = sum(width(x) for x in self.measured)
        if structure not in COUPLED:
            numbers += sum(x.rows for x in self.measured)
        return windows * numbers * _FLOAT

    @property
    def block_factors(self) -> float:
        """A and G, or the gate gradients, of one block."""
        return self.factors / max(1, self.model.blocks)

    def _factors(self, layers: Iterable[LayerSummary]) -> float:
        layers = tuple(layers)
        A = sum(width(layer) ** 2 for layer in readers(layers))
        G = sum(layer.rows**2 for layer in layers) if self.measures_gradients else 0
        return (A + G) * _FLOAT

    def record(self, windows: int) -> float:
        """Return the recorded inputs of the blocks, for the backward."""
        if not self.measures_gradients:
            return 0
        numbers = windows * self.config.calibration.window_length
        return (self.model.blocks + 1) * numbers * self.model.hidden_size * self.each

    def logits(self, windows: int) -> float:
        """Return the logits of a part of a batch, with their loss and its gradient."""
        if not self.measures_gradients:
            return 0
        numbers = self.tokens(windows) * self.model.vocabulary
        copies = _LOGIT_COPIES
        if self.each < _FLOAT:  # in 16 bits, too, with their gradient
            copies += 2 * self.each / _FLOAT
        return min(numbers, _GRADIENT_LOGITS_AT_ONCE) * _FLOAT * copies

    def evaluated(self, windows: int) -> float:
        """Return the logits of both models for a part of a batch, with their loss."""
        numbers = self.tokens(windows) * self.model.vocabulary
        return min(numbers, _LOGITS_AT_ONCE) * _FLOAT * _EVALUATED_COPIES

    @property
    def graph(self) -> float:
        """The activations of one block."""
        first = [layer for layer in self.model.layers if layer.block == 0]
        numbers = sum(layer.rows + layer.columns for layer in first)
        return self.tokens(self.fitted) * numbers * self.each * _GRAPH

    @cached_property
    def algebra(self) -> float:
        """The matrices of the largest layer, or the weights of the largest unit."""
        if not self.config.pruning.measures_factors:
            return max(self._units) * _FLOAT
        is_sparse = self.config.pruning.kind in SPARSE
        copies = _SPARSE_ALGEBRA if is_sparse else _DENSE_ALGEBRA
        return max(
            (layer.rows**2 + width(layer) ** 2) * _FLOAT * _ALGEBRA
            + layer.weights * _FLOAT * copies
            for layer in self.touched or self.model.layers
        )

    @property
    def _units(self) -> Iterable[int]:
        """The weights of what is pruned at once, with two copies of a layer."""
        layers = self.touched or self.model.layers
        together: dict[tuple[int, str], list[int]] = {}
        for x in layers:
            is_coupled = self.config.pruning.kind in COUPLED
            name = place(x) if is_coupled else x.kind
            together.setdefault((x.block, name), []).append(x.weights)
        return (sum(unit) + 2 * max(unit) for unit in together.values())

    @property
    def choices(self) -> float:
        """The costs and masks of single weights."""
        if self.config.pruning.kind not in SPARSE:
            return 0
        return sum(layer.weights for layer in self.measured) * (2 * _FLOAT + 4)

    @property
    def exported(self) -> float:
        """The models in memory once the export is written."""
        return 0 if self.offloads else self.weights

    @property
    def exporting(self) -> float:
        """The models in memory during the export, and the tensors being written.

        For coupled structures there are two, one of them with zeros filled in; in
        files, if blocks are offloaded.
        """
        if self.offloads:
            held = self.weights_on_host if self.is_on_gpu else 0
            return held + self.export_weights
        is_coupled = self.config.pruning.kind in COUPLED
        return self.weights * (2 if is_coupled else 1) + self.export_weights

    def _room(self, held: float = 0.0) -> float:
        """Return what a store may take of the machine's memory beside `held` bytes."""
        return HOST_SHARE * max(0.0, self.free_on_host - held)

    def _with_store(self, held: float, stored: float) -> float:
        """Return the bytes in memory with a store beside `held` bytes."""
        return held + min(stored, self._room(held))

    @property
    def peak(self) -> float:
        """The peak, if all memory is that of the machine."""
        fixed = self._unmapped + self.references
        unrecovered = self.unrecovered
        if self.offloads:  # copies of the weights are in files, as they are
            unrecovered = 0
        else:
            fixed += self.undone
        sizes = self.factors, self.kept, self.record(self.fitted)
        stored = (
            min(x, self._room(fixed)) for x in (*sizes, self.record(self.held_out))
        )
        moments = self._moments(*stored)
        fixed_then = fixed + min(unrecovered, self._room(fixed))
        # Both models share all but the blocks.
        original = self._unmapped - (self.weights - self._of_blocks)
        recovery = (
            self._with_store(
                fixed_then + x.device + x.host + x.has_original * original,
                x.stored,
            )
            for x in self.recovery
        )
        return max(fixed + max(moments.values()), fixed_then, *recovery)

    @property
    def on_host(self) -> float:
        """The peak of the machine's memory, if a GPU computes."""
        fixed = self.weights_on_host + self.undone + self.references
        recorded = self._beyond_device(self.record(self.config.calibration.windows))
        # The inputs of a block are dropped when its factors have been measured.
        shot = self._with_store(fixed, max(self.factors, recorded))
        if self.held_out:
            shot = self._with_store(shot, self.factors)
            shot = self._with_store(shot, self.kept)
        shot += self.choices
        fixed_then = fixed + min(self.unrecovered, self._room(fixed))
        # The blocks of the original are offloaded, in files where there is no room.
        original = self._pinned if self._pinned <= self._room(fixed) else 0
        recovery = (
            self._with_store(
                fixed_then + x.host + x.has_original * original,
                self._beyond_device(x.stored),
            )
            for x in self.recovery
        )
        return max(shot, fixed_then, *recovery)

    def _beyond_device(self, size: float) -> float:
        """Return how much of a store is not on the device."""
        return max(0, size - self.store_on_device)

    @property
    def on_device(self) -> float:
        """The peak of the GPU's memory; gradients need the factors of one block."""
        factors = self.block_factors if self.measures_gradients else self.factors
        recorded = min(self.record(self.fitted), self.store_on_device)
        again = min(self.record(self.held_out), self.store_on_device)
        moments = self._moments(factors, 0, recorded, again)
        recovery = (
            moment.device
            + moment.has_original * self._visiting
            - (not moment.copies_ahead) * self._ahead
            + min(moment.stored, self.store_on_device)
            for moment in self.recovery
        )
        return self.weights_on_device + max(*moments.values(), *recovery)

    def _moments(
        self, factors: float, kept: float, recorded: float, again: float
    ) -> dict[str, float]:
        """Return the bytes beyond the weights of the shots, by moment.

        Args:
            factors: held at once.
            kept: of a copy of the weights.
            recorded: of the inputs of the blocks, for the windows that are fitted.
            again: for those that are held out.
        """
        calibration, held, fitted = self.config.calibration, self.held_out, self.fitted
        moments = {"evaluation": self.evaluated(calibration.validation_windows)}
        if self.measures:
            moments["forward"] = recorded + self.logits(fitted)
            moments["backward"] = max(recorded, factors) + self.graph
        if self.config.pruning.searches_damping:
            trial = max(self.algebra, self.evaluated(held))
            moments["damping"] = factors + kept + self.choices + trial
            repeated = max(again + self.logits(held), factors + self.graph)
            moments["held-out"] = factors + repeated
        moments["update"] = factors + self.choices + self.algebra
        if file_dtype(self.config, self.model) in QUANTIZED:
            longest = max((layer.columns for layer in self.model.layers), default=0)
            moments["export"] = _QUANTISER_COPIES * _FLOAT * longest**2
        return moments

    @property
    def recovery_windows(self) -> int:
        """The windows of the user's and the model's own text, for recovery."""
        if self.config.recovery.level is Recovery.OFF:
            return 0
        return self.config.calibration.windows + self.config.own_windows

    @property
    def recovery_judges(self) -> int:
        """The number of those windows that judge it."""
        kinds = self.config.calibration.windows, self.config.own_windows
        return sum(map(judging_windows, kinds)) if self.recovery_windows else 0

    @cached_property
    def recovery(self) -> tuple[RecoveryMoment, ...]:
        """The moments of recovery."""
        return recovery_moments(self) if self.recovery_windows else ()

    # the disk

    @cached_property
    def export_weights(self) -> int:
        """The bytes of the exported weights."""
        return self._written(self.config.export)

    @property
    def checkpoint_weights(self) -> int:
        """The bytes of a checkpoint for transformers beside another export."""
        if self.config.export.format in FOR_TRANSFORMERS:
            return 0
        return self._written(ExportConfig())

    def _written(self, export: ExportConfig) -> int:
        dtype = file_dtype(replace(self.config, export=export), self.model)
        file = planned_file(self.model, dtype, self.config.pruning)
        return file.bytes(self._removed_from_files)

    @cached_property
    def _removed_from_files(self) -> int:
        """The number of weights that the exported files lack."""
        config, pruning = self.config, self.config.pruning
        is_masked = config.export.format is Format.MASKED
        # With a quality limit, the size that is reached is not known beforehand.
        if is_masked or pruning.has_quality_limit or pruning.kind in SPARSE:
            return 0
        try:
            dtype = file_dtype(config, self.model)
            return goal_of(pruning, self.model, dtype).removed
        except ConfigError:
            return 0  # no such target; another check raises

    @property
    def disk(self) -> int:
        """The bytes of export, checkpoint, probe and small files.

        Before the export, hidden states and the saved state may take as much.
        """
        calibration = self.config.calibration
        files = self.export_weights + self.checkpoint_weights
        tokens = min(_PROBED_TOKENS, calibration.window_length)
        probe = 2 * tokens * self.model.vocabulary * _FLOAT  # of both models
        in_memory = self.store_on_device + self._room()
        of_recovery = max((moment.stored for moment in self.recovery), default=0)
        copies = self.unrecovered + of_recovery
        stored = max(self.record(self.fitted) + self.factors + self.kept, copies)
        mapped = int(max(0, stored - in_memory))
        if self.offloads:
            # Those that change, their copies, and the full-size model.
            mapped += int(2 * self.weights + self.unrecovered + self.undone)
        during, at_the_end = self._saved_state
        return max(mapped + during, files + probe + _OTHER_FILES + at_the_end)

    @property
    def _saved_state(self) -> tuple[int, int]:
        """The bytes of the state of the run: the most on the way, and at the end.

        A part of it is written before the one that it replaces is deleted, and the
        shot before the last is kept.
        """
        config, recovery = self.config, self.config.recovery
        if not config.export.save_progress:
            return 0, 0
        touched = sum(layer.weights for layer in self.touched)
        left = self.model.prunable - (touched - self.weights_left)
        # The first of several shots removes less than all of them.
        most = left if config.pruning.shots == 1 else self.model.prunable
        masks = touched / 8 if config.pruning.kind in SPARSE else 0
        shot = most * self.each + masks
        peak = 2 * shot
        kept = shot if config.pruning.shots == 1 else 2 * shot
        at_the_end = kept if recovery.level is Recovery.OFF else 2 * shot
        if recovery.level is not Recovery.OFF:
            peak = max(peak, kept + 2 * left * self.each)
        if recovery.trains:
            trained = trained_weights(self, left) * _SAVED_NUMBERS * _FLOAT
            peak = max(peak, kept + left * self.each + 2 * trained)
        return int(_OTHER_WEIGHTS * peak), int(_OTHER_WEIGHTS * at_the_end)


def readers(layers: Iterable[LayerSummary]) -> list[LayerSummary]:
    """Return the first layer of each set that reads the same input and shares one A.

    The layers of a part of a block, such as `self_attn`, read the same input, except
    the one whose columns are heads or neurons.
    """
    seen: dict[tuple[int, str, int, bool], LayerSummary] = {}
    for layer in layers:
        key = (layer.block, place(layer), width(layer), bool(layer.coupling))
        seen.setdefault(key, layer)
    return list(seen.values())


def _scaled_layer(layer: LayerSummary, stays: float) -> LayerSummary:
    """Return a layer with a share of its heads or neurons."""
    rows, columns = layer.rows, width(layer)
    if layer.coupling:
        columns = round(columns * stays)
    else:
        rows = round(rows * stays)
    rows, columns = max(1, rows), max(1, columns)
    return msgspec.structs.replace(
        layer, rows=rows, columns=columns, weights=rows * columns
    )


def width(layer: LayerSummary) -> int:
    """Return the number of columns, with that of a bias."""
    return layer.weights // layer.rows


def place(layer: LayerSummary) -> str:
    """Return the part of a block that has the layer: `mlp` for `mlp.down_proj`."""
    return layer.kind.rpartition(".")[0]
