"""Estimates match measured runs, and adjusted settings fit."""

from dataclasses import replace
from itertools import cycle

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Structure,
    Vocabulary,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig, TrainedWeights
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, Offload, RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import InsufficientResourcesError
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.planning import job as job_module
from surgeon_engine.planning.estimate import Footprint, estimate, seconds_of_epoch
from surgeon_engine.planning.forecast import longer_training
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.needs import Need, Resource, ResourceStatus
from surgeon_engine.planning.resource_check import (
    check_resources,
    describe_changes,
    differences,
    settings_that_fit,
)
from surgeon_engine.planning.speed import writing_windows
from surgeon_engine.planning.stages.export import LIBRARIES, verification
from surgeon_engine.planning.stages.recovery import distillation
from tests.helpers.configs import DENSE, pruning_config, surgeon_job
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine

MODEL = model_summary()
AFTER_RECOVERY = (Stage.EXPORT, Stage.VERIFICATION)
PLENTY = 10**14
JOB = surgeon_job()
BASE = estimate(JOB, MODEL, machine()).engine - int(Footprint(Job.of(JOB, MODEL)).peak)


def peak(config):
    return Footprint(Job.of(config, MODEL)).peak


def need(config, what="ram", **extra):
    return getattr(estimate(config, MODEL, machine(**extra)), what)


def calibrated(config=JOB, **changes):
    return replace(config, calibration=replace(config.calibration, **changes))


def pruned(config=JOB, **changes):
    return replace(config, pruning=replace(config.pruning, **changes))


# the peak that an engine of its own had, in bytes, and the job that it did: the demo on
# two cores, as `surgeon run` told it (docs/results.md)
LONG = CalibrationConfig(windows=32, validation_windows=16, window_length=512, batch=32)
WIDE = CalibrationConfig(windows=32, batch=16)
BOTH = pruning_config(Structure.ROWS_AND_COLUMNS, shots=1)
MEASURED = [
    (surgeon_job(), 665e6),
    (surgeon_job(calibration=LONG, pruning=pruning_config(shots=1)), 1152e6),
    (surgeon_job(calibration=WIDE, pruning=BOTH), 733e6),
    (
        surgeon_job(calibration=LONG, pruning=replace(BOTH, damping=Damping.FIXED)),
        1360e6,
    ),
    (
        surgeon_job(
            pruning=pruning_config(Structure.ELEMENTS, sparsity=0.5, shots=1),
        ),
        649e6,
    ),
]


@pytest.mark.parametrize(("config", "peak"), MEASURED)
def test_memory_estimate_matches_measured_runs(config, peak):
    model = inspect_model(config.model).model
    found = estimate(config, model, machine())
    assert found.engine == pytest.approx(peak, rel=0.1)
    # Libraries take most memory of a small run: the rest has to be right as well.
    assert found.engine - BASE == pytest.approx(peak - BASE, rel=0.3, abs=40e6)


@pytest.mark.parametrize("structure", DENSE)
def test_needs_grow_with_windows_length_and_batch(structure):
    config = pruned(structure=structure)
    for field in ("windows", "window_length", "batch"):
        before = getattr(config.calibration, field)
        larger = calibrated(config, **{field: 8 * before})
        assert need(larger) >= need(config), field
    wide = calibrated(config, batch=512, windows=512)
    assert need(wide) > 1.5 * need(config)


def test_skipped_work_needs_nothing():
    recovery = RecoveryConfig(general_windows=0)
    job = replace(JOB, recovery=recovery)
    little = calibrated(job, batch=1, windows=8, window_length=64)
    last = peak(little)
    without = replace(little, recovery=RecoveryConfig(Recovery.OFF))
    for config in (
        without,
        pruned(without, damping=Damping.FIXED),
        pruned(without, method=Method.MAGNITUDE),
    ):
        needed = peak(config)
        assert needed <= last
        last = needed
        stages = estimate(config, MODEL, machine()).seconds_of_stages
        assert Stage.REFIT not in stages
        assert (Stage.DAMPING in stages) == config.pruning.searches_damping
    assert last < peak(little)
    assert Stage.CURVATURE not in stages


