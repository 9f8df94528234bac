"""How much faster and smaller pruned checkpoints are than their original.

    python benchmarks/export_speed.py --original MODEL --pruned CHECKPOINT [...]

The ideal is what the weights alone allow. Each generated token reads all weights once,
so generation is at best as many times as fast as there are fewer of them: embeddings
are looked up and not counted, unless they are the head as well. A prompt multiplies
each of its tokens by the weights of the body, and the last one by those of the head.
Attention between tokens, norms and the rest come on top; where heads go attention gets
less too, so that a prompt may be read a little faster than ideal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    Ratio,
    speedups,
    summarize,
)
from surgeon_engine.measurement.benchmark_process import load, with_cache
from surgeon_engine.measurement.measure import measure
from surgeon_engine.runtime.versions import without_progress_bars

OPERATORS = 12  # of a profile that are shown
CACHED = 16  # tokens before the one whose generation is profiled
HEAD = (
    "| checkpoint | files | parameters | generation, tokens/s | times as fast | ideal "
    "| reached | prompt, tokens/s | times as fast | ideal | reached | memory to load "
    "| memory to run |"
)


@dataclass(frozen=True, slots=True)
class Work:
    """Weights that each token meets."""

    body: int
    head: int

    def of_prompt(self, tokens: int) -> float:
        """Multiplications per token of a prompt."""
        return self.body + self.head / tokens

    @property
    def of_token(self) -> int:
        """Weights read for a generated token."""
        return self.body + self.head


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or the profiles; 1 if something cannot be measured."""
    options = _parser().parse_args(arguments)
    without_progress_bars()
    try:
        settings = BenchmarkSettings(
            rounds=options.rounds,
            prompt_tokens=options.prompt,
            generated_tokens=options.generated,
            threads=options.threads,
            dtype=Dtype(options.dtype),
            device=Device.CPU,
        )
        if options.profile:
            for source in (options.original, *options.pruned):
                print(f"\n{label(source)}\n" + profiles(source, settings))
            return 0
        text = compared(options.original, options.pruned, settings)
    except EngineError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def compared(original: str, pruned: Sequence[str], settings: BenchmarkSettings) -> str:
    """The table in Markdown: each checkpoint takes turns with the original."""
    full = _work(original, settings)
    rows, sentences = [], []
    measured: Measured | None = None
    for source in pruned:
        print(f"{label(source)} against {label(original)} ...", file=sys.stderr)
        measured = measure((original, source), settings, lambda: None)
        rows.append(_row(source, measured, (full, _work(source, settings))))
        sentences.append(f"- {label(source)}: {summarize(measured)}")
    assert measured is not None
    columns = HEAD.count("|") - 1
    return "\n".join(
        (
            HEAD,
            "|---" + "|--:" * (columns - 1) + "|",
            _original_row(original, measured),
            *rows,
            "",
            *sentences,
            "",
            _notes(measured),
        )
    )


def work_of(model: PreTrainedModel) -> Work:
    """The weights that each token meets in `model`."""
    head = model.get_output_embeddings().weight
    looked_up = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight is not head
    }
    every = sum(parameter.numel() for parameter in model.parameters())
    return Work(every - sum(looked_up.values()) - head.numel(), head.numel())


@torch.no_grad()
def profiles(source: str, settings: BenchmarkSettings) -> str:
    """The operators that take longest, in reading a prompt and in generating a token.

    Raises:
        EngineError: the model cannot be read.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    model = load(ModelConfig(source, settings.dtype, settings.device))
    vocabulary = model.config.get_text_config().vocab_size
    prompt = torch.randint(vocabulary, (1, settings.prompt_tokens))
    cache = with_cache(model)
    for size in (settings.prompt_tokens, CACHED, 1):  # warm-up
        model(prompt[:, :size], use_cache=True, **with_cache(model))
    with profile(activities=[ProfilerActivity.CPU]) as of_prompt:
        model(prompt, use_cache=True, **with_cache(model))
    model(prompt[:, :CACHED], use_cache=True, **cache)
    with profile(activities=[ProfilerActivity.CPU]) as of_token:
        model(prompt[:, :1], use_cache=True, **cache)
    return "\n".join(
        f"{title}\n"
        + taken.key_averages().table(
            sort_by="self_cpu_time_total",
            row_limit=OPERATORS,
            max_name_column_width=40,
        )
        for title, taken in (
            (f"A prompt of {settings.prompt_tokens} tokens", of_prompt),
            ("One generated token", of_token),
        )
    )


def label(source: str) -> str:
    """A short name; exports are often called alike, so their run's stands before it."""
    path = Path(source)
    return "/".join(path.parts[-2:]) if path.is_dir() else path.stem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/export_speed.py",
        description="Compare the speed and size of checkpoints with their original.",
    )
    add = parser.add_argument
    add("--original", required=True, help='a folder, a .gguf file, or "demo"')
    add("--pruned", required=True, nargs="+", help="folders of checkpoints")
    add("--rounds", type=int, default=BenchmarkSettings().rounds)
    add("--prompt", type=int, default=BenchmarkSettings().prompt_tokens, help="tokens")
    add(
        "--generated",
        type=int,
        default=BenchmarkSettings().generated_tokens,
        help="tokens",
    )
    add("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    add("--dtype", choices=list(Dtype), default=Dtype.FLOAT32)
    add("--out", type=Path, help="a file for the table")
    add(
        "--profile",
        action="store_true",
        help="instead of the table, say where the time goes",
    )
    return parser


def _work(source: str, settings: BenchmarkSettings) -> Work:
    return work_of(load(ModelConfig(source, settings.dtype, settings.device)))


def _row(source: str, measured: Measured, work: tuple[Work, Work]) -> str:
    full, left = work
    found, tokens = speedups(measured), measured.prompt_tokens
    return _figures(
        source,
        measured.models[1],
        _against(found.generation, full.of_token / left.of_token),
        _against(found.prompt, full.of_prompt(tokens) / left.of_prompt(tokens)),
    )


def _original_row(source: str, measured: Measured) -> str:
    return _figures(source, measured.models[0], ("", "", ""), ("", "", ""))


def _figures(
    source: str,
    model: ModelMeasured,
    generation: tuple[str, str, str],
    prompt: tuple[str, str, str],
) -> str:
    """The line of one model; the others are it against the original."""
    return _line(
        label(source),
        _megabytes(model.file_bytes),
        f"{model.parameters:,}",
        f"{model.generation.median:.1f}",
        *generation,
        f"{model.prompt.median:.0f}",
        *prompt,
        _megabytes(model.loaded_bytes),
        _megabytes(model.peak_bytes),
    )


def _against(ratio: Ratio, ideal: float) -> tuple[str, str, str]:
    return (
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        f"{ideal:.2f}",
        f"{ratio.median / ideal:.0%}",
    )


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _notes(measured: Measured) -> str:
    return (
        f"{measured.device}, {measured.dtype}; prompts of {measured.prompt_tokens} "
        f"tokens, {measured.generated_tokens} tokens generated one by one; medians of "
        f"{measured.rounds} rounds in which both take turns, in brackets the spread "
        "(without the lowest and the highest round, from 7 rounds on). The figures of "
        "the original are those beside the last checkpoint. Ideal: by the weights "
        "alone; reached: measured by ideal."
    )


if __name__ == "__main__":
    sys.exit(main())
