"""The shipped text comes with Surgeon, and gives windows of any tokenizer."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration import fenced
from surgeon_engine.calibration.fenced import shipped_windows
from surgeon_engine.calibration.texts import SHIPPED_TEXT
from surgeon_engine.model.load import load_model
from surgeon_engine.run import prepare
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import job


def test_windows_are_text_of_all_sources_in_random_order(monkeypatch):
    monkeypatch.setattr(fenced, "SHIPPED_TEXT", SHIPPED_TEXT)  # all of it
    loaded = load_model(ModelConfig(DEMO))
    windows = shipped_windows(loaded, length=64, seed=0)
    assert windows.shape[1] == 64
    assert len(windows) > 2_000
    text = loaded.tokenizer.decode(windows.flatten())
    for words in ("whale", "SELECT", "fn main", "Population:", "Menschen"):
        assert words in text
    other = shipped_windows(loaded, length=64, seed=1)
    assert not torch.equal(windows, other)
    assert set(map(tuple, windows.tolist())) == set(map(tuple, other.tolist()))


def test_sources_are_listed_with_their_passages():
    path = Path(SHIPPED_TEXT)
    lines = path.read_text(encoding="utf-8").strip().split("\n")
    passages = [json.loads(line) for line in lines]
    listed = path.with_name("README.md").read_text(encoding="utf-8")
    counts = dict.fromkeys((each["source"] for each in passages), 0)
    for each in passages:
        counts[each["source"]] += 1
    for source, count in counts.items():
        assert f"| {source}" in listed
        assert f"| {count} |" in listed
    assert f"{len(passages)} passages" in listed


def test_text_that_the_model_cannot_read_is_written_by_it(tmp_path, monkeypatch):
    def fail(*_):
        raise CalibrationError("The tokenizer fails.")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = job(tmp_path, recovery=RecoveryConfig(general_windows=8))
    kinds = {}
    for name, function in (("read", prepare.shipped_windows), ("failed", fail)):
        monkeypatch.setattr(prepare, "shipped_windows", function)
        windows = prepare.prepare(config, silent_context()).windows
        kinds[name] = [len(each) for each in windows.fitted[1:]]
    assert kinds == {"read": [4, 4], "failed": [8]}


def test_text_that_takes_too_long_to_read_is_not_replaced(tmp_path, monkeypatch):
    """A run that began with one text could not go on with the other."""
    late = CalibrationError("The text cannot be read in time.")
    late.is_timeout = True
    monkeypatch.setattr(prepare, "shipped_windows", Mock(side_effect=late))
    config = job(tmp_path, recovery=RecoveryConfig(general_windows=8))
    with pytest.raises(CalibrationError, match="in time"):
        prepare.prepare(config, silent_context())
