"""Read thousands of mutated jobs; each is valid or refused with an error message.

python benchmarks/fuzz_jobs.py --jobs 2000
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from typing import Any

import msgspec
import tomli_w

from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.base.errors import ConfigError

_VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**300, 10**4000, True, False),
    *(0.0, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x" * 1_000_000, "\0", "\x1b[31m", "\u202e", "ä" * 300, "/d" * 3000),
    *("../" * 2000, "hf://", "hf://a/b@../..", "hf://datasets/x", "a.npy", "~", "/"),
    *("builtin", "demo", "n_m", "2:4", "0:0", "-1:4", "99:1", "automatic", "off"),
    *([], [[]], [1, "a"], ["*"] * 5000, ["a=0.5"], ["=", "a=b", "[="], {}, {"a": 1}),
    *({"kind": "x"}, {"kind": []}, {"kind": 1}, {"kind": "heads"}, [{"text": "a"}]),
)
_LINES = (
    "[a", "x =", "[[pruning]]", "a.b.c = 1", "\ufeff", "x = 1979-05-27", "\0",
    "x = 0x" + "f" * 5000, "x = " + "9" * 5000, "'", '"""', "[model]",
    "x = " + "[" * 5000,
)  # fmt: skip


def main() -> None:
    """Count the jobs that were read and refused; any other error ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    configs = [RunConfig(), *(each.applied_to(RunConfig()) for each in presets())]
    outcomes: Counter[str] = Counter()
    longest = 0.0
    for _ in range(options.jobs):
        text = _mutated(draw, draw.choice(configs))
        start = time.monotonic()
        outcome = _outcome(text)
        longest = max(longest, time.monotonic() - start)
        outcomes[outcome] += 1
    print(dict(outcomes), f"longest {longest:.2f} s")


def _outcome(text: str) -> str:
    try:
        config = config_from_toml(text)
        config.check_consistency()
        if config_from_toml(config_to_toml(config)) != config:
            return "DIFFERENT"
    except ConfigError as error:
        return "refused" if len(error.message) < 10_000 else "LONG MESSAGE"
    return "read"


def _mutated(draw: random.Random, config: RunConfig) -> str:
    job = msgspec.toml.decode(config_to_toml(config))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        part = draw.choice([*job, "other"])
        held = job.get(part)
        if draw.random() < 0.1 or not isinstance(held, dict):
            job[part] = draw.choice(_VALUES)
            continue
        name = draw.choice([*held, "kind", "structure", "pattern", "kept", "other"])
        held[name] = draw.choice(_VALUES)
    try:
        text = tomli_w.dumps(job)
    except (TypeError, ValueError):  # what TOML cannot hold
        text = config_to_toml(config)
    if draw.random() < 0.1:
        lines = text.splitlines()
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(_LINES))
        text = "\n".join(lines)
    if draw.random() < 0.1:
        at = draw.randrange(len(text))
        text = text[:at] + chr(draw.randrange(1, 0xD800)) + text[at + 1 :]
    return text


if __name__ == "__main__":
    main()
