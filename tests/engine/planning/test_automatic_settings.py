"""Automatic settings become the closest that fit, in the plan as in the run."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Method, Structure, Widths
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, Offload
from surgeon_engine.api.messages.machine import APPLE_GPU
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning import speed
from surgeon_engine.planning.automatic_settings import (
    settle,
    with_chosen_multiple,
    with_width_multiple,
)
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.planning.needs import Resource
from surgeon_engine.planning.resource_check import check_resources, settings_that_fit
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine

# A model whose weights are large beside the hidden states and logits.
LAYERS = tuple(
    msgspec.structs.replace(
        x, rows=30 * x.rows, columns=30 * x.columns, weights=900 * x.rows * x.columns
    )
    for x in model_summary().layers
)
WEIGHTS = sum(x.weights for x in LAYERS)
MODEL = msgspec.structs.replace(
    model_summary(),
    vocabulary=64,
    blocks=6,
    layers=LAYERS,
    prunable=WEIGHTS,
    parameters=WEIGHTS + 10**6,
)
PLENTY = 10**14
JOB = surgeon_job(
    model=ModelConfig(offload=Offload.OFF), recovery=RecoveryConfig(general_windows=0)
)
ANY = (TrainedWeights.AUTOMATIC, GradientCheckpointing.AUTOMATIC)
LADDER = [
    (Recovery.DISTILLATION, TrainedWeights.FULL, GradientCheckpointing.OFF),
    (Recovery.DISTILLATION, TrainedWeights.FULL, GradientCheckpointing.ON),
    (Recovery.DISTILLATION, TrainedWeights.LORA, GradientCheckpointing.OFF),
    (Recovery.DISTILLATION, TrainedWeights.LORA, GradientCheckpointing.ON),
    (
        Recovery.RECONSTRUCTION,
        TrainedWeights.AUTOMATIC,
        GradientCheckpointing.AUTOMATIC,
    ),
    (Recovery.REFIT, TrainedWeights.AUTOMATIC, GradientCheckpointing.AUTOMATIC),
]


def with_recovery(**changes):
    return replace(JOB, recovery=replace(JOB.recovery, **changes))


def explicit(rung):
    level, weights, checkpointing = rung
    return with_recovery(
        level=level, trained_weights=weights, gradient_checkpointing=checkpointing
    )


def chosen(config, free):
    recovery = settle(config, MODEL, machine(free=int(free))).config.recovery
    return (
        recovery.level,
        recovery.trained_weights,
        recovery.gradient_checkpointing,
    )


def needed(config, free=PLENTY):
    return estimate(config, MODEL, machine(free=int(free))).ram


def test_full_distillation_is_chosen_where_memory_is_plenty():
    assert JOB.recovery.level is Recovery.AUTOMATIC
    found = settle(JOB, MODEL, machine(free=PLENTY))
    assert chosen(JOB, PLENTY) == LADDER[0]
    assert found.is_open
    assert found.obstacle is None
    assert "distillation, all weights" in next(found.messages)


@pytest.mark.parametrize("rung", LADDER[:5], ids=str)
def test_first_rung_that_fits_is_chosen(rung):
    free = needed(explicit(rung)) / 0.849
    places = [LADDER.index(rung), LADDER.index(chosen(JOB, free))]
    assert places[1] <= places[0]
    better = LADDER[: places[1]]
    for other in better:
        assert needed(explicit(other), free) > 0.85 * free
    assert needed(explicit(chosen(JOB, free)), free) <= 0.85 * free


def test_obstacle_says_what_the_closest_recovery_needs():
    full = needed(explicit(LADDER[0]))
    found = settle(JOB, MODEL, machine(free=int(0.9 * full)))
    assert found.obstacle.what is Resource.MEMORY
    assert found.obstacle.needed == pytest.approx(full, rel=0.01)
    assert "GB" in next(found.messages)


def test_explicit_settings_stay():
    for rung in LADDER:
        config = with_width_multiple(explicit(rung), MODEL, on_cuda=False)
        found = settle(config, MODEL, machine(free=10**6))
        assert found.config == config
        assert not found.is_open


def test_open_weights_of_a_distillation_are_chosen():
    config = with_recovery(level=Recovery.DISTILLATION)
    assert chosen(config, PLENTY) == LADDER[0]
    assert chosen(config, 10**6)[1] is TrainedWeights.LORA
    lora = with_recovery(
        level=Recovery.DISTILLATION, trained_weights=TrainedWeights.LORA
    )
    assert chosen(lora, PLENTY) == LADDER[2]


def test_something_else_that_is_larger_does_not_lower_the_recovery():
    """With wide batches, the gradients need most; recovery does not matter."""
    calibration = replace(JOB.calibration, batch=1024, windows=8192, window_length=256)
    model = MODEL
    job = replace(JOB, calibration=calibration)
    least = estimate(explicit_in(job, LADDER[-1]), model, machine(free=PLENTY)).ram
    full = estimate(explicit_in(job, LADDER[0]), model, machine(free=PLENTY)).ram
    assert least == full
    found = settle(job, model, machine(free=int(0.5 * least)))
    assert found.config.recovery.level is Recovery.DISTILLATION


def explicit_in(job, rung):
    return replace(job, recovery=explicit(rung).recovery)


def test_short_time_limit_lowers_the_level():
    long = with_recovery(minutes=1e5)
    short = with_recovery(minutes=1e-3)
    assert chosen(long, PLENTY) == LADDER[0]
    found = settle(short, MODEL, machine(free=PLENTY))
    assert found.config.recovery.level is Recovery.REFIT
    assert found.obstacle.what is Resource.TIME
    assert "time limit" in next(found.messages)


@pytest.mark.parametrize("level", [Recovery.AUTOMATIC, Recovery.DISTILLATION])
def test_short_time_limit_offloads_no_blocks(level):
    short = with_offload(with_recovery(minutes=1e-3, level=level), Offload.AUTOMATIC)
    found = settle(short, MODEL, machine(free=PLENTY))
    assert found.config.model.offload is Offload.OFF
    assert found.obstacle.what is Resource.TIME
    assert not found.offloads


def test_pace_of_the_machine_does_not_change_the_choice():
    job = with_recovery(minutes=5.0)
    one, other = (
        settle(job, MODEL, msgspec.structs.replace(machine(free=PLENTY), pace=pace))
        for pace in (0.01, 100.0)
    )
    assert one.config == other.config


def test_check_uses_what_is_chosen():
    free = int(needed(explicit(LADDER[2])) / 0.8)
    check = check_resources(JOB, MODEL, machine(free=free), PLENTY)
    assert check.settled == settle(JOB, MODEL, machine(free=free))
    assert check.estimate == estimate(check.settled.config, MODEL, machine(free=free))
    assert check.estimate.ram <= 0.85 * free


def test_settings_that_fit_keep_the_automatic_level_while_it_suffices():
    free = int(needed(explicit(LADDER[-1])) / 0.8)
    fitted = settings_that_fit(JOB, MODEL, machine(free=free), PLENTY)
    assert fitted.config == JOB
    assert fitted.changes == ()


def smallest_job(level):
    """Return a job that cannot be made smaller other than by its recovery."""
    pruning = pruning_config(
        structure=Structure.ROWS_AND_COLUMNS, method=Method.MAGNITUDE
    )
    job = replace(explicit(level), pruning=pruning)
    return replace(
        job,
        model=ModelConfig(dtype=Dtype.BFLOAT16, offload=Offload.OFF),
        calibration=replace(job.calibration, batch=1, window_length=64, windows=8),
        export=ExportConfig(dtype=FileDtype.BFLOAT16),
    )


def test_recovery_is_switched_off_where_even_the_least_does_not_fit():
    job, least = smallest_job((Recovery.AUTOMATIC, *ANY)), smallest_job(LADDER[-1])
    off = replace(job, recovery=replace(job.recovery, level=Recovery.OFF))
    assert needed(least) > 1.3 * needed(off)
    free = int(needed(off) / 0.84)
    fitted = settings_that_fit(job, MODEL, machine(free=free), PLENTY)
    assert fitted.config == off


def test_settings_that_fit_train_adapters_instead_of_all_weights():
    full, lora = smallest_job(LADDER[0]), smallest_job(LADDER[2])
    assert needed(full) > 1.1 * needed(lora)
    free = int(needed(lora) / 0.84)
    fitted = settings_that_fit(full, MODEL, machine(free=free), PLENTY)
    changed = {change.field for change in fitted.changes}
    assert "recovery.trained_weights" in changed
    assert fitted.config.recovery.level is Recovery.DISTILLATION


def automatic(**changes):
    return replace(with_recovery(**changes), model=ModelConfig())


def settled_on_gpu(job, gpu):
    return settle(job, MODEL, machine(free=PLENTY, gpu=int(gpu)))


def gpu_needed(job):
    return estimate(job, MODEL, machine(free=PLENTY, gpu=PLENTY)).gpu


def with_offload(job, offload):
    return replace(job, model=replace(job.model, offload=offload))


def test_blocks_are_not_offloaded_where_the_gpu_holds_the_model():
    found = settled_on_gpu(automatic(), PLENTY)
    assert found.config.model.offload is Offload.OFF
    assert not found.offloads
    assert not any("offloaded" in message for message in found.messages)


def test_hidden_states_on_the_gpu_have_what_the_model_leaves():
    job, weights = with_offload(automatic(), Offload.OFF), 4 * MODEL.parameters

    def needed(free):
        return estimate(job, MODEL, machine(free=PLENTY, gpu=int(free))).gpu

    assert needed(0.5 * weights) == needed(weights) < needed(1.2 * weights)


def test_blocks_are_offloaded_where_the_gpu_has_too_little_memory():
    job = automatic(level=Recovery.REFIT)
    resident = gpu_needed(with_offload(job, Offload.OFF))
    offloaded = gpu_needed(with_offload(job, Offload.ON))
    assert offloaded < 0.9 * resident
    found = settled_on_gpu(job, 0.8 * resident)  # hidden states do not have to fit
    assert found.config.model.offload is Offload.ON
    assert found.offloads
    assert any(x.startswith("Blocks are offloaded") for x in found.messages)


def test_adapters_are_trained_before_the_level_is_lowered():
    job = automatic()
    resident = replace(with_recovery(level=Recovery.REFIT), model=ModelConfig())
    gpu = 0.8 * gpu_needed(with_offload(resident, Offload.OFF))
    found = settled_on_gpu(job, gpu).config
    assert found.model.offload is Offload.ON
    assert found.recovery.level is Recovery.DISTILLATION
    assert (found.recovery.uses_lora, found.recovery.recomputes) == (True, True)


def test_offloaded_weights_are_on_the_host_or_in_files():
    job = with_offload(automatic(level=Recovery.REFIT), Offload.ON)
    weights = MODEL.parameters * 4

    def ram(free):
        return estimate(job, MODEL, machine(free=int(free), gpu=PLENTY)).ram

    assert ram(100 * weights) > 2 * weights  # both models
    assert ram(1.5 * weights) <= ram(100 * weights) - weights


def messages_of(job, machine):
    return [str(x) for x in settle(job, MODEL, machine).messages]


def test_slow_copies_of_offloaded_blocks_take_time():
    job = with_offload(automatic(level=Recovery.REFIT), Offload.ON)

    def seconds(copying, job=job, free=PLENTY):
        gpu = msgspec.structs.replace(machine(gpu=PLENTY).gpu, copying=copying)
        found = msgspec.structs.replace(machine(free=free, gpu=PLENTY), gpu=gpu)
        return estimate(job, MODEL, found).seconds

    assert seconds(1e12) == pytest.approx(seconds(0.0))
    assert seconds(1e6) > 2 * seconds(1e12)
    resident = with_offload(job, Offload.OFF)
    assert seconds(1e6, resident) == seconds(1e12, resident)
    # Weights beyond the free memory come from the disk. The model writes the text that
    # judges it, and reads all blocks for each token.
    from_disk = seconds(1e12, free=10**6) - seconds(1e12)
    reading, length = 4 * WEIGHTS / speed.DISK, job.calibration.window_length
    assert from_disk == pytest.approx(length * reading, rel=0.05)
    gpu = msgspec.structs.replace(machine(gpu=PLENTY).gpu, copying=1e6)
    slow = msgspec.structs.replace(machine(free=PLENTY, gpu=PLENTY), gpu=gpu)
    assert any(x.startswith("Writing text takes") for x in messages_of(job, slow))
    assert not any("Writing" in x for x in messages_of(resident, slow))


def test_training_of_all_weights_and_offloaded_blocks_exclude_each_other():
    job = automatic(level=Recovery.DISTILLATION, trained_weights=TrainedWeights.FULL)
    with_offload(job, Offload.OFF).check_consistency()
    with pytest.raises(ConfigError, match="train adapters"):
        with_offload(job, Offload.ON).check_consistency()
    assert settled_on_gpu(job, 10**6).config.model.offload is Offload.OFF


def test_width_multiple_of_the_number_format_is_announced():
    export = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    found = settle(replace(JOB, export=export), MODEL, machine(PLENTY))
    assert found.config.pruning.width_multiple == 32
    assert any("multiples of 32" in message for message in found.messages)
    plain = settle(JOB, MODEL, machine(PLENTY))
    assert plain.config.pruning.width_multiple == 1
    assert not any("multiples" in message for message in plain.messages)


@pytest.mark.parametrize(
    ("device", "gpu", "expected"),
    [
        (Device.AUTO, "NVIDIA RTX", 8),
        (Device.GPU, "NVIDIA RTX", 8),
        (Device.CPU, "NVIDIA RTX", 1),
        (Device.AUTO, APPLE_GPU, 1),
    ],
)
def test_width_multiple_of_the_device_is_announced(device, gpu, expected):
    job = replace(JOB, model=replace(JOB.model, device=device))
    found = msgspec.structs.replace(machine(PLENTY, gpu=PLENTY), gpu_name=gpu)
    settled = settle(job, MODEL, found)
    assert settled.config.pruning.width_multiple == expected
    message = "MLP widths become multiples of 8, which GPUs compute faster."
    assert (message in settled.messages) is (expected == 8)


def test_target_of_zero_needs_no_recovery():
    nothing = replace(JOB.pruning, sparsity=0.0)
    found = settle(replace(JOB, pruning=nothing), MODEL, machine(PLENTY))
    assert found.config.recovery.level is Recovery.OFF
    stages = estimate(found.config, MODEL, machine(PLENTY)).seconds_of_stages
    assert not {Stage.CURVATURE, Stage.DAMPING, Stage.REFIT} & set(stages)
    assert stages[Stage.UPDATE] == stages[Stage.SELECTION] == 0
    whole = estimate(JOB, MODEL, machine(PLENTY))
    assert estimate(found.config, MODEL, machine(PLENTY)).engine < whole.engine


GGUF = replace(JOB, export=ExportConfig(format=Format.GGUF))
OF_ONE_WIDTH = msgspec.structs.replace(MODEL, gguf_widths=Widths.SAME)
SAYS_SAME = "All layers lose equally many heads and neurons"


def test_widths_become_the_same_where_the_file_has_one():
    found = settle(GGUF, OF_ONE_WIDTH, machine(free=PLENTY))
    assert found.config.pruning.has_same_widths
    (message,) = [x for x in found.messages if x.startswith(SAYS_SAME)]
    assert "such files of this architecture have one width for all" in message
    without_machine = with_width_multiple(GGUF, OF_ONE_WIDTH, on_cuda=False)
    assert without_machine.pruning.has_same_widths
    plain = replace(JOB, export=ExportConfig(format=Format.PLAIN))
    assert settle(plain, MODEL, machine(free=PLENTY)).config.pruning.has_same_widths


@pytest.mark.parametrize(
    ("job", "model"),
    [
        (GGUF, MODEL),  # blocks of its file may differ
        (GGUF, msgspec.structs.replace(MODEL, gguf_widths=None)),
        (JOB, OF_ONE_WIDTH),  # another format
        (
            replace(GGUF, pruning=pruning_config(structure=Structure.COLUMNS)),
            OF_ONE_WIDTH,
        ),
        (
            replace(GGUF, pruning=pruning_config(sparsity=0.0)),
            OF_ONE_WIDTH,
        ),
        (
            replace(GGUF, pruning=pruning_config(widths=Widths.SAME)),
            OF_ONE_WIDTH,  # they are already
        ),
    ],
)
def test_widths_stay_as_they_are_otherwise(job, model):
    found = settle(job, model, machine(free=PLENTY))
    chosen = with_chosen_multiple(job, found.config.pruning.width_multiple)
    assert found.config.pruning == chosen.pruning
    assert not any(message.startswith(SAYS_SAME) for message in found.messages)


@pytest.mark.parametrize("level", [Recovery.REFIT, Recovery.DISTILLATION])
def test_routers_that_are_not_trained_are_named(level):
    job = with_recovery(level=level, trained_weights=TrainedWeights.ROUTERS)
    messages = [*settle(job, MODEL, machine(PLENTY)).messages]
    expected = "Recovery is refit, which trains no routers: distillation does."
    assert (expected in messages) is (level is Recovery.REFIT)


def test_file_that_needs_code_beside_it_is_announced():
    def announced(widths=Widths.SAME, **changes) -> list[str]:
        model = msgspec.structs.replace(MODEL, gguf_widths=widths)
        job = replace(JOB, pruning=pruning_config(**changes))
        found = settle(job, model, machine(PLENTY))
        return [x for x in found.messages if "trust_remote_code" in x]

    (message,) = announced()
    assert "cannot become a GGUF file" in message
    (message,) = announced(Widths.FREE)
    assert "GGUF" not in message
    same = replace(JOB, pruning=pruning_config(widths=Widths.SAME))
    messages = settle(same, MODEL, machine(PLENTY)).messages
    assert not any("trust_remote_code" in message for message in messages)
    (message,) = announced(structure=Structure.ROWS_AND_COLUMNS)
    assert "With" not in message  # no other setting needs less
    assert announced(structure=Structure.ELEMENTS) == []