def test_recovery_keeps_copies_to_roll_back_to():
    """One at the end; with a quality limit four, which it rolls back to anyway."""
    recovery = RecoveryConfig(general_windows=0)
    for config, copies, last in (
        (pruned(max_perplexity_increase=5.0), 1, 0),
        (JOB, 0, 0),
        (replace(pruned(max_perplexity_increase=5.0), recovery=recovery), 4, 0),
        (replace(pruned(structure=Structure.ROWS), recovery=recovery), 0, 1),
    ):
        found = Job.of(config, MODEL)
        assert found.undone == copies * 4 * MODEL.prunable
        assert found.unrecovered == last * 4 * MODEL.prunable
    smaller = Job.of(replace(JOB, recovery=recovery), MODEL).unrecovered
    assert 0 < smaller < 4 * MODEL.prunable  # heads and neurons have left the model


def test_sixteen_bits_halve_the_model():
    half = replace(JOB, model=ModelConfig(dtype=Dtype.BFLOAT16))
    assert Job.of(half, MODEL).weights == Job.of(JOB, MODEL).weights / 2


def test_layers_that_read_one_input_share_a_factor():
    rows = pruned(structure=Structure.ROWS)
    sides = 6 * (3 * 192**2 + 512**2)  # A of q/k/v, o, gate/up, down of six blocks
    sides += 6 * (192**2 + 2 * 96**2 + 192**2 + 2 * 512**2 + 192**2)  # G of each
    assert Job.of(rows, MODEL).factors == 4 * sides


def test_heads_and_neurons_measure_two_layers_of_a_block():
    job = Job.of(pruned(structure=Structure.NEURONS), MODEL)
    assert {layer.kind for layer in job.measured} == {"mlp.down_proj"}
    touched = {"mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"}
    assert {layer.kind for layer in job.touched} == touched
    assert job.factors == 4 * 6 * (512**2 + 192**2)


def test_gpu_holds_model_and_one_block_and_host_the_factors():
    found = estimate(JOB, MODEL, machine(gpu=PLENTY))
    assert found.gpu > 4 * MODEL.parameters
    assert found.gpu < found.ram
    on_cpu = replace(JOB, model=ModelConfig(device=Device.CPU))
    assert estimate(on_cpu, MODEL, machine(gpu=PLENTY)).gpu == 0


@pytest.mark.parametrize("gpu", [0, PLENTY])
def test_head_of_the_original_stays_beside_fewer_tokens(gpu):
    whole = replace(JOB, pruning=PruningConfig())
    pruning = PruningConfig(vocabulary=Vocabulary.TOKENS, vocabulary_tokens=2_000)
    fewer = replace(JOB, pruning=pruning)
    found = [estimate(x, MODEL, machine(gpu=gpu)) for x in (whole, fewer)]
    more = [x.gpu if gpu else x.engine for x in found]
    assert more[1] - more[0] == 4 * MODEL.vocabulary * MODEL.hidden_size


@pytest.mark.parametrize("gpu", [0, PLENTY])
def test_host_holds_the_hidden_states_of_the_windows_that_judge(gpu):
    jobs = [replace(JOB, evaluation=EvaluationConfig(windows=n)) for n in (16, 64)]
    found = [estimate(x, MODEL, machine(gpu=gpu)).engine for x in jobs]
    tokens = 48 * JOB.calibration.window_length
    assert found[1] - found[0] == 4 * tokens * MODEL.hidden_size


