"""Judge damaged copies of a model: the verdicts, and damage to digits alone.

    python benchmarks/judging.py [MODEL] [--windows 16]

MODEL is a model with linear layers, by default the demo. The first table has the
verdict on bfloat16, on weights rounded to few bits (to nearest, asymmetric, groups of
32), and on blocks in another order. The second compares two files of equal KL: one has
noise in all rows of its head, the other in the rows of digits alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.judgment import TokenClass
from surgeon_engine.api.messages.run import format_estimate
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.verdict import verdict_of
from surgeon_engine.calibration.fenced import load_windows
from surgeon_engine.calibration.own_samples import Author, own_samples, own_text
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.judging.figures import Compared, judge_classes, judge_texts
from surgeon_engine.judging.measuring import Yardstick, measure_file, measure_original
from surgeon_engine.model.head import head_weight
from surgeon_engine.model.layers import blocks_path
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.runtime.run_context import RunContext

_GROUP = 32  # weights with a common scale
_STEPS = 8  # bisections to find noise of the same KL
_NOISE = 0.5  # noise in the rows of digits, relative to the head's spread
CONTEXT = RunContext("judging", lambda _: None)


def main(arguments: list[str] | None = None) -> int:
    """Print both tables; return 0."""
    parser = argparse.ArgumentParser(description="Judge damaged copies of a model.")
    parser.add_argument("model", nargs="?", default=DEMO)
    parser.add_argument("--windows", type=int, default=16, help="of each text")
    options = parser.parse_args(arguments)
    loaded = load_model(ModelConfig(source=options.model))
    texts = texts_of(loaded, options.windows)
    yardstick = measure_original(loaded, texts, CONTEXT, quick=True)
    print("| file | KL | same | overlap | perplexity ratio | verdict |")
    print("|---|---|---|---|---|---|")
    for name, damage in _damages(loaded).items():
        with damaged(loaded, damage):
            print(_row(name, loaded, yardstick), flush=True)
    print("\n| noise in the head | KL, all tokens | KL, numbers | KL, others |")
    print("|---|---|---|---|")
    digits = torch.tensor(_digits(loaded))
    with damaged(loaded, lambda: _add_noise(loaded, digits, _NOISE)):
        found = compared(loaded, yardstick)
    aim = judge_texts(found)[0].fidelity.divergence.value
    _print_classes("rows of digits", found)
    everything = torch.arange(len(head_weight(loaded.model)))
    low, high = 0.0, _NOISE
    for _ in range(_STEPS):
        middle = (low + high) / 2
        with damaged(loaded, lambda: _add_noise(loaded, everything, middle)):  # noqa: B023
            found = compared(loaded, yardstick)
        nats = judge_texts(found)[0].fidelity.divergence.value
        low, high = (middle, high) if nats < aim else (low, middle)
    _print_classes("all rows", found)
    return 0


def texts_of(loaded: LoadedModel, count: int) -> list[JudgingText]:
    """Return the built-in text and one that the model writes."""
    config = CalibrationConfig(windows=8, validation_windows=count)
    windows = load_windows(config, loaded).validation
    author = Author(
        loaded.files, loaded.model.dtype, loaded.model.config, loaded.tokenizer
    )
    own = own_text(author, count, windows.shape[1], seed=1)
    written = own_samples(loaded.model, own, lambda: None)
    return [JudgingText("builtin", windows), JudgingText(OWN_TEXT, written)]


def _damages(loaded: LoadedModel) -> dict[str, Callable[[], None]]:
    def rounded(bits: int) -> Callable[[], None]:
        return lambda: _round(loaded, bits)

    return {
        "the original": lambda: None,
        "bfloat16": lambda: _to_bfloat16(loaded),
        "4 bits": rounded(4),
        "3 bits": rounded(3),
        "2 bits": rounded(2),
        "blocks in another order": lambda: _shuffle(loaded),
    }


@contextmanager
def damaged(loaded: LoadedModel, damage: Callable[[], None]) -> Iterator[None]:
    """Damage a model during the block."""
    state = {name: x.clone() for name, x in loaded.model.state_dict().items()}
    path, _, name = blocks_path(loaded.model).rpartition(".")
    parent = loaded.model.get_submodule(path)
    blocks = getattr(parent, name)
    with torch.no_grad():
        damage()
    yield
    setattr(parent, name, blocks)
    loaded.model.load_state_dict(state)


def _to_bfloat16(loaded: LoadedModel) -> None:
    for parameter in loaded.model.parameters():
        parameter.copy_(parameter.bfloat16())


def _round(loaded: LoadedModel, bits: int) -> None:
    for layer in loaded.layers:
        weight = layer.module.weight
        groups = weight.reshape(-1, _GROUP)
        low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        step = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
        rounded = ((groups - low) / step).round() * step + low
        weight.copy_(rounded.view_as(weight))


def _shuffle(loaded: LoadedModel) -> None:
    path, _, name = blocks_path(loaded.model).rpartition(".")
    parent = loaded.model.get_submodule(path)
    blocks = list(getattr(parent, name))
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(0))
    setattr(parent, name, nn.ModuleList(blocks[i] for i in order))


def _digits(loaded: LoadedModel) -> list[int]:
    assert loaded.tokenizer is not None
    size = len(head_weight(loaded.model))
    texts = (loaded.tokenizer.decode([x]) for x in range(size))
    return [x for x, text in enumerate(texts) if any(y.isdigit() for y in text)]


def _add_noise(loaded: LoadedModel, rows: Tensor, scale: float) -> None:
    weight = head_weight(loaded.model)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn((len(rows), weight.shape[1]), generator=draw)
    weight[rows] += scale * weight.std() * noise


def compared(loaded: LoadedModel, yardstick: Yardstick) -> tuple[Compared, ...]:
    """Return the figures of a model as it is now."""
    return measure_file(loaded.model, yardstick, CONTEXT)[0]


def _row(name: str, loaded: LoadedModel, yardstick: Yardstick) -> str:
    texts = judge_texts(compared(loaded, yardstick))
    fidelity, baseline = [x.fidelity for x in texts], [x.baseline for x in texts]
    cells = [
        [f"{x.divergence.value:.3f}" for x in fidelity],
        [f"{100 * x.agreement.value:.0f} %" for x in fidelity],
        [f"{100 * x.overlap.value:.0f} %" for x in fidelity if x.overlap],
        [
            f"{x.perplexity.value / y.perplexity.value:.2f}"
            for x, y in zip(fidelity, baseline, strict=True)
        ],
    ]
    figures = " | ".join(", ".join(each) for each in cells)
    return f"| {name} | {figures} | {verdict_of(fidelity, baseline)} |"


def _print_classes(name: str, texts: tuple[Compared, ...]) -> None:
    kinds = {each.kind: each.figures.divergence for each in judge_classes(texts)}
    whole = judge_texts(texts)[0].fidelity.divergence
    shown = (whole, kinds[TokenClass.NUMBERS], kinds[TokenClass.OTHERS])
    cells = " | ".join(format_estimate(x, "{:.3f}".format) for x in shown)
    print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
