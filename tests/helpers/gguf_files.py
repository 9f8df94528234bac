"""Small models, their tokenizers and the GGUF files that are written of them."""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, trainers
from tokenizers import pre_tokenizers as pre
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.file import GgufWriter
from tests.helpers.pruned_models import loaded, without

needs_llama = pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")
TEXT = "It's 1234 o'clock, we'll see: the pruned model is THE smaller one.\n\n x += 1;"
END = "<|endoftext|>"
GPT_2 = pre.ByteLevel(add_prefix_space=False)
BYTES_ONLY = pre.ByteLevel(add_prefix_space=False, use_regex=False)
LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

_TOKENIZE = """
import json, sys
from pathlib import Path
from urllib.request import Request, urlopen
import xllamacpp
from surgeon_engine.export.gguf.check import server_parameters
model, texts = map(Path, sys.argv[1:])
server = xllamacpp.Server(server_parameters(xllamacpp, model, 64))
ids = []
for text in json.loads(texts.read_text()):
    body = {"content": text, "add_special": True, "parse_special": True}
    kind = {"Content-Type": "application/json"}
    address = f"{server.listening_address}/tokenize"
    with urlopen(Request(address, json.dumps(body).encode(), kind)) as answer:
        ids.append(json.load(answer)["tokens"])
print(json.dumps(ids))
"""


def split_by(pattern: str) -> pre.PreTokenizer:
    """Return a pre-tokenizer that cuts by a regular expression."""
    return pre.Sequence([pre.Split(Regex(pattern), "isolated"), BYTES_ONLY])


def byte_pairs(
    cutting: pre.PreTokenizer = GPT_2, whole: bool = False
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer trained on a sentence."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    tokenizer.pre_tokenizer = cutting
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=sorted(pre.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


@functools.cache
def _byte_pairs() -> PreTrainedTokenizerFast:
    return byte_pairs()


def pruned(model, plan=None, tokenizer=None) -> PrunedModel:
    """Return a model to export, by default a whole one."""
    return PrunedModel(
        loaded(model, tokenizer or _byte_pairs()), plan or CompactionPlan()
    )


def uniform(model) -> PrunedModel:
    """Return a model without the last third of the groups of each block."""

    def choose(unit) -> torch.Tensor:
        count = unit.candidates
        return torch.arange(count) >= count - max(1, count // 3)

    return pruned(model, without(model, choose))


def tiny_llama(**settings) -> LlamaForCausalLM:
    """Return two blocks with six heads of 16; rows are multiples of 32 numbers."""
    torch.manual_seed(0)
    common = {
        "vocab_size": 300,
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    model = LlamaForCausalLM(LlamaConfig(**common | settings))
    return model.eval().requires_grad_(False)


def some_text() -> Calibration:
    """Return a text to round matrices on."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 300, (6, 24), generator=generator)
    return Calibration(tokens, batch=4, text="/home/me/text.jsonl")


def written(
    example: PrunedModel,
    folder: Path,
    dtype: FileDtype = FileDtype.SAME,
    calibration: Calibration | None = None,
    *,
    feeds: bool = True,
) -> gguf.GGUFReader:
    """Export a model to a file of a folder, which need not exist."""
    writer = GgufWriter(feeds, calibration)
    assert writer.unsupported_reason(example) == ""
    folder.mkdir(exist_ok=True)
    writer.write(example, ExportConfig(format=Format.GGUF, dtype=dtype), folder)
    path = folder / "model.gguf"
    assert writer.forecast(example, dtype) == path.stat().st_size
    return gguf.GGUFReader(path)


def value_of(reader: gguf.GGUFReader, name: str):
    """Return an entry of the header; None if there is none."""
    field = reader.get_field(name)
    return None if field is None else field.contents()


def numbers(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    """Return the tensors of the file as float32."""
    return {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
        for tensor in reader.tensors
    }


def in_pairs(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder rows: row i of a head, then the row half a head further on."""
    size = len(rows) // heads
    order = [
        head * size + i + half
        for head in range(heads)
        for i in range(size // 2)
        for half in (0, size // 2)
    ]
    return rows[order]


def probe_of(example: PrunedModel, path: Path) -> Path:
    """Save the logits of some tokens, as the engine does."""
    draw = torch.Generator().manual_seed(1)
    model = example.loaded.model
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.randint(1, vocabulary, (1, 24), generator=draw)
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits.float()
    save_file({"tokens": tokens, "logits": logits.contiguous()}, path)
    return path


RUNTIMES = ("llama_cpp", "xllamacpp")
INSTALLED = [name for name in RUNTIMES if find_spec(name)]


def output_of(code: str, *arguments: str):
    """Return the last line of a program's output, decoded from JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def llama_cpp_tokens(model: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens that llama.cpp makes of texts with the tokenizer of a file."""
    path = model.with_suffix(".json")
    path.write_text(json.dumps(texts))
    return output_of(_TOKENIZE, str(model), str(path))
