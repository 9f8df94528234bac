"""Compare pruned and quantized GGUF files with the original in fewer bits.

    python benchmarks/pruned_quantized.py MODEL RUN... --judging test.npy other.npy \
        [--types q8_0 q4_0 ...] [--calibration calib.npy]

MODEL is the original of the runs, a model like Llama; RUN is the folder of a finished
run. Each model, MODEL first, is written in each type by the program's own writer. What
the file holds is dequantized into the model and judged on the windows of the token
files: KL(MODEL || file) in nats per token, and the share of tokens with the same top
token. llama.cpp (of the package xllamacpp) runs each file on a prompt of 512 tokens, or
of what the model's context leaves, and 128 tokens that it generates. Prints a table.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import torch
import xllamacpp
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.compaction.restore import restore
from surgeon_engine.evaluation.fidelity import Reference, log_divergences, reference_of
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.check import FILE_NAME
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.model.head import head_logits, last_hidden, logit_parts
from surgeon_engine.model.load import load_model

BATCH = 4  # windows
PROMPT, GENERATED, ROUNDS = 512, 128, 5
TYPES = ("float16", "q8_0", "q4_k_m", "iq4_nl", "q4_0")
# By the names of the file; all but norms and embeddings.
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def main() -> int:
    """Print the table; return 0."""
    options = _options()
    loaded = load_model(ModelConfig(source=options.model))
    original = loaded.model
    references = [
        reference_of(original, _windows(path), BATCH, lambda: None)
        for path in options.judging
    ]
    parameters = original.num_parameters()
    text = Calibration(_windows(options.calibration), BATCH, "")
    print(
        "| model | type | file | bits per weight | bits per original weight | KL "
        "| same | prompt | generation |\n" + "|---" * 9 + "|"
    )
    for run in (*([] if options.only_runs else [None]), *options.runs):
        pruned, name = PrunedModel(loaded, CompactionPlan()), "original"
        if run is None:
            model = copy.deepcopy(original)
        else:
            folder = RunFolder(run)
            report = folder.read_report()
            checkpoint = folder.checkpoint_of(report)
            pruned = restore(checkpoint, report.model.name)
            name = f"{100 * report.shots[-1].sparsity:.0f} % removed"
            model = AutoModelForCausalLM.from_pretrained(
                checkpoint, trust_remote_code=True, dtype=torch.float32
            ).eval()
        weights = {n: p.detach().clone() for n, p in model.named_parameters()}
        for dtype in map(FileDtype, options.types):
            with tempfile.TemporaryDirectory() as place:
                config = ExportConfig(format=Format.GGUF, dtype=dtype)
                feeds = dtype is not FileDtype.Q8_0  # little to gain, and slow
                GgufWriter(feeds, text).write(pruned, config, Path(place))
                path = Path(place) / FILE_NAME
                tensors = gguf.GGUFReader(path).tensors
                size = sum(int(x.n_bytes) for x in tensors)
                numbers = sum(int(x.n_elements) for x in tensors)
                _read_into(model, tensors)
                cells = [
                    name,
                    str(dtype),
                    f"{path.stat().st_size / 1e6:.1f} MB",
                    f"{8 * size / numbers:.2f}",
                    f"{8 * size / parameters:.2f}",
                    *_figures(original, model, references),
                    *_speeds(path, original.config),
                ]
            print(f"| {' | '.join(cells)} |", flush=True)
            with torch.no_grad():
                for n, p in model.named_parameters():
                    p.copy_(weights[n])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--judging", nargs="+", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--only-runs", action="store_true", help="leave MODEL out")
    parser.add_argument("--types", nargs="+", default=TYPES)
    return parser.parse_args()


def _windows(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path).astype(np.int64))


@torch.no_grad()
def _read_into(model: PreTrainedModel, tensors: list[gguf.ReaderTensor]) -> None:
    """Give the layers of a model the numbers of a file."""
    for tensor in tensors:
        W = _parameter_of(model, tensor.name)
        values = torch.from_numpy(
            gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()
        ).view(W.shape)
        if any(part in tensor.name for part in ("attn_q.", "attn_k.")):
            values = _halves(values, model.config.head_dim)
        W.copy_(values)


def _parameter_of(model: PreTrainedModel, name: str) -> Tensor:
    """Return the parameter that a tensor of a file holds."""
    body = model.get_decoder()
    match name.split("."):
        case ["token_embd", _]:
            return body.embed_tokens.weight
        case ["output", _]:
            return model.get_output_embeddings().weight
        case ["output_norm", _]:
            return body.norm.weight
        case ["blk", index, "attn_norm", _]:
            return body.layers[int(index)].input_layernorm.weight
        case ["blk", index, "ffn_norm", _]:
            return body.layers[int(index)].post_attention_layernorm.weight
        case ["blk", index, kind, _]:
            return body.layers[int(index)].get_submodule(NAMES[kind]).weight
    raise ValueError(f"{name} is unknown.")


def _halves(W: Tensor, size: int) -> Tensor:
    """Return the rows of q or k in the order of transformers.

    A file has neighboring features of a head in pairs, transformers half a head apart.
    """
    heads = W.shape[0] // size
    return W.view(heads, size // 2, 2, -1).transpose(1, 2).reshape(W.shape)


@torch.no_grad()
def _figures(
    original: PreTrainedModel, model: PreTrainedModel, references: list[Reference]
) -> Iterator[str]:
    """Yield KL and the share of same top tokens, on all texts.

    A file has a head of its own, so that both heads are needed.
    """
    nats: list[float] = []
    same: list[float] = []
    for reference in references:
        rows: list[tuple[Tensor, Tensor]] = []
        for tokens, expected in reference.batches():
            found = last_hidden(model, tokens)
            for part in logit_parts(model, tokens[:, 1:]):
                p = head_logits(original, expected[:, :-1][:, part]).float()
                q = head_logits(model, found[:, :-1][:, part]).float()
                is_same = (p.argmax(-1) == q.argmax(-1)).float()
                log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
                rows.append(
                    (log_divergences(log_p, log_q).flatten(), is_same.flatten())
                )
        both = [torch.cat(x) for x in zip(*rows, strict=True)]
        nats.append(float(both[0].mean()))
        same.append(float(both[1].mean()))
    yield ", ".join(f"{x:.3f}" for x in nats)
    yield ", ".join(f"{100 * x:.0f} %" for x in same)


def _speeds(path: Path, config: PretrainedConfig) -> Iterator[str]:
    """Yield the tokens per second of a prompt, and of generation, by llama.cpp."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 1024
    parameters.n_parallel, parameters.n_gpu_layers, parameters.verbosity = 1, 0, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 2
    parameters.fit_params = parameters.enable_chat_template = False
    server = xllamacpp.Server(parameters)
    prompts, generated = [], []
    length = min(PROMPT, config.max_position_embeddings - GENERATED)
    for number in range(ROUNDS):
        tokens = [(7 * number + 31 * n) % config.vocab_size for n in range(length)]
        answer = server.handle_completions(
            {
                "prompt": tokens,
                "n_predict": GENERATED,
                "ignore_eos": True,
                "cache_prompt": False,
                "temperature": 0,
            }
        )
        timings = answer["timings"]
        prompts.append(timings["prompt_per_second"])
        generated.append(timings["predicted_per_second"])
    yield from (f"{statistics.median(x):.0f}/s" for x in (prompts, generated))


if __name__ == "__main__":
    sys.exit(main())
