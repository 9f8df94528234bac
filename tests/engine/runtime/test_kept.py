"""Measurements of an original are found on the disk, and nothing else is served."""

import os
from dataclasses import replace

import msgspec
import pytest
import torch

from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.recovery import judge
from surgeon_engine.runtime import devices, kept_files
from surgeon_engine.runtime.kept import Kept, Key, Measurement
from surgeon_engine.runtime.speed_probe import room
from tests.helpers.fake_machine import machine
from tests.helpers.interrupted_runs import at_stage, cut_at
from tests.helpers.runs import (
    Recorder,
    assert_same_tensors,
    exported_tensors,
    job,
    skip_verification,
)
from tests.helpers.tiny_models import save_tiny_model

KEY = Key(Kind.GATES, ("a model", 3), "mark")
FOUND = Measurement(
    {
        "rows": torch.rand(5, 7),
        "nothing": torch.empty(0, 3),
        "hidden": torch.rand(3, 2).bfloat16(),
    },
    '{"tokens":3}',
)


def is_kept(key=KEY):
    """Return whether a fresh process finds the measurement, with the same bits."""
    found = Kept().find(key)
    if found is None:
        return False
    assert found.facts == FOUND.facts
    assert_same_tensors(found.tensors, FOUND.tensors)
    return True


@pytest.fixture
def file(measured_before):
    """Return the file that keeps a measurement."""
    Kept().keep(KEY, FOUND)
    (path,) = measured_before.iterdir()
    return path


def test_fresh_process_finds_the_same_bits(file):
    del file
    assert is_kept()
    assert kept_files.marks() == ("mark",)


def test_other_key_finds_nothing(file):
    assert not is_kept(replace(KEY, facts=("a model", 4)))
    assert not is_kept(replace(KEY, kind=Kind.BASELINE))
    assert is_kept(replace(KEY, mark="another place of the same model"))
    other = replace(KEY, facts=("another model", 3))
    Kept().keep(other, Measurement({"rows": torch.ones(1)}, "{}"))
    file.replace(next(path for path in file.parent.iterdir() if path != file))
    assert not is_kept(other)  # the file of another key under its name


def test_model_that_nothing_identifies_is_not_kept_on_the_disk(measured_before):
    Kept().keep(replace(KEY, mark=""), FOUND)
    assert not measured_before.exists()


@pytest.mark.parametrize("place", [3, 40, 400, -1])
def test_damaged_file_is_noticed_and_written_again(file, place, caplog):
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 1
    file.write_bytes(damaged)
    assert not is_kept()
    assert "is damaged" in caplog.text
    assert not file.exists()
    Kept().keep(KEY, FOUND)
    assert is_kept()


@pytest.mark.parametrize("size", [0, 4, 300])
def test_cut_file_is_noticed(file, size):
    file.write_bytes(file.read_bytes()[:size])
    assert not is_kept()


def test_what_is_no_file_is_left_out(file):
    file.unlink()
    os.mkfifo(file)
    assert not is_kept()
    file.mkdir()
    assert not is_kept()


@pytest.mark.parametrize("change", ["code", "library", "processor"])
def test_other_program_or_machine_finds_nothing(file, change, monkeypatch, tmp_path):
    del file
    if change == "code":
        code = tmp_path / "code"
        code.mkdir()
        (code / "gates.py").write_text("draws = 2")
        monkeypatch.setattr(kept_files, "_PACKAGE", code)
    elif change == "library":
        monkeypatch.setattr(kept_files, "versions", lambda: {"torch": "0"})
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(kept_files, "environment", kept_files.environment.__wrapped__)
    assert not is_kept()
    assert not kept_files.marks()


def test_environment_follows_the_code(monkeypatch, tmp_path):
    monkeypatch.setattr(kept_files, "_PACKAGE", tmp_path)
    (tmp_path / "gates.py").write_text("draws = 2")
    before = kept_files.environment.__wrapped__()
    assert kept_files.environment.__wrapped__() == before
    (tmp_path / "gates.py").write_text("draws = 3")
    assert kept_files.environment.__wrapped__() != before


def test_least_recently_used_files_make_room(file, monkeypatch):
    keys = [replace(KEY, facts=n) for n in range(3)]
    size = file.stat().st_size
    file.unlink()
    for age, key in enumerate(keys[:2]):
        Kept().keep(key, FOUND)
        (path,) = file.parent.glob(f"{kept_files._digest(key.kind, key.facts)}*")
        os.utime(path, (age, age))
    assert is_kept(keys[0])  # now the other one was used least recently
    monkeypatch.setattr(kept_files, "KEPT_BYTES", size + FOUND.bytes)
    Kept().keep(keys[2], FOUND)
    assert [is_kept(key) for key in keys] == [True, False, True]


