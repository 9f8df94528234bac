"""Models and tokenizers with one thing changed, and the sentences that say so."""

import base64
import functools
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.files import find_weight_files
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.base.errors import EngineError, ModelError
from surgeon_engine.calibration.own_samples import Author, own_text
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import TEMPLATES, locate
from surgeon_engine.model.tokenizer import read_tokenizer, tokenizer_problem
from surgeon_engine.planning.windows import check_tokenizer
from tests.helpers.tiny_models import save_tiny_model

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
DEEP = 100_000


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("valid") / "tiny")


@pytest.fixture
def folder(valid, tmp_path):
    """Return a copy of a valid model."""
    copy = tmp_path / "tiny"
    copy.mkdir()
    for path in valid.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def changed(name: str, **entries: object) -> Callable[[Path], None]:
    """Change entries of a JSON file of the model."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


config = functools.partial(changed, "config.json")
tokenizer = functools.partial(changed, "tokenizer.json")


def content(name: str, data: bytes) -> Callable[[Path], None]:
    """Write a file of the model."""
    return lambda folder: (folder / name).write_bytes(data)


def cut(size: int) -> Callable[[Path], None]:
    """Cut off the weights."""
    return lambda x: (x / WEIGHTS).write_bytes((x / WEIGHTS).read_bytes()[:size])


def header(data: bytes) -> Callable[[Path], None]:
    """Give the weights another header."""
    return content(WEIGHTS, struct.pack("<Q", len(data)) + data)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Replace the file of the weights."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        make(folder / WEIGHTS)

    return change


def index(*names: str) -> Callable[[Path], None]:
    shards = {f"tensor {number}": name for number, name in enumerate(names)}
    return content(INDEX, json.dumps({"weight_map": shards}).encode())


def pipe_of_templates(folder: Path) -> None:
    (folder / TEMPLATES).mkdir()
    os.mkfifo(folder / TEMPLATES / "b.jinja")


MODELS = {
    "no config": (lambda x: (x / "config.json").unlink(), "has no config.json"),
    "config is cut off": (content("config.json", b"{"), "is not valid JSON"),
    "no weights": (lambda x: (x / WEIGHTS).unlink(), "has no .safetensors file"),
    "pickled weights": (
        lambda x: (x / WEIGHTS).rename(x / "pytorch_model.bin"),
        "pickled weights only (pytorch_model.bin)",
    ),
    **{
        f"weights cut off at {size}": (cut(size), "model.safetensors is damaged")
        for size in (0, 4, 300, -1)
    },
    "unknown family": (
        config(model_type="perceptron"),
        "The config of tiny cannot be used",
    ),
    "encoder": (
        config(model_type="bert", architectures=["BertForMaskedLM"]),
        "language model (its architecture is BertForMaskedLM)",
    ),
    "encoder and decoder": (
        config(model_type="t5", architectures=["T5ForConditionalGeneration"]),
        "language model (its architecture is T5ForConditionalGeneration)",
    ),
    "widths by layer": (
        config(per_layer_config={"0": {"intermediate_size": 8}}),
        "The layers of tiny differ in intermediate_size",
    ),
    "quantized by 3 bits": (
        config(quantization_config={"quant_method": "gptq", "bits": 3}),
        "The weights of tiny are quantized by GPTQ with bits = 3",
    ),
    "config nested": (
        content("config.json", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        "is not valid JSON: it is nested too deeply",
    ),
    "config of lists": (content("config.json", b"[" * DEEP), "nested too deeply"),
    "config is huge": (content("config.json", b" " * 10_000_001), "10.0 MB"),
    "config is a list": (content("config.json", b"[]"), "it is not a JSON object"),
    "architecture is a number": (config(architectures=[3]), "not a decoder-only"),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers = 0"),
    "negative layers": (config(num_hidden_layers=-1), "num_hidden_layers = -1"),
    "a billion layers": (
        config(num_hidden_layers=10**9),
        "num_hidden_layers = 1,000,000,000; it must be from 1 to 1,000",
    ),
    "200,000 layers": (config(num_hidden_layers=200_000), "= 200,000"),
    "no width": (config(hidden_size=0), "hidden_size = 0"),
    "no width at all": (
        content(
            "config.json",
            b'{"model_type": "blt", "architectures": ["BltForCausalLM"]}',
        ),
        "states no hidden_size",
    ),
    "huge vocabulary": (config(vocab_size=10**12), "vocab_size = 1,000,000,000,000"),
    "padding outside of the vocabulary": (config(pad_token_id=10**6), "Padding_idx"),
    "size is a text": (
        config(sliding_window="x"),
        "sliding_window = 'x', which is no whole number",
    ),
    "nested header": (
        header(b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        "model.safetensors is damaged",
    ),
    "no tensors": (header(b"{}"), "hold no tensors"),
    "named pipe": (replaced(os.mkfifo), "model.safetensors is not a file"),
    "device": (replaced(lambda p: p.symlink_to("/dev/zero")), "is not a file"),
    "folder": (replaced(Path.mkdir), "is not a file"),
    "dangling link": (
        replaced(lambda path: path.symlink_to("nowhere")),
        "model.safetensors is a link that leads nowhere",
    ),
    "circle of links": (
        replaced(lambda path: path.symlink_to(path)),
        "model.safetensors is a link that leads nowhere",
    ),
    "index of pickles": (
        index(WEIGHTS, "pytorch_model.bin"),
        "names “pytorch_model.bin”, which is no .safetensors file of the folder",
    ),
    "index of another folder": (
        index("../other/model.safetensors"),
        "names “../other/model.safetensors”, which is no .safetensors file",
    ),
    "index of a missing file": (index("a.safetensors"), "has no a.safetensors"),
    "parts without an index": (
        lambda folder: (folder / WEIGHTS).rename(
            folder / "model-00001-of-00001.safetensors"
        ),
        f"neither {WEIGHTS} nor {INDEX}",
    ),
    "one file beside the parts of an index": (
        lambda folder: (
            index("part.safetensors")(folder),
            shutil.copy(folder / WEIGHTS, folder / "part.safetensors"),
        ),
        "two sets of weights",
    ),
    "index without files": (content(INDEX, b"{}"), "names “nothing”"),
    "index of lists": (
        content(INDEX, b'{"weight_map": {"a": ["x"]}}'),
        "which is no .safetensors file of the folder",
    ),
    "adapter": (
        content("adapter_config.json", b"{}"),
        "holds an adapter (adapter_config.json)",
    ),
    "tokenizer is a device": (
        lambda folder: (folder / "chat_template.jinja").symlink_to("/dev/zero"),
        "chat_template.jinja is not a regular file",
    ),
    "options are a file of the system": (
        lambda folder: (folder / "vocab.json").symlink_to("/proc/self/environ"),
        "vocab.json is not a regular file",
    ),
    "options of generation": (
        content("generation_config.json", b"null"),
        "generation_config.json of tiny cannot be used",
    ),
    "template is a named pipe": (pipe_of_templates, "b.jinja is not a regular file"),
    "more parameters than numbers": (
        config(intermediate_size=10**7),
        "they hold 6,992 numbers, and the model has 960,004,688 parameters",
    ),
    "100 million labels": (config(num_labels=10**8), "num_labels = 100,000,000"),
    "index is a number": (content(INDEX, b"7"), "it is not a JSON object"),
}
# Cases that only the engine detects, with the library that builds the model.
BUILT = (
    "no layers", "negative layers", "a billion layers", "200,000 layers", "no width",
    "huge vocabulary", "padding outside of the vocabulary", "no tensors",
    "tokenizer is a device", "100 million labels", "more parameters than numbers",
    "options are a file of the system", "template is a named pipe", "size is a text",
    "options of generation", "no width at all", "unknown family", "widths by layer",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and links")
@pytest.mark.parametrize("kind", MODELS)
def test_bad_model_ends_in_a_sentence(folder, kind):
    change, sentence = MODELS[kind]
    change(folder)
    errors = []
    for read in (inspect_model, load_model):
        with pytest.raises(EngineError) as error:
            read(ModelConfig(str(folder)))
        errors.append(error.value)
    assert errors[0].message == errors[1].message
    assert sentence in errors[0].message
    assert errors[0].message.endswith(".")
    assert errors[0].hint
    assert kind in BUILT or sentence in model_facts(str(folder)).problem


def test_only_a_pickle_file_in_an_index_is_called_one(folder):
    hints = []
    for name in ("pytorch_model.bin", "../model.safetensors"):
        index(name)(folder)
        with pytest.raises(ModelError) as error:
            find_weight_files(folder)
        hints.append("ickle" in error.value.hint)
    assert hints == [True, False]


@pytest.mark.skipif(os.name != "posix", reason="needs names of bytes")
def test_folder_whose_name_is_no_text_ends_in_a_sentence(folder, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path / "latin1-") + b"\xe9")
    folder.rename(name)
    with pytest.raises(EngineError, match=r"is not UTF-8 text: .*latin1-\\udce9"):
        inspect_model(ModelConfig(name))


def tokens(**changed: object) -> Callable[[Path], None]:
    """Change options of the tokenizer's model."""

    def change(folder: Path) -> None:
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        tokenizer(model=model | changed)(folder)

    return change


