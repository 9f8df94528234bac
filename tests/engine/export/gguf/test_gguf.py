"""GGUF files: header, tensors and verification without a runtime."""

from __future__ import annotations

import dataclasses
import re
from itertools import product
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
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import ExportError, ModelError
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel, plan_of
from surgeon_engine.compaction.shrink import compact
from surgeon_engine.export.gguf import check as gguf_check
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.provenance import Provenance, provenance_of
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import ModelSource
from surgeon_engine.pruning.structures.units import units_of
from tests.engine.compaction.test_shrink import masked
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import VOCABULARY, tiny_model

TEXT = "It's 1234 o'clock, we'll see: the pruned model is THE smaller one.\n\n x += 1;"
END = "<|endoftext|>"
GPT_2 = pre.ByteLevel(add_prefix_space=False)
BYTES_ONLY = pre.ByteLevel(add_prefix_space=False, use_regex=False)
ROUNDED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}


def split_by(pattern: str) -> pre.PreTokenizer:
    return pre.Sequence([pre.Split(Regex(pattern), "isolated"), BYTES_ONLY])


def byte_pairs(
    cutting: pre.PreTokenizer = GPT_2, size: int = 300, whole: bool = False
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer trained on a sentence."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    tokenizer.pre_tokenizer = cutting
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=sorted(pre.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def loaded(model, tokenizer) -> LoadedModel:
    source = ModelSource("Tiny", Path("nowhere"))
    return LoadedModel(
        source,
        model,
        tokenizer,
        find_blocks(model),
        prunable_layers(model),
        model.dtype,
    )


def pruned(model, plan=None, tokenizer=None) -> PrunedModel:
    return PrunedModel(
        loaded(model, tokenizer or byte_pairs()), plan or CompactionPlan()
    )


def ragged(family: str = "llama") -> PrunedModel:
    model, plan = masked(family, Structure.HEADS_AND_NEURONS)
    return pruned(model, plan)


def without(model, choose) -> PrunedModel:
    """Return a model with zeros for the groups that `choose(candidates)` removes."""
    units = units_of(pruning_config(structure=Structure.HEADS_AND_NEURONS), model)
    removed = {}
    for unit in units:
        is_removed = choose(unit.candidates)
        removed[unit.measured.name] = is_removed
        for layer, zeros in unit.zeros(is_removed):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return pruned(model, plan_of(units, removed))


def uniform(model) -> PrunedModel:
    """Return a model without the last third of the groups of each block."""
    return without(model, lambda n: torch.arange(n) >= n - max(1, n // 3))


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


def written(
    example: PrunedModel, folder: Path, dtype=FileDtype.SAME
) -> gguf.GGUFReader:
    assert GgufWriter().unsupported_reason(example) == ""
    GgufWriter().write(example, ExportConfig(format=Format.GGUF, dtype=dtype), folder)
    return gguf.GGUFReader(folder / "model.gguf")


def value_of(reader: gguf.GGUFReader, name: str):
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


def test_blocks_with_different_widths_use_deci(tmp_path):
    example = ragged()
    reader = written(example, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    blocks = compact(example.loaded.model, example.plan).config["per_layer_config"]
    assert value_of(reader, "general.architecture") == "deci"
    for name, key in (
        ("intermediate_size", "deci.feed_forward_length"),
        ("num_attention_heads", "deci.attention.head_count"),
        ("num_key_value_heads", "deci.attention.head_count_kv"),
    ):
        field = reader.get_field(key)
        assert field.types == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32]
        assert field.contents() == [blocks[str(i)][name] for i in range(2)]
    for key in ("attention.key_length", "attention.value_length"):
        assert value_of(reader, f"deci.{key}") == 4
    assert value_of(reader, "deci.context_length") == 64
    assert value_of(reader, "deci.vocab_size") == VOCABULARY


@pytest.mark.parametrize(
    ("make", "widths"), [(pruned, (96, 6, 3)), (uniform, (64, 4, 2))]
)
def test_blocks_with_same_widths_use_llama(make, widths, tmp_path):
    reader = written(make(tiny_llama(intermediate_size=96)), tmp_path)
    assert value_of(reader, "general.architecture") == "llama"
    names = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
    assert tuple(value_of(reader, f"llama.{name}") for name in names) == widths
    assert value_of(reader, "llama.attention.key_length") == 16
    assert value_of(reader, "llama.attention.value_length") == 16


@pytest.mark.parametrize(
    ("full", "kept", "filled"), [(96, 33, 64), (96, 32, 32), (96, 65, 96), (90, 33, 33)]
)
def test_widths_are_filled_up_to_whole_blocks_of_numbers(full, kept, filled, tmp_path):
    model = tiny_llama(intermediate_size=full, mlp_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_()

    def choose(candidates: int) -> torch.Tensor:
        return torch.arange(candidates) >= (kept if candidates == full else candidates)

    example = without(model, choose)
    reader = written(example, tmp_path, FileDtype.Q8_0)
    assert value_of(reader, "llama.feed_forward_length") == filled
    kinds = {x.name: x.tensor_type.name for x in reader.tensors}
    has_blocks = filled % 32 == 0
    assert kinds["blk.0.ffn_down.weight"] == ("Q8_0" if has_blocks else "F16")
    found = numbers(reader)
    down, up = found["blk.1.ffn_down.weight"], found["blk.1.ffn_up.weight"]
    assert (down.shape, up.shape) == ((96, filled), (filled, 96))
    assert not down[:, kept:].any()
    assert not up[kept:].any()
    assert down[:, :kept].any(axis=0).all()
    biases = found["blk.1.ffn_up.bias"]
    assert biases.shape == (filled,)
    assert not biases[kept:].any()
    assert found["blk.1.ffn_down.bias"].shape == (96,)
    path = tmp_path / "model.gguf"
    assert GgufWriter().forecast(example, FileDtype.Q8_0) == path.stat().st_size


def test_file_states_the_licence_of_the_original(tmp_path):
    card = "---\nlicense: other\nlicense_name: tiny\nlanguage: [en, de]\n---\n"
    original = tmp_path / "models--org--tiny" / "snapshots" / "1"
    original.mkdir(parents=True)
    (original / "README.md").write_text(card)
    model = loaded(tiny_llama(), byte_pairs())
    model = dataclasses.replace(model, source=ModelSource("Tiny", original))
    reader = written(PrunedModel(model, CompactionPlan()), tmp_path)
    assert value_of(reader, "general.license") == "other"
    assert value_of(reader, "general.license.name") == "tiny"
    assert value_of(reader, "general.languages") == ["en", "de"]
    address = "https://huggingface.co/org/tiny"
    assert value_of(reader, "general.base_model.0.repo_url") == address
    again = provenance_of(ModelSource("Tiny", tmp_path, "model.gguf"))
    assert again == Provenance("org/tiny", "other", "tiny")


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_file_holds_tensors_of_compact_model(family, tmp_path):
    example = ragged(family)
    found = numbers(written(example, tmp_path))
    kept = compact(example.loaded.model, example.plan).tensors
    assert len(found) == len(kept)
    for name, tensor in kept.items():
        expected = tensor.tensor()
        if "q_proj" in name or "k_proj" in name:
            expected = in_pairs(expected, len(expected) // 4)
        assert torch.equal(torch.tensor(found[gguf_name(name)]), expected), name


def gguf_name(name: str) -> str:
    for theirs, ours in (
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ):
        name = name.replace(theirs, ours)
    return name


def test_qwen2_with_all_heads_is_not_reordered(tmp_path):
    model = tiny_model("qwen2")
    reader = written(pruned(model), tmp_path)
    assert value_of(reader, "general.architecture") == "qwen2"
    expected = model.model.layers[1].self_attn.q_proj.weight.numpy()
    np.testing.assert_array_equal(numbers(reader)["blk.1.attn_q.weight"], expected)


def test_model_cannot_be_pruned_again_from_a_file_with_uneven_widths(tmp_path):
    written(ragged(), tmp_path)
    with pytest.raises(ModelError, match=r"layers of model\.gguf differ in") as error:
        inspect_model(ModelConfig(str(tmp_path / "model.gguf")))
    assert "masked format" in error.value.hint


def test_tied_embeddings_are_written_once(tmp_path):
    reader = written(pruned(tiny_llama(tie_word_embeddings=True)), tmp_path)
    assert "output.weight" not in numbers(reader)


def test_scaled_positions_become_a_tensor(tmp_path):
    model = tiny_llama(rope_parameters=LLAMA_3_ROPE)
    factors = numbers(written(pruned(model), tmp_path))["rope_freqs.weight"]
    unscaled = 10000.0 ** -(np.arange(0, 16, 2) / 16)
    scaled = model.model.rotary_emb.inv_freq.numpy()
    np.testing.assert_allclose(unscaled / factors, scaled, rtol=1e-6)
    assert factors.max() == pytest.approx(8)
    assert factors.min() == pytest.approx(1)


@pytest.mark.parametrize(
    ("of_model", "dtype", "kind"),
    [
        ("BF16", FileDtype.SAME, "BF16"),
        ("F32", FileDtype.FLOAT32, "F32"),
        ("F32", FileDtype.FLOAT16, "F16"),
        ("F32", FileDtype.BFLOAT16, "BF16"),
    ],
)
def test_only_matrices_are_rounded(of_model, dtype, kind, tmp_path):
    model = tiny_llama().to(ROUNDED[of_model])
    model.model.norm.weight.normal_()
    reader = written(pruned(model), tmp_path, dtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    norms = {name for name in kinds if "_norm" in name}
    assert {kinds.pop(name) for name in norms} == {"F32"}
    assert set(kinds.values()) == {kind}
    found = numbers(reader)
    for name, tensor in (
        ("output_norm.weight", model.model.norm.weight),
        ("output.weight", model.lm_head.weight.to(ROUNDED[kind])),
    ):
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


def test_q8_0_is_close_and_fills_rows_up_to_32(tmp_path):
    example = uniform(tiny_llama())  # 43 neurons are left, and 4 heads of 16
    reader = written(example, tmp_path, FileDtype.Q8_0)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"  # of 64 columns
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["blk.0.attn_output.weight"] == "Q8_0"
    assert kinds["token_embd.weight"] == "Q8_0"
    exact = example.loaded.model.lm_head.weight.numpy()
    error = np.abs(numbers(reader)["output.weight"] - exact).reshape(-1, 32)
    # Half a step, and half a unit of the float16 that the step is.
    allowed = np.abs(exact).reshape(-1, 32).max(axis=1) / 127 * 0.57
    assert (error.max(axis=1) <= allowed).all()


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT16, FileDtype.Q8_0])
def test_write_weight_too_large_for_float16_raises(dtype, tmp_path):
    model, largest = tiny_llama(), 70000.0 * (127 if dtype is FileDtype.Q8_0 else 1)
    model.model.layers[1].mlp.down_proj.weight[3, 5] = -largest
    named = rf"blk\.1\.ffn_down\.weight .* up to {re.escape(f'{largest:.3g}')}"
    with pytest.raises(ExportError, match=named) as error:
        written(pruned(model), tmp_path, dtype)
    assert "bfloat16" in error.value.hint


@pytest.mark.parametrize(
    ("dtype", "size"),
    [*product(FileDtype, [300]), (FileDtype.Q4_0, 5000)],
)
def test_forecast_is_exact(dtype, size, tmp_path):
    # The header with thousands of tokens is larger than all the weights.
    example = uniform(tiny_llama(vocab_size=size, rope_parameters=LLAMA_3_ROPE))
    forecast = GgufWriter().forecast(example, dtype)
    written(example, tmp_path, dtype)
    assert forecast == (tmp_path / "model.gguf").stat().st_size


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("opt", "no GGUF files of this architecture (opt)"),
        ("falcon_multi_head", "alibi = False for granted"),
    ],
)
def test_other_families_are_unsupported(family, reason):
    assert reason in GgufWriter().unsupported_reason(pruned(tiny_model(family)))


def test_rows_and_columns_are_unsupported():
    model, plan = masked("llama", Structure.ROWS_AND_COLUMNS)
    assert "only removed heads and neurons" in GgufWriter().unsupported_reason(
        pruned(model, plan)
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hidden_act": "gelu"}, "not gelu"),
        ({"rope_parameters": DYNAMIC}, "scaled by dynamic"),
    ],
)
def test_settings_unknown_to_llama_cpp_are_unsupported(settings, reason):
    assert reason in GgufWriter().unsupported_reason(pruned(tiny_llama(**settings)))


def test_unknown_tensor_is_unsupported():
    model = tiny_llama()
    model.model.layers[0].self_attn.q_norm = torch.nn.LayerNorm(16, bias=False)
    assert "model.layers.0.self_attn.q_norm.weight" in GgufWriter().unsupported_reason(
        pruned(model)
    )


def test_model_without_tokenizer_is_unsupported():
    unsupported_reason = GgufWriter().unsupported_reason(
        PrunedModel(loaded(tiny_llama(), None), CompactionPlan())
    )
    assert "this model has none" in unsupported_reason


def probe_of(example: PrunedModel, path: Path) -> Path:
    """Save the logits of some tokens, as the engine does."""
    draw = torch.Generator().manual_seed(1)
    model = example.loaded.model
    size = model.config.get_text_config().vocab_size
    tokens = torch.randint(1, size, (1, 24), generator=draw)
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits.float()
    save_file({"tokens": tokens, "logits": logits.contiguous()}, path)
    return path


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Return a function that writes and checks a file without a runtime."""
    monkeypatch.setattr(gguf_check, "_import_optional", lambda name: None)
    folder = tmp_path / "export"
    folder.mkdir()

    def check(example: PrunedModel, change=lambda path: None) -> dict:
        written(example, folder)
        change(folder / "model.gguf")
        probe = probe_of(example, tmp_path / "probe.safetensors")
        return gguf_check.check(folder, probe)

    return check


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])  # a disk that was full


def test_check_without_runtime_reads_the_file_back(export):
    result = export(ragged())
    assert result["tokens"] == 0
    assert "no program that could run them is installed" in result["checked_with"]


def test_check_truncated_file_raises(export):
    with pytest.raises(ValueError, match=r"reshape|size"):
        export(ragged(), truncate)


def test_check_header_that_does_not_match_tensors_raises(export, monkeypatch):
    add = gguf.GGUFWriter.add_key_value

    def add_wrong_width(writer, key: str, value, *types) -> None:
        is_width = key.endswith(".feed_forward_length")
        add(writer, key, value + 1 if is_width else value, *types)

    monkeypatch.setattr(gguf.GGUFWriter, "add_key_value", add_wrong_width)
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_down\.weight has the shape"):
        export(pruned(tiny_llama()))


@pytest.mark.fresh_process
def test_verify_file_that_does_not_load_raises(tmp_path):
    example = pruned(tiny_llama())
    probe = probe_of(example, tmp_path / "probe.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"GGUF and nothing more")
    with pytest.raises(ExportError, match="does not load in a fresh process: "):
        GgufWriter().verify(tmp_path, probe, lambda: None)


def test_verify_is_ended_by_check(tmp_path):
    def cancelled() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        GgufWriter().verify(tmp_path, tmp_path / "probe.safetensors", cancelled)
