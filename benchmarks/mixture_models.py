"""Train small mixtures of experts on text that every installation has.

The text is the demo model's (documentation: topics and docstrings) and the source
code of Python's standard library without docstrings, in the demo's tokens. Training
continues from its last saved step if it was interrupted. `mixtures.py` prunes them.
"""

from __future__ import annotations

import ast
import logging
import sysconfig
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    OlmoeConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)

from resources.demo.train import WINDOW, rate_share, token_stream, training_texts

DEMO = Path(__file__).resolve().parents[1] / "resources" / "demo"
STEPS = {"qwen3": 1500, "olmoe": 800}
BATCH = 8  # windows
_PEAK_RATE = 2e-3
_SAVED_EVERY = 100  # steps
_CODE_SHARE = 0.35  # share of the windows
_HELD_OUT = 12  # one of so many source files is
_CODE_FOR_PRUNING = 400_000  # characters of each part of the code

logger = logging.getLogger("mixtures")

_SIZES = {
    "vocab_size": 2048,
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "max_position_embeddings": 2 * WINDOW,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "output_router_logits": True,
    "router_aux_loss_coef": 0.01,
}


def config_of(shape: str) -> PretrainedConfig:
    """Return the config of a shape: few wide experts, or many narrow ones."""
    if shape == "olmoe":
        return OlmoeConfig(
            **_SIZES,
            num_key_value_heads=6,
            intermediate_size=192,
            num_experts=16,
            num_experts_per_tok=2,
        )
    return Qwen3MoeConfig(
        **_SIZES,
        num_key_value_heads=3,
        head_dim=32,
        moe_intermediate_size=96,
        num_experts=32,
        num_experts_per_tok=4,
        norm_topk_prob=True,
    )


def write_texts(folder: Path) -> None:
    """Write the tokens to train on and, as text files, two parts of the code.

    `code.txt` was trained on and may calibrate; `code_held_out.txt` judges.
    """
    if (folder / "tokens.pt").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    documentation = [x for texts in training_texts().values() for x in texts]
    code = {True: list(_code(held_out=True)), False: list(_code(held_out=False))}
    for held_out, name in ((True, "code_held_out.txt"), (False, "code.txt")):
        text = "\n\n".join(code[held_out])[:_CODE_FOR_PRUNING]
        (folder / name).write_text(text, encoding="utf-8")
    streams = {
        "documentation": token_stream(tokenizer, documentation),
        "code": token_stream(tokenizer, code[False]),
    }
    _save(streams, folder / "tokens.pt")


def train(shape: str, seed: int, folder: Path) -> None:
    """Train a shape and write its folder, unless that is there."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    streams = torch.load(folder.parent / "tokens.pt")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(shape)).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=_PEAK_RATE,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        fused=True,
    )
    first, steps, state = 1, STEPS[shape], folder / "training.pt"
    if state.exists():
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"] + 1
    started = time.monotonic()
    for step in range(first, steps + 1):
        windows = _windows(streams, seed, step)
        loss = _step(model, optimizer, windows, _PEAK_RATE * rate_share(step, steps))
        if step % _SAVED_EVERY == 0 or step == steps:
            rate = (step + 1 - first) * BATCH * WINDOW / (time.monotonic() - started)
            logger.info(
                "%s, step %d: loss %.3f, %.0f tokens/s", shape, step, loss, rate
            )
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            _save({**parts, "step": step}, state)
    model.config.output_router_logits = False
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(folder)
    model.save_pretrained(folder)
    state.unlink()


def _step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    windows: Tensor,
    rate: float,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = model(input_ids=windows, labels=windows, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _windows(streams: dict[str, Tensor], seed: int, step: int) -> Tensor:
    """Return the windows of a step, which depend on nothing else."""
    generator = torch.Generator().manual_seed(1_000_000 * seed + step)
    found = []
    for _ in range(BATCH):
        is_code = float(torch.rand(1, generator=generator)) < _CODE_SHARE
        stream = streams["code" if is_code else "documentation"]
        last = len(stream) - WINDOW
        start = int(torch.randint(last, (1,), generator=generator))
        found.append(stream[start : start + WINDOW])
    return torch.stack(found)


def _code(*, held_out: bool) -> Iterator[str]:
    """Yield the source files of the standard library without docstrings."""
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if {"test", "tests", "site-packages", "pydoc_data"} & set(name.parts):
            continue
        is_held_out = zlib.crc32(name.as_posix().encode()) % _HELD_OUT == 0
        if is_held_out == held_out and (text := _without_docstrings(file)):
            yield text


def _without_docstrings(file: Path) -> str:
    """Return the code of a file; empty if it cannot be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return ""
    for node in ast.walk(tree):
        has_docstring = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node)
        if has_docstring:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _save(value: object, path: Path) -> None:
    """Write a file that is there as a whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(value, part)
    part.replace(path)