def test_memory_holds_the_process_that_verifies_the_file_beside_the_engine():
    job = Job.of(JOB, MODEL)
    file, logits = job.size.export_bytes, 5 * 4 * job.length * MODEL.vocabulary
    for config, models in (
        (JOB, 1),
        (replace(JOB, model=ModelConfig(offload=Offload.ON)), 0),
    ):
        found = estimate(config, MODEL, machine())
        beside = models * job.weights + LIBRARIES + file + logits
        assert found.ram == pytest.approx(BASE + beside, rel=0.001)
        assert found.ram > found.engine


def test_time_grows_with_the_work_and_is_unknown_without_speeds():
    once = estimate(pruned(shots=1), MODEL, machine())
    often = estimate(pruned(shots=9), MODEL, machine())
    shots = [x.seconds_of_stages[Stage.EVALUATION] for x in (once, often)]
    assert shots[1] == pytest.approx((1 + 0.75 * 8) * shots[0])
    assert often.seconds > 2 * once.seconds
    unknown = msgspec.structs.replace(machine(), processor=None)
    assert estimate(JOB, MODEL, unknown).seconds is None
    twice = estimate(calibrated(windows=128), MODEL, machine())
    first = estimate(JOB, MODEL, machine())
    curvature = [x.seconds_of_stages[Stage.CURVATURE] for x in (first, twice)]
    assert curvature[1] == pytest.approx(2 * curvature[0])


def test_gates_of_much_text_draw_labels_once():
    def seconds(windows):
        job = pruned(method=Method.FIRST_ORDER, fisher=Fisher.SAMPLED)
        found = estimate(calibrated(job, windows=windows), MODEL, machine())
        return found.seconds_of_stages[Stage.CURVATURE]

    assert seconds(64) > seconds(65) > 0.5 * seconds(64)


def test_samples_take_time_for_the_original_and_after_each_shot():
    def stages(after_shots):
        config = replace(pruned(shots=3), samples=SamplesConfig(after_shots))
        return estimate(config, MODEL, machine()).seconds_of_stages

    plain, asked = stages(False), stages(True)
    assert Stage.GENERATION not in plain
    each = asked[Stage.SAMPLING] - plain[Stage.SAMPLING]
    assert each > 0
    is_recovered = Stage.REFERENCE in asked
    assert asked[Stage.GENERATION] == pytest.approx((3 + is_recovered) * each)


def test_each_text_that_the_model_writes_takes_time_at_each_token():
    def sampling(own, others):
        evaluation = replace(JOB.evaluation, windows=others)
        config = replace(
            JOB,
            recovery=RecoveryConfig(general_windows=2 * own),
            evaluation=evaluation,
        )
        return estimate(config, MODEL, machine()).seconds_of_stages[Stage.SAMPLING]

    one, many = sampling(1, 0), sampling(32, 0)
    assert one < many < 32 * one  # the passes are the same, their keys and values more
    assert sampling(32, 16) == pytest.approx(many + sampling(16, 0))


def exported(config=None, **settings) -> RunConfig:
    """Return the job with these export settings, without saved progress."""
    settings = {"save_progress": False} | settings
    return replace(config or JOB, export=ExportConfig(**settings))


def test_disk_holds_export_and_checkpoint():
    disk = need(exported(), "disk")
    assert disk > 4 * 0.7 * MODEL.parameters
    gguf = exported(format=Format.GGUF)
    assert need(gguf, "disk") > 1.8 * disk
    assert need(exported(format=Format.MASKED), "disk") > disk
    for limit in ({"max_perplexity_increase": 5}, {"max_divergence": 0.5}):
        limited = replace(exported(), pruning=replace(JOB.pruning, **limit))
        assert need(limited, "disk") > 4 * MODEL.parameters  # the size is not known
    short = exported(format=Format.GGUF, dtype=FileDtype.Q8_0)
    assert disk + 0.7 * MODEL.parameters < need(short, "disk") < need(gguf, "disk")


