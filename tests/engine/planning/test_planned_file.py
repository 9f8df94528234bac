"""The size of a file follows from the types of its tensors."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import (
    FOR_ANY_MODEL,
    QUANTIZED,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.model_info.header import DecoderSizes, ModelFacts
from surgeon_engine.base.errors import PruningError
from surgeon_engine.planning.automatic_settings import (
    about_multiple,
    with_chosen_multiple,
    with_width_multiple,
)
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from surgeon_engine.planning.sketch import sketch_model
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of
from tests.helpers.configs import pruning_config

BLOCKS = "model.layers."
HEADER = 8 * (7 + 4) * 110  # bytes
NOTHING = pruning_config(sparsity=0.0)
NEURONS = pruning_config(structure="neurons", sparsity=0.3)


def llama(hidden: int = 512, neurons: int = 1024, tied: bool = True) -> ModelSummary:
    """Return a model of eight blocks with eight heads and two key-value heads."""
    sizes = DecoderSizes(8, hidden, neurons, 8, 2, hidden // 8, 1000)
    model = sketch_model(ModelFacts("model", dtype="float32"), sizes)

    def named(each, **names):
        return msgspec.structs.replace(each, **names)

    return named(
        model,
        parameters=model.prunable + 1000 * hidden * (2 - tied) + 17 * hidden,
        layers=tuple(named(x, name=BLOCKS + x.name) for x in model.layers),
        coupled=tuple(
            named(x, layers=tuple(BLOCKS + name for name in x.layers))
            for x in model.coupled
        ),
    )


def multiple_of(job: RunConfig, model: ModelSummary, on_cuda: bool = False) -> int:
    """Return the width multiple that a job gets."""
    return with_width_multiple(job, model, on_cuda=on_cuda).pruning.width_multiple


def planned(dtype: FileDtype, pruning: PruningConfig = NOTHING, **sizes) -> PlannedFile:
    return PlannedFile(llama(**sizes), FileForm(Format.GGUF, dtype), pruning)


def test_bits_of_a_number_are_those_of_its_blocks():
    def bits(dtype: FileDtype) -> float:
        file = planned(dtype)
        return 8 * file.bytes(0) / file.model.parameters

    found = [bits(dtype) for dtype in FOR_ANY_MODEL]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(8.5, abs=0.05)
    assert found[1] == pytest.approx(6.5625, abs=0.05)
    assert bits(FileDtype.FLOAT16) == pytest.approx(16, abs=0.05)
    assert bits(FileDtype.FLOAT32) == pytest.approx(32, abs=0.05)


def test_bytes_are_counted_by_hand():
    file = planned(FileDtype.Q4_0, tied=False)
    vectors, embeddings = 17 * 512 * 4, 1000 * 512 * 18 // 32
    head = 1000 * 512 * 210 // 256
    # The first of eight blocks has a longer type in its layer down.
    layers = file.model.prunable * 18 // 32 + 512 * 1024 * 2 // 32
    assert file.bytes(0) == HEADER + vectors + embeddings + head + layers


def test_removed_weights_take_the_bytes_of_their_layers_with_them():
    both = planned(FileDtype.Q4_K_M, pruning_config(sparsity=0.3))
    neurons = planned(FileDtype.Q4_K_M, NEURONS)
    vectors, embeddings = 17 * 512 * 4, 1000 * 512 * 210 // 256
    assert both.bytes(both.model.prunable) == HEADER + vectors + embeddings
    mlp = sum(x.weights for x in neurons.model.layers if x.kind.startswith("mlp"))
    attention = neurons.bytes(mlp) - HEADER - vectors - embeddings
    # Four of eight blocks have longer values.
    q, v = 512 * 512, 128 * 512
    assert attention == 8 * (2 * q + 2 * v) * 144 // 256 + 4 * v * (210 - 144) // 256


@pytest.mark.parametrize("dtype", [*QUANTIZED, FileDtype.FLOAT32])
def test_target_size_is_reached_and_not_exceeded(dtype):
    model, megabytes = llama(), planned(dtype).bytes(0) * 0.7 / 1e6
    pruning = replace(pruning_config(), target=Target.FILE_SIZE, megabytes=megabytes)
    goal = goal_of(pruning, model, FileForm(Format.GGUF, dtype))
    assert 0 <= round(megabytes * 1e6) - goal.weight_bytes <= 4


@pytest.mark.parametrize(
    ("dtype", "neurons", "expected"),
    [
        (FileDtype.Q4_0, 1024, 32),
        (FileDtype.IQ4_NL, 1024, 32),
        (FileDtype.Q8_0, 1024, 32),
        (FileDtype.Q4_K_M, 1024, 256),
        (FileDtype.Q4_K_M, 1056, 32),
        (FileDtype.Q4_0, 1000, 1),
        (FileDtype.Q4_0, 1004, 1),
        (FileDtype.FLOAT16, 1024, 32),
    ],
)
def test_width_multiple_is_the_one_that_the_number_format_needs(
    dtype, neurons, expected
):
    model = llama(neurons=neurons)
    export = ExportConfig(format=Format.GGUF, dtype=dtype)
    job = RunConfig(pruning=NEURONS, export=export)
    assert job.pruning.width_multiple == 0
    assert multiple_of(job, model) == expected
    needed = expected > 1 or neurons % 8
    assert multiple_of(job, model, on_cuda=True) == (expected if needed else 8)


@pytest.mark.parametrize(("neurons", "expected"), [(1000, 8), (1004, 1)])
def test_gpu_gets_widths_in_eights_where_the_original_has_such(neurons, expected):
    job, model = RunConfig(pruning=NEURONS), llama(neurons=neurons)
    assert multiple_of(job, model) == 1
    assert multiple_of(job, model, on_cuda=True) == expected
    nothing = RunConfig(pruning=pruning_config(structure="neurons", sparsity=0.0))
    assert multiple_of(nothing, model, on_cuda=True) == 1


@pytest.mark.parametrize(
    ("dtype", "chosen", "on_cuda", "reason"),
    [
        (FileDtype.SAME, 0, False, ""),
        (FileDtype.SAME, 0, True, "which GPUs compute faster"),
        (FileDtype.FLOAT16, 0, True, "the file would fill up others"),
        (FileDtype.Q4_0, 0, False, "the file would fill up others"),
        (FileDtype.Q4_0, 0, True, "the file would fill up others"),
        (FileDtype.Q4_0, 8, True, ""),
        (FileDtype.FLOAT16, 1, True, ""),
    ],
)
def test_width_multiple_has_a_reason(dtype, chosen, on_cuda, reason):
    pruning = pruning_config(structure="neurons", width_multiple=chosen)
    is_gguf = dtype is not FileDtype.SAME
    form = Format.GGUF if is_gguf else Format.AUTOMATIC
    export = ExportConfig(format=form, dtype=dtype)
    job = RunConfig(pruning=pruning, export=export)
    file = PlannedFile(llama(), file_form(job, llama()), pruning)
    found = about_multiple(file, multiple_of(job, llama(), on_cuda=on_cuda))
    assert reason in found if reason else not found


def test_error_names_formats_whose_blocks_allow_the_target():
    same = pruning_config(structure="neurons", sparsity=0.05, widths="same")
    model = llama()
    wide = with_chosen_multiple(RunConfig(pruning=same), 256).pruning
    goal = goal_of(wide, model, FileForm(Format.GGUF, FileDtype.Q4_K_M))
    with pytest.raises(PruningError, match="at least") as refused:
        check_target_in_limits(goal, wide, model)
    hint = refused.value.hint
    assert "In Q4_K_M, MLP widths are multiples of 256." in hint
    assert "possible: Q8_0, IQ4_NL, Q4_0" in hint
    short = goal_of(same, model, FileForm(Format.GGUF, FileDtype.Q4_0))
    narrow = with_chosen_multiple(RunConfig(pruning=same), 32).pruning
    check_target_in_limits(short, narrow, model)


def test_chosen_width_multiple_stays():
    pruning = pruning_config(structure="neurons", width_multiple=8)
    export = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    job = RunConfig(pruning=pruning, export=export)
    assert multiple_of(job, llama()) == 8
    any_width = pruning_config(structure="neurons", width_multiple=1)
    assert multiple_of(RunConfig(pruning=any_width), llama(), on_cuda=True) == 1


def test_fallbacks_are_counted():
    K = FileDtype.Q4_K_M
    assert planned(K).fallbacks == {}
    assert planned(FileDtype.FLOAT32).fallbacks == {}
    # Rows of 288 numbers, in all layers but down.
    found = planned(K, hidden=288).fallbacks
    assert sum(found.values()) == 8 * 6
    assert set(found) == {TensorType.Q5_0, TensorType.Q8_0}


def test_fallbacks_depend_on_the_remaining_widths():
    K = FileDtype.Q4_K_M
    assert planned(K, NEURONS).fallbacks == {}
    narrow = pruning_config(structure="neurons", sparsity=0.3, width_multiple=32)
    assert sum(planned(K, narrow).fallbacks.values()) == 8  # the layers down
    heads = pruning_config(structure="heads", sparsity=0.1)
    assert planned(K, heads).fallbacks == {}  # 256 columns for each pair of heads
    assert sum(planned(K, heads, hidden=256).fallbacks.values()) == 8
