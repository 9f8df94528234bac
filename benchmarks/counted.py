"""Count the operations of a run on a GPU at full size, without a GPU and numbers.

    python benchmarks/counted.py [--models Llama-2-7B ...] [--structures ...]
        [--places resident streaming files] [--out build/counted.json]

The engine runs on shapes (`tests/helpers/abstract_gpu.py`): one shot with the default
method and recovery, on 128 windows of 2,048 tokens in bfloat16, a window at a time.
Each run is counted with two to four blocks, and 8 and 16 windows; counts are linear in
both, so that the counts of the whole model follow. Mixtures lose experts, and
are refitted; their blocks are in mapped files, as if they were larger than memory.

Nothing is measured: seconds are counts at the rates of an RTX 4090, one part after
another. Its peaks are those that waredb.com/processor/nvidia-geforce-rtx-4090 lists;
products and memory are taken to reach 70 % of them. The products of experts take the
time of both, since each expert reads its weights for a few tokens of a window. A card
has 24 GB, and 12 GB where blocks are offloaded to memory. A store is on the card as far
as the engine puts it there, and beside files on a host of 64 GB likewise; the rest is
in files. The system reads the files of the next block while a block computes.

The limit of a run is its products alone, in bfloat16 or TF32: forward, backward to the
activations, and the products of factors and sums. Where blocks are offloaded, each
stage that needs weights also reads all of the original's once, from where they are.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GptOssConfig,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.constants import DEVICE_SHARE, HOST_SHARE
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
    "Qwen3-30B-A3B": (
        Qwen3MoeConfig,
        48,
        {
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "vocab_size": 151936,
            "tie_word_embeddings": False,
        },
    ),
    "gpt-oss-20b": (
        GptOssConfig,
        24,
        {
            "hidden_size": 2880,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "intermediate_size": 2880,
            "sliding_window": 128,
            "vocab_size": 201088,
        },
    ),
}
MIXTURES = ("Qwen3-30B-A3B", "gpt-oss-20b")
STRUCTURES = {
    "heads, neurons": Structure.HEADS_AND_NEURONS,
    "rows, columns": Structure.ROWS_AND_COLUMNS,
    "experts": Structure.EXPERTS,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights are, and the machine of a run."""

    offload: Offload
    card: float  # bytes
    memory: float = math.inf  # host memory, bytes
    in_files: bool = False


PLACES = {
    "resident": Place(Offload.OFF, 24e9),
    "streaming": Place(Offload.ON, 12e9),
    "files": Place(Offload.ON, 24e9, 64e9, in_files=True),
}
SHARE = 0.7  # attained share of the peak rates
TERA = 1e12
PEAKS = {HALF: 165.2, TF32: 82.6, FLOAT32: 82.6, FLOAT64: 1.29}  # teraflop/s
MOVING = 1008e9  # bytes/s
# Bytes/s over PCIe 4.0 x16, of memory that is not pinned and of pinned memory, which
# stores and offloaded blocks have; of an NVMe disk; and a wait. All are estimates.
COPYING, PINNED, DISK, WAIT = 8e9, 22e9, 3e9, 20e-6
RECOVERY = {x.value for x in (Stage.REFERENCE, Stage.REFIT, Stage.DISTILLATION)}


def main() -> None:
    """Count, and print the tables."""
    torch.set_num_threads(1)
    options = _options()
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for model in options.models:
        for structure in options.structures:
            for place in options.places:
                is_mixture = model in MIXTURES
                if {structure == "experts", place == "files"} != {is_mixture}:
                    continue
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
    where = PLACES[place]
    runs: dict[tuple[int, int], CountedRun] = {}
    for some, windows in ((2, 8), (3, 8), (2, 16), (3, 16), (4, 8)):
        job = _job(structure, windows, where)
        config = _config(kind, some, sizes)
        runs[some, windows] = count(config, job, in_files=where.in_files)
        print(f"  {model}: {some} blocks, {windows} windows", file=sys.stderr)
    phases = extrapolated(runs, blocks, FULL_WINDOWS)
    job = _job(structure, FULL_WINDOWS, where)
    weights = 2 * summary_of(_config(kind, blocks, sizes), job).parameters
    return {
        name: _as_json(x, where, weights)
        for name, x in phases.items()
        if name not in ("", "load")
    }


