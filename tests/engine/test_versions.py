"""A file of another version, or of none, is refused with a sentence."""

import hashlib
import json
import re

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from surgeon_engine.api.config.presets import preset_from_toml
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.export_marker import read_marker, write_marker
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.compaction.plan import CompactionPlan, read_config
from tests.helpers.fake_runs import write_run, write_saved_state

OTHERS = [None, 2, 99]
other_versions = pytest.mark.parametrize("version", OTHERS)


def assert_refused(read, version) -> None:
    """Check that the error names the version of the file and ours, with a hint."""
    with pytest.raises(EngineError) as raised:
        read()
    found = f"has version {version} of" if version else "does not say which version"
    assert found in raised.value.message
    assert raised.value.message.endswith("this program reads version 1.")
    assert "the version of Surgeon that wrote it" in raised.value.hint


def seal_again(path, version) -> None:
    """Give a sealed file another version; None: none."""
    new = b'"version":%d,' % version if version else b""
    rest = path.read_bytes().partition(b",")[2]
    rest = re.sub(rb'\s*"version":\s*1,', new, rest, count=1)
    seal = hashlib.sha256(rest).hexdigest().encode()
    path.write_bytes(b'{"sha256":"%s",%s' % (seal, rest))


@pytest.mark.parametrize("version", OTHERS[1:])  # people may leave it out
@pytest.mark.parametrize("read", [config_from_toml, lambda x: preset_from_toml("x", x)])
def test_job_and_preset_of_another_version_are_refused(read, version):
    text = f'version = {version}\ntitle = "T"\n[future]\nx = 1'
    assert_refused(lambda: read(text), version)


@other_versions
def test_log_of_another_version_is_refused(tmp_path, version):
    run = RunFolder(write_run(tmp_path))
    header, rest = run.events_path.read_bytes().split(b"\n", 1)
    assert header == b'{"version":1}'
    new = b'{"version":%d}\n' % version if version else b""
    run.events_path.write_bytes(new + rest)
    assert_refused(lambda: list(run.log_lines()), version)


@other_versions
def test_report_of_another_version_is_refused(tmp_path, version):
    run = RunFolder(write_run(tmp_path))
    seal_again(run.report_path, version)
    assert_refused(run.read_report, version)


@other_versions
def test_saved_state_of_another_version_is_refused(tmp_path, version):
    folder = write_run(tmp_path, ending="killed")
    write_saved_state(folder)
    state = RunFolder(folder).saved_state
    seal_again(state.state_path, version)
    assert_refused(state.read_undamaged, version)


@other_versions
def test_listing_of_an_export_of_another_version_is_refused(tmp_path, version):
    write_marker(tmp_path)
    seal_again(tmp_path / "surgeon-export.json", version)
    assert_refused(lambda: read_marker(tmp_path), version)


@other_versions
def test_plan_of_another_version_is_refused(tmp_path, version):
    path = tmp_path / "kept.indices"
    CompactionPlan().save(path, {"model_type": "llama"})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    about = json.loads(metadata["about"])
    assert about.pop("version") == 1
    if version:
        about["version"] = version
    save_file(load_file(path), path, {"about": json.dumps(about)})
    assert_refused(lambda: read_config(path), version)


def test_plans_of_equal_runs_have_equal_bytes(tmp_path):
    files = [tmp_path / f"{n}.indices" for n in range(8)]
    for path in files:
        CompactionPlan().save(path, {"model_type": "llama", "vocab_size": 8})
    assert len({path.read_bytes() for path in files}) == 1