def test_disk_holds_the_saved_state():
    def more(config):
        """Return the size of the saved state, in weights of 32 bits."""
        saved = replace(config, export=ExportConfig())
        return (need(saved, "disk") - need(exported(config), "disk")) / 4

    left = 0.7 * MODEL.prunable
    pruning = replace(JOB.pruning, shots=1)
    once = replace(JOB, pruning=pruning, recovery=RecoveryConfig(Recovery.OFF))
    assert more(once) == pytest.approx(1.02 * left, rel=0.01)  # beside the export
    several = replace(once, pruning=replace(once.pruning, shots=3))
    assert more(several) == pytest.approx(2 * 1.02 * MODEL.prunable, rel=0.01)
    trained = replace(once, recovery=RecoveryConfig(Recovery.DISTILLATION))
    export = need(exported(trained), "disk") / 4
    assert more(trained) + export == pytest.approx(1.02 * 10 * left, rel=0.01)
    lora = RecoveryConfig(
        Recovery.DISTILLATION, trained_weights=TrainedWeights.LORA, lora_rank=4
    )
    assert more(replace(once, recovery=lora)) < 0.5 * more(trained)


# whether it fits


@pytest.mark.parametrize(
    ("share", "light"), [(0.5, "green"), (0.95, "yellow"), (1.1, "yellow"), (2, "red")]
)
def test_light_shows_how_close_the_limit_is(share, light):
    assert Need(Resource.MEMORY, share * 1e9, 1e9).light == light


def test_disk_light_is_exact_and_green_without_a_limit():
    assert Need(Resource.DISK, 1.01e9, 1e9).light is ResourceStatus.RED
    assert Need(Resource.DISK, 1e12, None).light is ResourceStatus.GREEN
    assert Need(Resource.TIME, 1e6, None).light is ResourceStatus.YELLOW


@pytest.mark.slow
@pytest.mark.parametrize(
    ("structure", "free"),
    [*zip(DENSE, cycle([10**6, 10**8, 10**10]), strict=False)],
)
def test_settings_that_fit_return_a_fitting_job_or_none(structure, free):
    config = calibrated(pruned(structure=structure), batch=256, windows=4096)
    fitted = settings_that_fit(config, MODEL, machine(free), PLENTY)
    if fitted is None:
        least = calibrated(config, batch=1, windows=8, window_length=64)
        assert (
            check_resources(least, MODEL, machine(free), PLENTY).room
            is ResourceStatus.RED
        )
        return
    fit = check_resources(fitted.config, MODEL, machine(free), PLENTY)
    assert fit == fitted.fit
    assert fit.room is not ResourceStatus.RED
    assert fitted.changes == tuple(differences(config, fitted.config))


def test_settings_that_fit_change_only_what_is_needed():
    config = calibrated(batch=256, windows=1024)
    for free in (2_000_000_000, 1_300_000_000):
        fitted = settings_that_fit(config, MODEL, machine(free), PLENTY)
        for change in fitted.changes:
            part, _, name = change.field.partition(".")
            restored = replace(getattr(fitted.config, part), **{name: change.before})
            again = replace(fitted.config, **{part: restored})
            worse = check_resources(again, MODEL, machine(free), PLENTY).room
            assert worse is not fitted.fit.room, change


def test_fitting_job_is_unchanged():
    fitted = settings_that_fit(JOB, MODEL, machine(), PLENTY)
    assert (fitted.config, fitted.changes) == (JOB, ())


def test_slow_number_formats_are_not_proposed():
    large = replace(calibrated(batch=1), model=ModelConfig(offload=Offload.OFF))
    model = msgspec.structs.replace(MODEL, parameters=10**9)
    free = estimate(large, model, machine(PLENTY)).ram // 2
    quick = settings_that_fit(large, model, machine(free), PLENTY)
    assert "model.dtype" in [change.field for change in quick.changes]
    products = {**machine().processor.products, Dtype.BFLOAT16: 1e8}
    rates = msgspec.structs.replace(machine().processor, products=products)
    slow = msgspec.structs.replace(machine(free), processor=rates)
    assert settings_that_fit(large, model, slow, PLENTY) is None