def _job(structure: str, windows: int, where: Place) -> RunConfig:
    job = counted_job(STRUCTURES[structure], windows, where.offload)
    if structure != "experts":
        return job
    return replace(job, recovery=replace(job.recovery, level=Recovery.REFIT))


def _planned(model: str, structure: str, place: str) -> Footprint:
    """Return what the plan says, with all that a store holds on the host."""
    kind, blocks, sizes = MODELS[model]
    where = PLACES[place]
    job = _job(structure, FULL_WINDOWS, where)
    planned = Job.of(job, summary_of(_config(kind, blocks, sizes), job))
    return Footprint(replace(planned, free_on_host=where.memory))


def _config(
    kind: type[PretrainedConfig], blocks: int, sizes: Mapping[str, Any]
) -> PretrainedConfig:
    return kind(num_hidden_layers=blocks, max_position_embeddings=4096, **sizes)


def _as_json(found: Counts, where: Place, weights: float) -> dict[str, Any]:
    of_host = sum(n for (device, _), n in found.flops.items() if device == "host")
    by_format = {form: found.flops["GPU", form] for form in PEAKS}
    reads = found.copied["ahead"] + found.copied["files to GPU"] > 0
    return {
        "flops": by_format,
        "flops of the host": of_host,
        "copied": dict(found.copied),
        "waits": dict(found.waits),
        "moved": found.moved,
        "kernels": found.kernels,
        "peaks": dict(found.peaks) | _own_memory(found, where),
        "seconds": _seconds(by_format, found, where),
        "limit": _limit(by_format) + reads * weights / _reading(where),
    }


def _reading(where: Place) -> float:
    """Return the bytes/s at which offloaded blocks are read."""
    if where.offload is Offload.OFF:
        return math.inf
    return DISK if where.in_files else PINNED


def _of_store(found: Counts, where: Place) -> tuple[float, float]:
    """Return the bytes of a store on the card, and on the host."""
    peaks = found.peaks
    on_card = min(peaks["stored"], DEVICE_SHARE * (where.card - peaks["GPU"]))
    room = HOST_SHARE * (where.memory - peaks["host"])
    return on_card, min(peaks["stored"] - on_card, room)


def _own_memory(found: Counts, where: Place) -> dict[str, float]:
    """Return the bytes of the card and the host, with what a store takes there."""
    on_card, on_host = _of_store(found, where)
    return {
        "card": found.peaks["GPU"] + on_card,
        "memory": found.peaks["host"] + on_host,
    }


def _seconds(flops: Mapping[str, int], found: Counts, where: Place) -> float:
    computing = sum(n / (SHARE * PEAKS[form] * TERA) for form, n in flops.items())
    computing += found.moved / (SHARE * MOVING)
    copied = found.copied
    waiting = (copied["to GPU"] + copied["to host"]) / COPYING
    waiting += (copied["pinned to GPU"] + copied["pinned to host"]) / PINNED
    waiting += copied["files to GPU"] / COPYING + copied["files to host"] / DISK
    stored = copied["stored to GPU"] + copied["stored to host"]
    whole = max(1, found.peaks["stored"])
    on_card, on_host = _of_store(found, where)
    waiting += on_host / whole * stored / PINNED
    waiting += max(0.0, whole - 1 - on_card - on_host) / whole * stored / DISK
    waiting += WAIT * sum(found.waits.values())
    ahead = copied["ahead"] / PINNED, copied["files to GPU"] / DISK
    return max(computing, *ahead) + waiting


def _limit(flops: Mapping[str, int]) -> float:
    """Return the seconds of the products alone, in 16 bits or TF32."""
    others = sum(n for form, n in flops.items() if form != HALF)
    return (flops[HALF] / PEAKS[HALF] + others / PEAKS[TF32]) / (SHARE * TERA)


def _print_phases(name: str, phases: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"\n{name}\n")
    print(
        "| phase | GPU | host | stored | bf16 | TF32 | float32 | float64 | to GPU "
        "| to host | ahead | files | waits | time | limit |"
    )
    print("|---" * 15 + "|")
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
                    ("files to GPU", "files to host"),
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
        in_files = PLACES[name.split(" | ")[2]].in_files
        of_host = "memory" if in_files else "host and stored"
        gpu = max(found["peaks"]["GPU"] for found in phases.values())
        host = max(found["peaks"][of_host] for found in phases.values())
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
