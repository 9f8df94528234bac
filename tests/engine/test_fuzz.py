"""Whatever the bytes, each parser returns something or raises a sentence.

Most inputs are valid ones in which some bytes were changed, so that they come far. The
number of examples grows with `--hypothesis-profile=thorough`.
"""

import io
import json
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from surgeon_engine.api.config.layer_patterns import LayerMinDensity, parse_limit
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.model_info.header import ModelFacts, model_facts
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, RunFolderError
from surgeon_engine.calibration.windows import Vocabulary
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import UnreadableRunError, read_record, read_state
from tests.engine.test_bad_input import read
from tests.helpers.fake_runs import write_run, write_saved_state
from tests.helpers.gguf_headers import gguf_header

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=5_000, deadline=None)
settings.load_profile("quick")
pytestmark = pytest.mark.slow
# All examples of a test share its folder.
in_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def changed(draw: st.DrawFn, valid: bytes) -> bytes:
    """Return the bytes with some of them replaced, inserted or cut off."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 12))
        data[start:end] = draw(st.binary(max_size=12))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def bytes_like(*valid: bytes) -> SearchStrategy[bytes]:
    """Return a strategy of changed bytes, and of any others."""
    return st.one_of(*map(changed, valid), st.binary(max_size=200))


GGUF = gguf_header(
    ("general.architecture", 8, struct.pack("<Q", 5) + b"llama"),
    ("llama.block_count", 4, struct.pack("<I", 2)),
    ("llama.rope.freq_base", 6, struct.pack("<f", 10_000)),
    ("general.languages", 9, struct.pack("<IQQ", 8, 1, 2) + b"en"),
    ("tokenizer.ggml.model", 8, struct.pack("<Q", 4) + b"gpt2"),
)


@in_folder
@given(data=bytes_like(GGUF))
def test_gguf_header(tmp_path, data):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert isinstance(model_facts(str(path)), ModelFacts)


def safetensors(header: bytes, size: int = 24) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(size)


HEADER = json.dumps(
    {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
    }
).encode()
CONFIG = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}


@in_folder
@given(data=bytes_like(safetensors(HEADER)) | changed(HEADER).map(safetensors))
def test_safetensors_header(tmp_path, data):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(data)
    assert isinstance(model_facts(str(tmp_path)), ModelFacts)


@in_folder
@given(data=bytes_like(json.dumps(CONFIG).encode()))
def test_config_of_a_model(tmp_path, data):
    (tmp_path / "config.json").write_bytes(data)
    (tmp_path / "model.safetensors").write_bytes(safetensors(HEADER))
    assert isinstance(model_facts(str(tmp_path)), ModelFacts)


@given(text=st.text() | changed(b"block 3=0.5").map(lambda x: x.decode("latin-1")))
def test_minimum_density_of_a_layer(text):
    try:
        limit = parse_limit(text)
    except EngineError as error:
        assert error.hint
    else:
        assert isinstance(limit, LayerMinDensity)
        assert 0 <= limit.share <= 1


JOB = config_to_toml(RunConfig()).encode()


@given(data=bytes_like(JOB))
def test_job(data):
    try:
        config = config_from_toml(data.decode("utf-8", "replace"))
    except EngineError as error:
        assert str(error)
    else:
        assert config_from_toml(config_to_toml(config)) == config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run with saved progress."""
    folder = write_run(tmp_path_factory.mktemp("runs"), ending="cancelled")
    write_saved_state(folder)
    return RunFolder(folder)


@pytest.fixture(scope="module")
def lines(run):
    return run.events_path.read_bytes()


@given(seed=st.integers(0, 2**32), data=st.data())
def test_log_of_a_run(run, lines, seed, data):
    some = lines.splitlines(keepends=True)
    start = seed % len(some)
    part = b"".join(some[start : start + 3])
    changed_part = data.draw(changed(part) | st.binary(max_size=100))
    before, after = some[:start], some[start + 3 :]
    run.events_path.write_bytes(b"".join([*before, changed_part, *after]))
    try:
        state = read_state(run.path)
    except UnreadableRunError as error:
        assert str(error)
    else:
        assert isinstance(state, RunState)
    assert read_record(run.path).folder == str(run.path)


@given(data=st.data())
def test_saved_state(run, data):
    path = run.saved_state.state_path
    valid = getattr(test_saved_state, "valid", None) or path.read_bytes()
    test_saved_state.valid = valid
    path.write_bytes(data.draw(bytes_like(valid)))
    try:
        assert msgspec.json.encode(run.saved_state.read())
    except RunFolderError as error:
        assert error.hint


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(48, dtype=np.int32).reshape(3, 16))
    return stream.getvalue()


@in_folder
@given(data=bytes_like(npy()))
def test_token_file(tmp_path, data):
    path = tmp_path / "tokens.npy"
    path.write_bytes(data or b"x")
    try:
        windows = read(path).calibration
    except EngineError as error:
        assert error.hint
    else:
        assert windows.ndim == 2
        assert windows.max() < Vocabulary(300, 0).size
