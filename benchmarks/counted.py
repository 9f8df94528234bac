"""Count the operations of a run on a GPU at full size, without a GPU and numbers.

    python benchmarks/counted.py [--models Llama-2-7B ...] [--structures ...]
        [--places resident streaming] [--out build/counted.json]

The engine runs on shapes (`tests/helpers/abstract_gpu.py`): one shot with the default
method and recovery, on 128 windows of 2,048 tokens in bfloat16, a window at a time.
Each run is counted with two to four blocks, and 8 and 16 windows; counts are linear in
both, so that the counts of the whole model follow.

Nothing is measured: seconds are counts at the rates of an RTX 4090, one part after
another. Its peaks are those that waredb.com/processor/nvidia-geforce-rtx-4090 lists;
products and memory are taken to reach 70 % of them. A card has 24 GB, and 12 GB where
blocks are offloaded: a store is on it as far as the engine puts it there. The limit of
a run is its products alone, in bfloat16 or TF32: forward, backward to the activations,
and the products of factors and sums.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, OPTConfig, PretrainedConfig, Qwen2Config

sys.path.insert(0, str(Path(__file__).parents[1]))

from surgeon_engine.api.config.pruning import HeadsAndNeurons, RowsAndColumns
from surgeon_engine.api.config.run import Offload
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.constants import DEVICE_SHARE
from surgeon_engine.planning.estimate import Footprint
from surgeon_engine.planning.job import Job
from tests.helpers.abstract_gpu import FLOAT32, FLOAT64, HALF, TF32, Counts
from tests.helpers.counted_run import (
    FULL_WINDOWS,
    CountedRun,
    count,
    counted_job,
    extrapolated,
    summary_of,
)

MODELS = {
    "Llama-2-7B": (
        LlamaConfig,
        32,
        {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32000,
        },
    ),
    "Llama-3.1-8B": (
        LlamaConfig,
        32,
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
    ),
    "Qwen2.5-0.5B": (
        Qwen2Config,
        24,
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    "OPT-1.3B": (
        OPTConfig,
        24,
        {
            "hidden_size": 2048,
            "word_embed_proj_dim": 2048,
            "ffn_dim": 8192,
            "num_attention_heads": 32,
            "vocab_size": 50272,
        },
    ),
}
STRUCTURES = {"heads, neurons": HeadsAndNeurons, "rows, columns": RowsAndColumns}
PLACES = {"resident": Offload.OFF, "streaming": Offload.ON}
CARDS = {"resident": 24e9, "streaming": 12e9}  # bytes
SHARE = 0.7  # of the peak rates
TERA = 1e12
PEAKS = {HALF: 165.2, TF32: 82.6, FLOAT32: 82.6, FLOAT64: 1.29}  # teraflop/s
MOVING = 1008e9  # bytes/s
# Bytes/s over PCIe 4.0 x16, of memory that is not pinned and of pinned memory, which
# stores and offloaded blocks have. A wait is an estimate, too.
COPYING, PINNED, WAIT = 8e9, 22e9, 20e-6
RECOVERY = {x.value for x in (Stage.REFERENCE, Stage.REFIT, Stage.DISTILLATION)}


def main() -> None:
    """Count, and print the tables."""
    torch.set_num_threads(1)
    options = _options()
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for model in options.models:
        for structure in options.structures:
            for place in options.places:
                name = f"{model} | {structure} | {place}"
                if name not in rows:
                    rows[name] = _counted(model, structure, place)
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_text(json.dumps(rows, indent=1))
                _print_phases(name, rows[name])
    _print_totals(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, values in (
        ("models", MODELS),
        ("structures", STRUCTURES),
        ("places", PLACES),
    ):
        parser.add_argument(
            f"--{option}", nargs="+", choices=list(values), default=list(values)
        )
    parser.add_argument("--out", type=Path, default=Path("build/counted.json"))
    return parser.parse_args()


def _counted(model: str, structure: str, place: str) -> dict[str, Any]:
    """Return the counts of a run of the whole model, by phase."""
    kind, blocks, sizes = MODELS[model]
    offload = PLACES[place]
    runs: dict[tuple[int, int], CountedRun] = {}
    for some, windows in ((2, 8), (3, 8), (2, 16), (3, 16), (4, 8)):
        job = counted_job(STRUCTURES[structure](), windows, offload)
        runs[some, windows] = count(_config(kind, some, sizes), job)
        print(f"  {model}: {some} blocks, {windows} windows", file=sys.stderr)
    phases = extrapolated(runs, blocks, FULL_WINDOWS)
    return {name: _as_json(found, CARDS[place]) for name, found in phases.items()}


def _planned(model: str, structure: str, place: str) -> Footprint:
    """Return what the plan says, with all that a store holds on the host."""
    kind, blocks, sizes = MODELS[model]
    job = counted_job(STRUCTURES[structure](), FULL_WINDOWS, PLACES[place])
    return Footprint(Job.of(job, summary_of(_config(kind, blocks, sizes), job)))


def _config(
    kind: type[PretrainedConfig], blocks: int, sizes: Mapping[str, Any]
) -> PretrainedConfig:
    config = kind(num_hidden_layers=blocks, max_position_embeddings=4096, **sizes)
    config._attn_implementation = "sdpa"
    return config


def _as_json(found: Counts, card: float) -> dict[str, Any]:
    of_host = sum(n for (device, _), n in found.flops.items() if device == "host")
    by_format = {form: found.flops["GPU", form] for form in PEAKS}
    return {
        "flops": by_format,
        "flops of the host": of_host,
        "copied": dict(found.copied),
        "waits": dict(found.waits),
        "moved": found.moved,
        "kernels": found.kernels,
        "peaks": dict(found.peaks),
        "seconds": _seconds(by_format, found, card),
        "limit": _limit(by_format),
    }


def _seconds(flops: Mapping[str, int], found: Counts, card: float) -> float:
    computing = sum(n / (SHARE * PEAKS[form] * TERA) for form, n in flops.items())
    computing += found.moved / (SHARE * MOVING)
    copied, peaks = found.copied, found.peaks
    waiting = (copied["to GPU"] + copied["to host"]) / COPYING
    waiting += (copied["pinned to GPU"] + copied["pinned to host"]) / PINNED
    room = DEVICE_SHARE * (card - peaks["GPU"])
    on_host = max(0.0, 1 - room / max(1, peaks["stored"]))  # share of the store
    waiting += on_host * (copied["stored to GPU"] + copied["stored to host"]) / PINNED
    waiting += WAIT * sum(found.waits.values())
    return max(computing, copied["ahead"] / PINNED) + waiting


def _limit(flops: Mapping[str, int]) -> float:
    """Return the seconds of the products alone, in 16 bits or TF32."""
    others = sum(n for form, n in flops.items() if form != HALF)
    return (flops[HALF] / PEAKS[HALF] + others / PEAKS[TF32]) / (SHARE * TERA)


def _print_phases(name: str, phases: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"\n{name}\n")
    print(
        "| phase | GPU | host | stored | bf16 | TF32 | float32 | float64 | to GPU "
        "| to host | ahead | waits | time | limit |"
    )
    print("|---" * 14 + "|")
    for phase, found in phases.items():
        peaks, copied = found["peaks"], found["copied"]
        cells = [
            phase,
            *(f"{peaks[place] / 1e9:.1f} GB" for place in ("GPU", "host", "stored")),
            *(f"{found['flops'][form] / 1e15:.2f} P" for form in PEAKS),
            *(
                f"{sum(copied.get(way, 0) for way in ways) / 1e9:.0f} GB"
                for ways in (
                    ("to GPU", "stored to GPU", "pinned to GPU"),
                    ("to host", "stored to host", "pinned to host"),
                    ("ahead",),
                )
            ),
            f"{sum(found['waits'].values()):,}",
            f"{found['seconds']:.0f} s",
            f"{found['limit']:.0f} s",
        ]
        print(f"| {' | '.join(cells)} |")


def _print_totals(rows: Mapping[str, Mapping[str, Any]]) -> None:
    print(
        "\n| model | structure | place | GPU, counted / planned | memory, counted / "
        "planned | shot | times its limit | recovery | times its limit |"
    )
    print("|---" * 9 + "|")
    for name, phases in rows.items():
        planned = _planned(*name.split(" | "))
        gpu = max(found["peaks"]["GPU"] for found in phases.values())
        host = max(found["peaks"]["host and stored"] for found in phases.values())
        cells = [
            f"{gpu / 1e9:.1f} / {planned.on_device / 1e9:.1f} GB",
            f"{host / 1e9:.0f} / {planned.on_host / 1e9:.0f} GB",
        ]
        for is_recovery in (False, True):
            chosen = [x for n, x in phases.items() if (n in RECOVERY) is is_recovery]
            seconds, limit = (
                sum(x[what] for x in chosen) for what in ("seconds", "limit")
            )
            cells += [f"{seconds / 60:.1f} min", f"{seconds / limit:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
