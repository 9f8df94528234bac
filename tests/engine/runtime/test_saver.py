"""Whenever a save is interrupted, there is a state to go on from."""

import errno
import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.saved_state import Origin, SavedState
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.runtime import saver as saver_module
from surgeon_engine.runtime.saver import Saver
from tests.helpers.exports import flip
from tests.helpers.fake_engine import shot_finished

START = SavedState(Origin({}, "", "", {}), RecoveryConfig())


class KilledError(BaseException):
    """Nothing in the program handles it."""


def weights(number: int) -> dict[str, torch.Tensor]:
    return {"weight.a": torch.full((3,), float(number))}


def save_shot(saver: Saver, number: int) -> None:
    shots = tuple(shot_finished(n, 3, 0.3) for n in range(1, number + 1))
    saver.save({"shot": weights(number), "trials": None}, shots=shots)


def save_all(saver: Saver) -> None:
    """Save three shots with a search between them, and recovery."""
    save_shot(saver, 1)
    saver.save({"trials": weights(7)})
    save_shot(saver, 2)
    save_shot(saver, 3)
    saver.save({"blocks": weights(8)})
    saver.save({"training": weights(9)})
    over = dict.fromkeys(("shot", "blocks", "training"))
    saver.save({"recovered": weights(4), **over}, is_recovered=True)


def number_of(folder) -> int:
    """Return the number of the state that a run would go on from; 0: there is none."""
    if not folder.exists:
        return 0
    state, _ = folder.read_undamaged()
    (part,) = state.needed_parts
    tensors = Saver(folder, state).load(part)
    return int(tensors["weight.a"][0])


@pytest.mark.slow
def test_kill_at_any_moment_leaves_the_state_before_or_after(tmp_path, monkeypatch):
    """The process ends before or after each change of the folder."""
    reached = []
    for moment in itertools.count():
        folder = RunFolder(tmp_path / str(moment)).saved_state
        folder.path.parent.mkdir()
        left = [moment]
        with monkeypatch.context() as patch:
            for name in ("replace", "unlink"):
                patch.setattr(Path, name, killing(getattr(Path, name), left))
            try:
                save_all(Saver(folder, START))
            except KilledError:
                reached.append(number_of(folder))
                assert number_of(folder) == reached[-1]  # reading changes nothing
            else:
                break
    assert reached == sorted(reached)
    assert set(reached) == {0, 1, 2, 3, 4}


def killing(work, left):
    """Return a change of the disk that is killed before or after it takes place."""

    def changed(*arguments, **options):
        left[0] -= 1
        if left[0] == -1:
            raise KilledError
        result = work(*arguments, **options)
        left[0] -= 1
        if left[0] == -1:
            raise KilledError
        return result

    return changed


@pytest.mark.parametrize("shots", [2, 3])
def test_damaged_part_costs_one_shot(tmp_path, shots):
    folder = RunFolder(tmp_path).saved_state
    saver = Saver(folder, START)
    for number in range(1, shots + 1):
        save_shot(saver, number)
    flip(folder.path / saver.saved.parts["shot"].file)
    state, damage = folder.read_undamaged()
    assert "another content" in damage
    assert len(state.shots) == shots - 1
    assert folder.read() == state
    assert number_of(folder) == shots - 1
    save_shot(Saver(folder, state), 9)
    assert number_of(folder) == 9
    assert len(list(folder.path.iterdir())) == 4  # two states, two parts


def test_two_damaged_shots_are_a_sentence(tmp_path):
    folder = RunFolder(tmp_path).saved_state
    saver = Saver(folder, START)
    for number in (1, 2):
        save_shot(saver, number)
    for path in folder.path.glob("*.safetensors"):
        flip(path)
    with pytest.raises(RunFolderError, match="damaged"):
        folder.read_undamaged()


def test_damaged_recovery_costs_the_recovery(tmp_path):
    folder = RunFolder(tmp_path).saved_state
    saver = Saver(folder, START)
    save_all(saver)
    flip(folder.path / saver.saved.parts["recovered"].file)
    state, _ = folder.read_undamaged()
    assert not state.is_recovered
    assert set(state.parts) == {"shot"}
    assert number_of(folder) == 3


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damaged_or_missing_progress_is_noticed_when_it_is_loaded(tmp_path, damage):
    folder = RunFolder(tmp_path).saved_state
    saver = Saver(folder, START)
    save_shot(saver, 1)
    saver.save({"blocks": weights(5)})
    damage(folder.path / saver.saved.parts["blocks"].file)
    state, problem = folder.read_undamaged()
    assert not problem
    with pytest.raises(RunFolderError, match="damaged"):
        Saver(folder, state).load("blocks")


def test_state_that_fails_after_its_rename_keeps_its_files(tmp_path, monkeypatch):
    """The disk may be full when the folder is flushed."""
    folder = RunFolder(tmp_path).saved_state
    saved = SavedState(Origin({}, "", "", {}), RecoveryConfig())
    saver = saver_module.Saver(folder, saved)
    assert saver.save({"blocks": {"a": torch.zeros(2)}}) == ""
    write = saver_module.write_atomically

    def write_and_fail(path, data):
        write(path, data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saver_module, "write_atomically", write_and_fail)
    assert saver.save({"blocks": {"a": torch.ones(2)}}) == "No space left on device"
    assert saver.save({"blocks": {"a": torch.ones(2)}}) == ""  # it is not tried
    assert folder.read().parts == saver.saved.parts
    assert saver.load("blocks")["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("took", "interval"), [(0.1, 60), (6, 120), (1_000, 900)], ids=str
)
def test_time_between_saves_depends_on_the_last_one(
    took, interval, tmp_path, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(saver_module.time, "monotonic", lambda: now[0])
    folder = RunFolder(tmp_path).saved_state
    saver = Saver(folder, START)

    def slow(*args):
        now[0] += took
        return save_file(*args)

    monkeypatch.setattr(saver_module, "save_file", slow)
    saver.save({"training": weights(1)})
    now[0] += interval
    assert not saver.is_due
    now[0] += 0.1
    assert saver.is_due