@pytest.mark.parametrize(
    ("config", "share", "field"),
    [(exported(), 0.75, "export.dtype"), (JOB, 1.5, "export.save_progress")],
)
def test_full_disk_leads_to_shorter_numbers_or_no_saved_progress(config, share, field):
    free = int(need(exported(), "disk") * share)
    fitted = settings_that_fit(config, MODEL, machine(), free)
    assert [change.field for change in fitted.changes] == [field]
    is_switch = field == "export.save_progress"
    assert ("false instead of true" in describe_changes(fitted)) is is_switch


def test_run_that_cannot_fit_raises_before_it_starts(tmp_path, monkeypatch):
    from surgeon_engine.run import pipeline
    from surgeon_engine.run import preflight as forecast
    from surgeon_engine.runtime.run_context import RunContext

    monkeypatch.setattr(forecast, "room", lambda: machine(free=10**6))
    folder = tmp_path / "run"
    with pytest.raises(
        InsufficientResourcesError, match=r"needs .* GB of memory, and 1\.0 MB are free"
    ):
        pipeline.prune(JOB, folder, RunContext("run", lambda envelope: None))
    assert not folder.exists()


@pytest.mark.slow
def test_command_line_prints_the_estimate(tmp_path, monkeypatch, capsys):
    from surgeon_engine.cli.main import main
    from surgeon_engine.run import preflight as forecast

    job = tmp_path / "job.toml"
    job.write_text(
        "version = 1\n[calibration]\nbatch = 64\nwindow_length = 512\nwindows = 64\n"
        "[pruning]\nmethod = 'llm_surgeon'\nshots = 3\nfisher = 'empirical'\n"
        "[recovery]\nlevel = 'off'\n"
    )
    monkeypatch.setattr(forecast, "machine", lambda: machine(free=1_700_000_000))
    assert main(["estimate", str(job), "--run-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "tight" in said
    assert "calibration.batch = " in said
    monkeypatch.setattr(forecast, "machine", lambda: machine(free=10**6))
    assert main(["estimate", str(job), "--run-dir", str(tmp_path)]) == 1
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.slow
def test_machine_is_measured_once_and_within_about_a_second():
    from surgeon_engine.runtime import speed_probe

    first, second = speed_probe.machine(), speed_probe.machine()
    assert first.processor is second.processor
    assert all(flops > 0 for flops in first.processor.products.values())
    assert 0 < first.free_ram_bytes <= 1.1 * first.ram_bytes


def test_hidden_states_beyond_the_free_memory_are_on_the_disk():
    many = replace(JOB, recovery=RecoveryConfig(Recovery.REFIT, general_windows=10**5))
    plenty, little = (
        estimate(many, MODEL, machine(free=free)) for free in (PLENTY, 10**9)
    )
    assert plenty.ram - little.ram > 10**10
    assert little.disk - plenty.disk > 10**10


def test_time_of_recovery_grows_with_epochs_or_is_given():
    def training(pace=1.0, **settings):
        recovery = RecoveryConfig(Recovery.DISTILLATION, **settings)
        config = replace(JOB, recovery=recovery)
        on = msgspec.structs.replace(machine(), pace=pace)
        return estimate(config, MODEL, on).seconds_of_stages[Stage.DISTILLATION]

    assert training(epochs=8.0) > 3 * training(epochs=1.0)
    assert 0 < training(minutes=60.0) - 3600 < training(epochs=0.01)
    assert training(2.0, epochs=8.0) == pytest.approx(2 * training(epochs=8.0))
    assert training(2.0, minutes=60.0) - 3600 < 2 * training(epochs=0.01)


def test_time_of_an_epoch_does_not_depend_on_that_of_the_training():
    recovery = RecoveryConfig(Recovery.DISTILLATION)
    one = estimate(replace(JOB, recovery=recovery), MODEL, machine()).training_seconds
    for changes in ({"minutes": 60.0}, {"epochs": 8.0}):
        job = replace(JOB, recovery=replace(recovery, **changes))
        assert seconds_of_epoch(job, MODEL, machine()) == one > 0
    assert not JOB.recovery.trains
    assert seconds_of_epoch(JOB, MODEL, machine()) == one
    assert seconds_of_epoch(JOB, MODEL, None) == 0


def test_training_of_no_epochs_takes_no_time():
    def estimated(level):
        recovery = RecoveryConfig(level, epochs=0.0)
        return estimate(replace(JOB, recovery=recovery), MODEL, machine())

    found = estimated(Recovery.DISTILLATION)
    assert found == estimated(Recovery.REFIT)
    assert longer_training(found.training_seconds) == ""


def test_original_writes_more_where_the_shipped_text_is_used_up(monkeypatch):
    recovery = RecoveryConfig(Recovery.DISTILLATION, epochs=3.0)

    def job_of(length):
        config = calibrated(replace(JOB, recovery=recovery), window_length=length)
        rates = machine().rates(config.model.device)
        return replace(Job.of(config, MODEL), rates=rates)

    assert job_of(16_384).own_windows == 64 - 230_000 // 16_384
    short = job_of(4_096)  # the first epoch reads 32 of 56 windows
    found = distillation(short).seconds
    monkeypatch.setattr(job_module, "SHIPPED_TOKENS", 10**9)
    more = found - distillation(job_of(4_096)).seconds
    each = writing_windows(short, 32) - writing_windows(short, 8)
    assert more == pytest.approx(2 * each)


def test_original_stays_while_it_writes_for_the_training():
    def stays(**settings):
        recovery = RecoveryConfig(Recovery.DISTILLATION, **settings)
        job = Job.of(replace(JOB, recovery=recovery), MODEL)
        *_, training = Footprint(job).stages[Stage.DISTILLATION].moments
        return training.has_original

    assert stays(minutes=60.0)
    assert stays(epochs=2.0)
    assert not stays(epochs=1.0)
    assert stays(epochs=2.0, general_windows=0)


def test_gpus_divide_time_and_each_process_needs_memory():
    one = estimate(JOB, MODEL, machine(gpu=PLENTY, gpus=2))
    both = replace(JOB, model=replace(JOB.model, gpus=0))
    two = estimate(both, MODEL, machine(gpu=PLENTY, gpus=2))
    assert (one.processes, two.processes) == (1, 2)
    assert two.gpu == one.gpu
    assert two.ram > 2 * one.engine
    for stage, seconds in one.seconds_of_stages.items():
        is_shared = stage not in (Stage.LOAD, Stage.TEXT, *AFTER_RECOVERY)
        assert two.seconds_of_stages[stage] == seconds / (1 + is_shared), stage
    assert estimate(both, MODEL, machine()).processes == 1  # there is no GPU


def test_one_gpu_is_proposed_where_main_memory_is_short():
    needed = estimate(JOB, MODEL, machine(gpu=PLENTY, gpus=8)).ram
    eight = replace(JOB, model=replace(JOB.model, gpus=8))
    little = machine(free=2 * needed, gpu=PLENTY, gpus=8)
    found = settings_that_fit(eight, MODEL, little, PLENTY)
    assert found.config.model.gpus == 1


def test_files_larger_than_memory_are_checked_beside_a_copy():
    export = ExportConfig(format=Format.MASKED, dtype=FileDtype.FLOAT32)
    job = Job.of(replace(JOB, export=export), MODEL)
    size = job.size.export_bytes
    short, enough = (replace(job, free_on_host=n * size) for n in (1.9, 2.1))
    assert verification(short).written == size
    assert verification(enough).written == 0
    assert verification(short).child < verification(enough).child
