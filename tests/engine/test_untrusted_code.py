"""No code and no pickle of a model ever runs."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.load import load_model
from tests.helpers.runs import Recorder, job
from tests.helpers.tiny_models import byte_tokenizer

EVIL = """
from pathlib import Path
Path({!r}).write_text("ran")
from transformers import LlamaConfig as Config, LlamaForCausalLM as Model
from transformers import PreTrainedTokenizerFast as Tokenizer
"""
MAP = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoModelForCausalLM": "evil.Model",
}
TOKENIZER_MAP = {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}


class Pickle:
    """Writes the trace when it is read."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (write_atomically, (self.trace, b"ran"))


@pytest.fixture
def config(tmp_path):
    return job(tmp_path)


@pytest.fixture
def model(config):
    """Return the folder of the model."""
    return Path(config.model.source)


@pytest.fixture
def trace(model, tmp_path):
    """Add code to the model that leaves a trace, and return the trace."""
    found = tmp_path / "trace"
    (model / "evil.py").write_text(EVIL.format(str(found)))
    yield found
    assert not found.exists()


def change(path, **options):
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(found | options))


def in_repository(name):
    return {kind: f"{name}{value}" for kind, value in MAP.items()}


def test_model_of_an_unknown_type_is_refused_without_a_question(
    model, trace, monkeypatch
):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    change(model / "config.json", model_type="evil", auto_map=MAP)
    for read in (inspect_model, load_model):
        with pytest.raises(EngineError, match=r"\.$"):
            read(ModelConfig(str(model)))


@pytest.mark.parametrize("repository", ["", "someone/evil--"])
def test_model_of_a_known_type_is_built_without_its_code(model, trace, repository):
    change(model / "config.json", auto_map=in_repository(repository))
    loaded = load_model(ModelConfig(str(model)))
    assert type(loaded.model).__module__.startswith("transformers.")


def test_code_of_a_tokenizer_does_not_run(model, trace):
    names = {"tokenizer_class": "Tokenizer", "auto_map": TOKENIZER_MAP}
    change(model / "tokenizer_config.json", **names)
    load_model(ModelConfig(str(model)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickle_is_not_opened(model, trace, name):
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(Pickle(trace)))
    with pytest.raises(EngineError, match=r"\.$"):
        load_model(ModelConfig(str(model)))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@pytest.mark.parametrize("format_", [Format.MASKED, Format.COMPACT])
def test_export_names_no_code_of_others(config, model, trace, tmp_path, format_):
    byte_tokenizer().save_pretrained(model)
    change(model / "config.json", auto_map=in_repository("someone/evil--"))
    change(model / "tokenizer_config.json", auto_map=TOKENIZER_MAP)
    exported = dataclasses.replace(config, export=ExportConfig(format=format_))
    Recorder().run(exported, tmp_path / "run")
    folder = tmp_path / "run" / "export"
    found = json.loads((folder / "config.json").read_text()).get("auto_map", {})
    assert all(name.startswith("modeling_pruned.") for name in found.values())
    assert bool(found) == (format_ is Format.COMPACT)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert "tokenizer_class" in tokenizer
    assert "auto_map" not in tokenizer