def template(source: str) -> Callable[[Path], None]:
    return content("chat_template.jinja", source.encode())


def regex(pattern: str) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
            "invert": False}  # fmt: skip


EMPTY = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[NO]",
         "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence":
         {"id": "B", "type_id": 1}}], "special_tokens": {}}  # fmt: skip
TOKENIZERS = {
    "no model": tokenizer(model=None),
    "unknown model": tokenizer(model={"type": "Evil"}),
    "broken regex": tokenizer(pre_tokenizer=regex("((") | {"invert": False}),
    "empty charsmap": tokenizer(
        normalizer={"type": "Precompiled", "precompiled_charsmap": ""}
    ),
    "missing special token": tokenizer(post_processor=EMPTY),
    "dangling merges": tokens(type="BPE", vocab={"a": 0}, merges=[["z", "y"]]),
    "garbage merges": tokens(type="BPE", vocab={"a": 0}, merges=[1]),
    "negative id": tokens(vocab={"a": -1}),
    "id of 33 bits": tokens(vocab={"a": 2**32 + 1}),
    "id of 31 bits": tokens(vocab={"a": 0, "b": 2**31}),
    "nested": content("tokenizer.json", b"[" * DEEP),
    "no JSON": content("tokenizer.json", b"x"),
    "no object": content("tokenizer.json", b"null"),
    "length is a text": content("tokenizer_config.json", b'{"model_max_length": "x"}'),
    "token is a number": content("tokenizer_config.json", b'{"bos_token": 5}'),
    "template is no text": content("chat_template.jinja", b"\xff"),
    "template of the whole memory": template("{{ 'x' * 10**15 }}"),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_bad_tokenizer_ends_in_a_sentence(folder, kind):
    TOKENIZERS[kind](folder)
    problem = tokenizer_problem(locate(str(folder)))
    assert "of tiny cannot be read: " in problem
    assert load_model(ModelConfig(str(folder))).tokenizer is None
    with pytest.raises(EngineError) as error:
        check_tokenizer(problem, ["a.txt"])
    assert problem in error.value.message
    check_tokenizer(problem, ["a.npy"])


def test_inspection_finds_that_there_is_no_tokenizer(folder):
    assert not inspect_model(ModelConfig(str(folder))).model.tokenizer_problem
    for file in folder.glob("token*"):
        file.unlink()
    found = inspect_model(ModelConfig(str(folder))).model.tokenizer_problem
    assert found == tokenizer_problem(locate(str(folder)))


def test_tokenizer_with_dropout_splits_a_text_always_alike(folder):
    tokens(dropout=0.5)(folder)
    loaded = read_tokenizer(locate(str(folder)))
    assert len({tuple(loaded("some words " * 20).input_ids) for _ in range(5)}) == 1


def test_tokenizer_of_tekken_alone_is_read(folder):
    for path in (*folder.glob("tokenizer*"), *folder.glob("special*")):
        path.unlink()
    special = ("<unk>", "<s>", "</s>")
    tekken = {
        "config": {"pattern": ".", "default_num_special_tokens": 3},
        "special_tokens": [{"rank": i, "token_str": x} for i, x in enumerate(special)],
        "vocab": [
            {"rank": i, "token_bytes": base64.b64encode(bytes([i])).decode()}
            for i in range(256)
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(tekken))
    source = locate(str(folder))
    assert not tokenizer_problem(source)
    tokenizer = read_tokenizer(source)
    assert tokenizer("é").input_ids == [1, 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.eos_token_id == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weight_that_is_not_finite_is_named(folder, number):
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if "q_proj" in name)
    weights[name].view(-1)[3] = number
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(EngineError, match=f"1 of 256 weights of {name}"):
        load_model(ModelConfig(str(folder)))


def test_options_that_change_outputs_are_undone(folder):
    config(
        return_dict=False, output_hidden_states=True, output_attentions=True
    )(folder)  # fmt: skip
    model = load_model(ModelConfig(str(folder))).model
    found = model(torch.ones((1, 4), dtype=torch.int64), use_cache=False)
    assert set(found) == {"logits"}


@pytest.mark.parametrize("shape", [[1e400], [-1], [9] * 1_000, [10**30], "12", [True]])
def test_absurd_shape_ends_in_a_sentence(folder, shape):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    header(json.dumps({"a": entry}).replace("Infinity", "1e999").encode())(folder)
    with pytest.raises(EngineError, match="is damaged"):
        inspect_model(ModelConfig(str(folder)))


def test_first_token_beyond_the_vocabulary_ends_in_a_sentence(folder):
    loaded = load_model(ModelConfig(str(folder)))
    config_of_model = loaded.model.config
    config_of_model.bos_token_id = 4_000_000_000
    author = Author(loaded.source, torch.float32, config_of_model, None)
    with pytest.raises(EngineError, match="token 4,000,000,000"):
        own_text(author, 2, 16, seed=0)


def test_valid_model_stays_valid(folder):
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {"format": "pt"})
    index(WEIGHTS)(folder)
    assert inspect_model(ModelConfig(str(folder))).model.parameters > 0
    assert not model_facts(str(folder)).problem
