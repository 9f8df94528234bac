"""Results of the fake engine: a model, shots, exported files and measured speed."""

import math
from pathlib import Path

from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    SPARSE,
    PruningConfig,
    Structure,
    Widths,
)
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    rate_of,
)
from surgeon_engine.api.messages.run import (
    DampingChoice,
    Estimate,
    Evaluation,
    Exported,
    Fidelity,
    FormatSupport,
    LayerSparsity,
    Recovered,
    ShotFinished,
)
from surgeon_engine.api.messages.sources import (
    CoupledSummary,
    LayerSummary,
    ModelSummary,
    StructureSupport,
)
from surgeon_engine.api.model_info.files import GGUF_FILE
from tests.helpers.configs import DENSE
from tests.helpers.fake_live import costs
from tests.helpers.fake_machine import COUPLED, COUPLINGS
from tests.helpers.mixtures import MIXTURE, mixture_summary

COMPARED_TOKENS = 512
WHOLE_BYTES = 2_828_736 * 4  # all parameters in float32
PRUNED_BYTES = 2_098_829 * 4
HEADER_BYTES = 8_192
RAGGED = "No plain model has these widths: 500 and 512."
READ_BACK = "gguf 0.17.1"
_SHRINKING = {FileDtype.SAME: 1, FileDtype.FLOAT32: 1, FileDtype.Q8_0: 4}


def exported(
    folder: str,
    pruning: PruningConfig,
    export: ExportConfig | None = None,
    *,
    pruned_bytes: int = PRUNED_BYTES,
    is_run: bool = True,
) -> Exported:
    """Return the result of an export; `is_run` is False if no program could run it."""
    export = export or ExportConfig()
    is_sparse = pruning.structure in SPARSE
    file_format = export.format
    if file_format is Format.AUTOMATIC:
        file_format = Format.MASKED if is_sparse else Format.COMPACT
    size = WHOLE_BYTES if is_sparse or file_format is Format.MASKED else pruned_bytes
    size = size // _SHRINKING.get(export.dtype, 2) + HEADER_BYTES
    is_exact = export.dtype in (FileDtype.SAME, FileDtype.FLOAT32)
    program = (
        "llama-cpp-python 0.3.36"
        if file_format is Format.GGUF
        else "transformers 5.5.0"
    )
    return Exported(
        folder=folder,
        weight_bytes=size,
        tokens_compared=COMPARED_TOKENS if is_run else 0,
        largest_difference=(1.5e-6 if is_exact else 0.03) if is_run else 0.0,
        format=file_format,
        dtype=FileDtype.FLOAT32 if is_exact else export.dtype,
        agreement=1.0 if is_exact else 0.998,
        perplexity=14.62 if is_run else None,
        expected_perplexity=14.62,
        divergence=0.184 if is_run else None,
        expected_divergence=0.184,
        checked_with=program if is_run else READ_BACK,
        others=others(pruning),
    )


def others(pruning: PruningConfig) -> tuple[FormatSupport, ...]:
    """Return the formats in which the pruned model can be saved."""
    is_sparse = pruning.structure in SPARSE
    widths = "Its layers are lists." if pruning.structure in BY_LAYER else RAGGED
    return (
        FormatSupport(Format.COMPACT, "No whole structure was removed." * is_sparse),
        FormatSupport(Format.PLAIN, widths),
        FormatSupport(Format.MASKED),
        FormatSupport(Format.GGUF),
    )