def test_large_measurement_and_full_disk_keep_nothing(measured_before, monkeypatch):
    monkeypatch.setattr(kept_files, "KEPT_BYTES", 2 * FOUND.bytes - 1)
    Kept().keep(KEY, FOUND)
    monkeypatch.setattr(kept_files, "KEPT_BYTES", 2**30)
    free = kept_files._DISK_SHARE * FOUND.bytes
    monkeypatch.setattr(kept_files, "free_bytes", lambda _: free - 1)
    Kept().keep(KEY, FOUND)
    assert not list(measured_before.iterdir())
    monkeypatch.setattr(kept_files, "free_bytes", lambda _: free)
    Kept().keep(KEY, FOUND)
    assert is_kept()


def test_unwritable_folder_ends_no_run(measured_before, caplog):
    measured_before.parent.mkdir(parents=True)
    measured_before.touch()
    Kept().keep(KEY, FOUND)
    assert "cannot be kept" in caplog.text
    assert not is_kept()


def test_mapped_numbers_may_change_without_changing_the_file(file):
    before = file.read_bytes()
    Kept().find(KEY).tensors["rows"].zero_()
    assert file.read_bytes() == before


def with_pruning(config, **settings):
    return replace(config, pruning=replace(config.pruning, **settings))


def calibrated(config, **settings):
    return replace(config, calibration=replace(config.calibration, **settings))


def runs(config, folder):
    """Run a job as a fresh process would; return the kept measurements it reports."""
    return said_by(Recorder().run(config, folder))


def said_by(recorder):
    said = [x.message for x in recorder.of(Logged) if "before: kept" in x.message]
    return [text.partition(" ")[2].split()[0] for text in said]


@pytest.fixture
def first(measured_before, tmp_path, monkeypatch):
    """Return the job of a first run, which has measured its original."""
    del measured_before
    skip_verification(monkeypatch)
    config = job(
        tmp_path,
        recovery=RecoveryConfig(Recovery.DISTILLATION, general_windows=4),
        method=Method.FIRST_ORDER,
    )
    assert runs(config, tmp_path / "first") == []
    return config


BOTH = ["original", "costs"]


@pytest.mark.slow
def test_second_run_of_another_size_equals_one_that_measures(
    first, tmp_path, monkeypatch
):
    read, reference_of = [], judge.reference_of

    def counted(model, windows, batch, step):
        read.append(len(windows))
        return reference_of(model, windows, batch, step)

    monkeypatch.setattr(judge, "reference_of", counted)
    second = with_pruning(first, sparsity=0.5)
    assert runs(second, tmp_path / "second") == BOTH
    assert not read  # the texts of recovery, too, were kept
    monkeypatch.setattr(kept_files, "KEPT_BYTES", 0)
    assert runs(second, tmp_path / "alone") == []
    assert len(read) == 2
    assert_same_tensors(
        exported_tensors(tmp_path / "second"), exported_tensors(tmp_path / "alone")
    )
    reports = [
        (tmp_path / name / "events.jsonl").read_text() for name in ("second", "alone")
    ]
    for event in ("BaselineEvaluated", "ShotFinished", "Recovered"):
        assert all(event in text for text in reports)


@pytest.mark.slow
def test_changed_input_is_measured_anew(first, tmp_path, monkeypatch):
    def found_by(name, config=first):
        """Return the kept measurements that a run has reported by the selection."""
        return said_by(cut_at(at_stage(Stage.SELECTION), config, tmp_path / name))

    def found_with_another_last_token(name):
        path = tmp_path / name
        data = path.read_bytes()
        path.write_bytes(data[:-4] + bytes([data[-4] ^ 1]) + data[-3:])
        found = found_by(f"another-{name}")
        path.write_bytes(data)
        return found

    assert found_by("nothing") == BOTH
    assert found_with_another_last_token("fit_4_16.npy") == ["original"]
    assert found_with_another_last_token("validate_4_16.npy") == ["costs"]
    # The seed is for the draws; token files stay.
    assert found_by("seed", calibrated(first, seed=1)) == ["original"]
    # Without text of the model's own, the labels alone are drawn with it.
    labels = replace(first, recovery=RecoveryConfig(Recovery.OFF))
    for seed in (0, 1):
        drawn = calibrated(labels, seed=seed)
        assert found_by(f"labels-{seed}", drawn) == ["original"]
    assert found_by("batch", calibrated(first, batch=2)) == []
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads + 1)
        assert found_by("threads") == []
    with monkeypatch.context() as patch:
        patch.setattr(devices, "multiplies_bfloat16_fast", lambda: True)
        assert found_by("products") == []
    save_tiny_model(tmp_path / "llama", seed=1)
    assert found_by("model") == []


@pytest.mark.slow
def test_estimate_of_a_second_run_is_shorter(first):
    model = inspect_model(first.model).model
    fresh = machine()
    here = msgspec.structs.replace(fresh, measured=room().measured)
    second = with_pruning(first, sparsity=0.5)
    before, after = (estimate(second, model, each) for each in (fresh, here))
    shares = {Stage.BASELINE: 0.5, Stage.CURVATURE: 0.5, Stage.DISTILLATION: 0.95}
    for stage, share in shares.items():
        assert after.seconds_of_stages[stage] < before.seconds_of_stages[stage] * share
    other = calibrated(second, seed=5)
    assert estimate(other, model, here) == estimate(other, model, fresh)
