"""The config of a run: frozen dataclasses, which `toml.py` reads and writes.

Every field is annotated with its range and whether it is an advanced one, for the
checks here and the forms of the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from surgeon_engine.api.config.calibration import CalibrationConfig, real_name
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.pruning import (
    OF_EXPERTS,
    SPARSE,
    WITH_NEURONS,
    CostBasis,
    Method,
    PruningConfig,
)
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import ConfigError


class Dtype(StrEnum):
    """Number formats in which a model is loaded and pruned."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Device(StrEnum):
    """Devices on which the engine computes."""

    AUTO = "auto"  # a GPU when there is one
    CPU = "cpu"
    GPU = "gpu"  # torch's device "cuda", or "mps" for Apple's GPU


ON_CPU = f'model.device = "{Device.CPU}"'  # in a job; a `choice` of sentences


class Offload(StrEnum):
    """Storage of the blocks' weights on the host instead of the device."""

    AUTOMATIC = "automatic"  # where the device has too little memory
    OFF = "off"
    ON = "on"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model to prune, its number format in memory and its device."""

    source: str = DEMO  # "demo", a folder, a .gguf file or hf://org/name@revision
    dtype: Annotated[Dtype, Option(advanced=True)] = Dtype.FLOAT32
    device: Annotated[Device, Option(advanced=True)] = Device.AUTO
    offload: Annotated[Offload, Option(advanced=True)] = Offload.AUTOMATIC
    # Number of GPUs that share a run; 0: all.
    gpus: Annotated[
        int, Option(Limits(0, 64), advanced=True, used_if="may_use_gpu")
    ] = 1

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.source.strip():
            raise ConfigError(
                "No model was given.", "Choose a folder, a .gguf file or the demo."
            )

    @property
    def may_use_gpu(self) -> bool:
        """True unless the device is the CPU."""
        return self.device is not Device.CPU


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that determines a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """The setting and the name of each text that the job reads."""
        calibration, evaluation = self.calibration, self.evaluation
        return (
            ("text", calibration.text),
            ("validation_text", calibration.validation_text),
            *(("more_texts", more.text) for more in calibration.more_texts),
            *(("texts", text) for text in evaluation.texts if evaluation.windows),
        )

    @property
    def writes_original(self) -> bool:
        """True if the model that the run writes is the original."""
        return self.pruning.removes_nothing and not self.pruning.removes_tokens

    @property
    def general_windows(self) -> int:
        """The number of windows that recovery reads beside the user's."""
        return self.recovery.general_windows if self.recovery.recovers else 0

    @property
    def own_windows(self) -> int:
        """The number of windows that the original model writes."""
        return self.general_windows - self.shipped_windows

    @property
    def shipped_windows(self) -> int:
        """The number of windows of the shipped text."""
        return self.general_windows // 2

    @property
    def blocks_miss_size(self) -> bool:
        """True if a GGUF file may exceed a target size, by widths that it fills up."""
        pruning = self.pruning
        is_dense = pruning.structure in {*WITH_NEURONS} - {*OF_EXPERTS}
        has_odd_rows = is_dense and pruning.width_multiple % 32 != 0
        return pruning.is_sized and has_odd_rows and self.export.format is Format.GGUF

    @property
    def trains_offloaded(self) -> bool:
        """True if weights are to be trained that the device does not hold."""
        recovery = self.recovery
        is_whole = recovery.trained_weights is TrainedWeights.FULL
        keeps = recovery.gradient_checkpointing is GradientCheckpointing.OFF
        is_offloaded = self.model.offload is Offload.ON
        return recovery.trains and is_offloaded and (is_whole or keeps)

    def check_gpus(self, gpus: int) -> None:
        """Check that several GPUs, or processes, can share the job.

        Raises:
            ConfigError: The job asks for whole blocks, whose costs are not shared.
        """
        if (error := self._depth_error(gpus)) is not None:
            raise error

    def check_consistency(self) -> None:
        """Check that the settings of the job are consistent.

        Not called by the constructor, because an edit may change one setting before
        the other.

        Raises:
            ConfigError: Some settings contradict each other.
        """
        for _, error in self.contradictions():
            raise error

    def contradictions(self) -> Iterator[tuple[str, ConfigError]]:
        """Yield the contradictions of settings, each with one to change: part.field."""
        for setting, problem in self.calibration.contradictions():
            yield f"calibration.{setting}", problem
        known = set(map(real_name, self.calibration.texts_read))
        for setting, text in self.texts:
            if setting == "texts" and real_name(text) in known:
                yield (
                    "evaluation.texts",
                    ConfigError(
                        "{text:choice} cannot judge as text of another kind: it "
                        "calibrates or validates.",
                        "Held-out windows of it judge anyway. Name another text.",
                        text=text,
                    ),
                )
        if self.trains_offloaded:
            yield (
                "recovery.trained_weights",
                ConfigError(
                    "Blocks are offloaded, so distillation can train adapters (LoRA) "
                    "with gradient checkpointing alone.",
                    "Choose automatic weights to train and automatic gradient "
                    "checkpointing, or offload no blocks.",
                ),
            )
        if (error := self._depth_error(self.model.gpus)) is not None:
            yield "model.gpus", error
        if self.pruning.chooses_tokens and not self._compares_tokens:
            yield (
                "pruning.vocabulary",
                ConfigError(
                    "The number of tokens is chosen by first-order gates and costs per "
                    "parameter alone, without whole blocks and zeros.",
                    "Give the number of tokens to keep, or choose these settings.",
                ),
            )
        if self.blocks_miss_size:
            yield (
                "pruning.width_multiple",
                ConfigError(
                    "GGUF files fill the widths of layers up to multiples of 32; a "
                    "target size in bytes cannot be guaranteed.",
                    "Choose 32 as the width multiple, or give the target as a share.",
                ),
            )

    def _depth_error(self, gpus: int) -> ConfigError | None:
        if gpus <= 1 or not self.pruning.drops_depth:
            return None
        return ConfigError(
            "Whole blocks and sub-layers cannot be removed on {gpus} GPUs.",
            "Use one GPU, or drop no whole blocks, attentions and MLPs.",
            gpus=gpus,
        )

    @property
    def _compares_tokens(self) -> bool:
        """True if the costs of tokens can be compared with other costs."""
        pruning = self.pruning
        return (
            pruning.method is Method.FIRST_ORDER
            and pruning.cost_basis is CostBasis.PER_PARAMETER
            and not pruning.drops_depth
            and pruning.structure not in SPARSE
        )
