"""Compare the speed and size of pruned checkpoints with their original.

    python benchmarks/export_speed.py --original MODEL --pruned CHECKPOINT [...]

The ideal speedup follows from the number of weights alone. Generating a token reads all
weights once, so the ideal is the ratio of the weights of both models. Embeddings are
only looked up and do not count, unless the head shares them. For a prompt, each token
is multiplied by the weights of the body, and the last one also by the weights of the
head. Attention between tokens, norms and other work are not included. Removing heads
also makes attention cheaper, so a prompt may be read slightly faster than ideal.
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
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    Ratio,
    speedups,
    summarize,
)
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.measurement.benchmark_process import load
from surgeon_engine.measurement.measure import measure
from surgeon_engine.model.decoding import with_cache

OPERATORS = 12  # shown of a profile
CACHED = 16  # tokens before the one whose generation is profiled
HEAD = (
    "| checkpoint | files | parameters | generation, tokens/s | times as fast | ideal "
    "| reached | prompt, tokens/s | times as fast | ideal | reached | memory to load "
    "| memory to run |"
)


@dataclass(frozen=True, slots=True)
class Work:
    """Number of weights in the body and in the head of a model."""

    body: int
    head: int

    def per_prompt_token(self, tokens: int) -> float:
        """Return the multiplications per token of a prompt with `tokens` tokens."""
        return self.body + self.head / tokens

    @property
    def per_generated_token(self) -> int:
        """Number of weights read for each generated token."""
        return self.body + self.head


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table or the profiles; return 1 if a model cannot be measured."""
    options = _parser().parse_args(arguments)
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
                print(f"\n{label(source)}\n" + profile_model(source, settings))
            return 0
        text = comparison_table(options.original, options.pruned, settings)
    except EngineError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def comparison_table(
    original: str, pruned: Sequence[str], settings: BenchmarkSettings
) -> str:
    """Measure each checkpoint in turns with the original; return a Markdown table."""
    full = _load_and_count(original, settings)
    rows, sentences = [], []
    measured: Measured | None = None
    for source in pruned:
        print(f"{label(source)} against {label(original)} ...", file=sys.stderr)
        measured = measure((original, source), settings, lambda: None)
        work = (full, _load_and_count(source, settings))
        rows.append(_pruned_row(source, measured, work))
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


def count_work(model: PreTrainedModel) -> Work:
    """Count the weights of `model` that take part in computing a token."""
    head = model.get_output_embeddings().weight
    looked_up = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight is not head
    }
    every = sum(parameter.numel() for parameter in model.parameters())
    return Work(every - sum(looked_up.values()) - head.numel(), head.numel())


@torch.no_grad()
def profile_model(source: str, settings: BenchmarkSettings) -> str:
    """Return the slowest operators of reading a prompt and of generating a token.

    Raises:
        EngineError: The model cannot be read.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    model = load(ModelConfig(source, settings.dtype, settings.device))
    vocabulary = model.config.get_text_config().vocab_size
    prompt = torch.randint(vocabulary, (1, settings.prompt_tokens))
    cache = with_cache(model)
    for size in (settings.prompt_tokens, CACHED, 1):  # warm-up
        model(prompt[:, :size], use_cache=True, **with_cache(model))
    with profile(activities=[ProfilerActivity.CPU]) as prompt_profile:
        model(prompt, use_cache=True, **with_cache(model))
    model(prompt[:, :CACHED], use_cache=True, **cache)
    with profile(activities=[ProfilerActivity.CPU]) as token_profile:
        model(prompt[:, :1], use_cache=True, **cache)
    return "\n".join(
        f"{title}\n"
        + result.key_averages().table(
            sort_by="self_cpu_time_total",
            row_limit=OPERATORS,
            max_name_column_width=40,
        )
        for title, result in (
            (f"A prompt of {settings.prompt_tokens} tokens", prompt_profile),
            ("One generated token", token_profile),
        )
    )


def label(source: str) -> str:
    """Return a short name; the name of a folder begins with its parent's name."""
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
    add("--threads", type=int, default=0, help="0: the default of torch")
    add("--dtype", choices=list(Dtype), default=Dtype.FLOAT32)
    add("--out", type=Path, help="file to write the table to")
    add(
        "--profile",
        action="store_true",
        help="print the slowest operators instead of the table",
    )
    return parser


def _load_and_count(source: str, settings: BenchmarkSettings) -> Work:
    return count_work(load(ModelConfig(source, settings.dtype, settings.device)))


def _pruned_row(source: str, measured: Measured, work: tuple[Work, Work]) -> str:
    full, remaining = work
    found, tokens = speedups(measured), measured.prompt_tokens
    prompt_ideal = full.per_prompt_token(tokens) / remaining.per_prompt_token(tokens)
    return _model_row(
        source,
        measured.models[1],
        _ratio_cells(
            found.generation, full.per_generated_token / remaining.per_generated_token
        ),
        _ratio_cells(found.prompt, prompt_ideal),
    )


def _original_row(source: str, measured: Measured) -> str:
    return _model_row(source, measured.models[0], ("", "", ""), ("", "", ""))


def _model_row(
    source: str,
    model: ModelMeasured,
    generation: tuple[str, str, str],
    prompt: tuple[str, str, str],
) -> str:
    """Return a row; `generation` and `prompt` are cells with ratios to the original."""
    return _table_row(
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


def _ratio_cells(ratio: Ratio, ideal: float) -> tuple[str, str, str]:
    return (
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        f"{ideal:.2f}",
        format_percent(ratio.median / ideal, 0),
    )


def _table_row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _notes(measured: Measured) -> str:
    return (
        f"{measured.device}, {measured.dtype}; prompts of {measured.prompt_tokens} "
        f"tokens, {measured.generated_tokens} tokens generated one by one; medians of "
        f"{measured.rounds} rounds in which both models take turns; the spread is in "
        "brackets (without the lowest and the highest round if there are 7 or more). "
        "The figures of the original were measured with the last checkpoint. Ideal: "
        "ratio of the weights; reached: measured ratio divided by the ideal one."
    )


if __name__ == "__main__":
    sys.exit(main())