def write_file_of(result: Exported) -> None:
    """Write an empty file, or folder, where an export says that it is."""
    folder = Path(result.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if result.format is Format.GGUF:
        (folder / GGUF_FILE).touch()


def measured(settings: BenchmarkSettings | None = None) -> Measured:
    """Return the speed of two models; the second is about 25 % faster."""
    settings = settings or BenchmarkSettings()
    return Measured(
        models=(
            _timed("demo", 5_700_000, 2_828_736, 0.40),
            _timed("export", PRUNED_BYTES + HEADER_BYTES, 2_098_829, 0.31),
        ),
        threads=2,
        prompt_tokens=settings.prompt_tokens,
        generated_tokens=settings.generated_tokens,
        rounds=settings.rounds,
        device="a processor",
        dtype=settings.dtype,
    )


def _timed(name: str, file_bytes: int, parameters: int, seconds: float):
    rounds = [seconds + 0.002 * number for number in range(7)]
    return ModelMeasured(
        name=name,
        file_bytes=file_bytes,
        parameters=parameters,
        prompt=rate_of(512, rounds),
        generation=rate_of(32, [1.7 * seconds for seconds in rounds]),
        loaded_bytes=400_000_000 + 4 * parameters,
        peak_bytes=420_000_000 + 8 * parameters,
    )


BLOCKS = 6
KINDS = (
    ("self_attn.q_proj", 192, 192),
    ("self_attn.k_proj", 96, 192),
    ("self_attn.v_proj", 96, 192),
    ("self_attn.o_proj", 192, 192),
    ("mlp.gate_proj", 512, 192),
    ("mlp.up_proj", 512, 192),
    ("mlp.down_proj", 192, 512),
)
UNSUPPORTED = {Structure.ROWS_AND_COLUMNS: "its layers are tied."}


def model_summary(source: str = "demo") -> ModelSummary:
    """Return the summary of a model like the demo, or of one with experts."""
    if Path(source).name == MIXTURE:
        return mixture_summary()
    layers = tuple(
        LayerSummary(
            f"model.layers.{block}.{kind}",
            block,
            kind,
            rows,
            cols,
            rows * cols,
            COUPLINGS.get(kind, ""),
        )
        for block in range(BLOCKS)
        for kind, rows, cols in KINDS
    )
    prunable = sum(layer.weights for layer in layers)
    coupled = tuple(
        CoupledSummary(
            kind, tuple(f"model.layers.{block}.{module}.{x}" for x in names), groups
        )
        for block in range(BLOCKS)
        for kind, module, names, groups in COUPLED
    )
    parameters = prunable + 395_712
    return ModelSummary(
        name=source,
        source=source,
        architecture="LlamaForCausalLM",
        parameters=parameters,
        prunable=prunable,
        blocks=BLOCKS,
        hidden_size=192,
        vocabulary=2048,
        longest_window=512,
        file_bytes=4 * parameters,
        dtype="float32",
        layers=layers,
        structures=tuple(
            StructureSupport(structure, UNSUPPORTED.get(structure, ""))
            for structure in DENSE
        ),
        coupled=coupled,
        cache_width=2 * BLOCKS * 96,
        gguf_widths=Widths.FREE,
        tokenizer_bytes=1000,
        token_parameters=192,
    )


def shot_finished(shot: int, shots: int, sparsity: float) -> ShotFinished:
    """Return the result of one of `shots` on the way to `sparsity`."""
    model = model_summary()
    share = sparsity * shot / shots
    layers = tuple(
        LayerSparsity(
            layer.name, layer.block, layer.kind, layer.weights, _removed(layer, share)
        )
        for layer in model.layers
    )
    removed = sum(layer.removed for layer in layers)
    perplexity = 14.2 * (1 + 0.4 * share**1.5)
    return ShotFinished(
        shot=shot,
        target=share,
        sparsity=removed / model.prunable,
        threshold=1e-7 * shot,
        parameters=model.parameters - removed,
        evaluation=evaluation(perplexity),
        layers=layers,
        seconds=1.0,
        damping=DampingChoice(0.01, 0.1, tried=9, held_out_nats=0.6512),
        costs=costs(shot, 1e-7 * shot, removed // shot),
    )


def evaluation(perplexity: float) -> Evaluation:
    """Return an evaluation with a plausible loss."""
    loss = 2.65 * perplexity / 14.2
    texts = {"built-in": 1.0, OWN_TEXT: 1.6}
    found = tuple(_fidelity(perplexity, factor, text) for text, factor in texts.items())
    return Evaluation(loss, perplexity, 32, 256, "built-in", fidelity=found)


def _fidelity(perplexity: float, factor: float, text: str) -> Fidelity:
    nats = factor * abs(math.log(perplexity / 14.2))
    share = math.exp(-nats)
    estimates = (
        Estimate(nats, 0.9 * nats, 1.1 * nats),
        Estimate(share, 0.9 * share, min(1.0, 1.1 * share)),
        Estimate(perplexity, 0.9 * perplexity, 1.1 * perplexity),
    )
    return Fidelity(*estimates, windows=32, window_length=256, text=text)


def recovered(perplexity: float) -> Recovered:
    """Return a plausible recovery that ends at a perplexity."""
    return Recovered(0.6, 0.3, 12, 40, evaluation(perplexity), 5.0)


def _removed(layer: LayerSummary, share: float) -> int:
    uneven = 0.5 + ((layer.block * 5 + len(layer.kind) * 3) % 11) / 10
    return int(layer.weights * min(0.95, share * uneven))
