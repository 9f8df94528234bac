"""Remove experts of small mixtures, and their neurons, and tabulate the damage.

    python benchmarks/mixtures.py FOLDER --other wikitext.txt --out results/mixtures

The first call trains the models in FOLDER (`mixture_models.py`; minutes each). Writes
OUT.jsonl, one line per run, and from it OUT.md. Repeating the command continues an
interrupted table.

Each run removes a share of the weights of experts in one shot, as an ordinary run does,
and with `--recover` refits and distills. It is calibrated on documentation. The texts
that judge are documentation that is held out, source code that is held out (the models
were trained on both kinds), and texts of kinds that the models do not know (`--other`).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from typing_extensions import override

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.mixture_models import train, write_texts
from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import (
    Method,
    PruningConfig,
    Structure,
    Widths,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.curvature.measured import RoutedOutputs
from surgeon_engine.model.layers import ExpertsLayer, prunable_layers
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.routing import RoutingMethod
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.recover import recover
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.kept import Kept
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.shot import evaluate_original, evaluation, run_shot
from surgeon_engine.shots.steps import ShotPlan

SHARES = (0.25, 0.5)
_CODE_SHARE = 0.5  # share of the calibration windows, if code is among them
_ROUNDING = 1e-6  # so that a share is no weight short

logger = logging.getLogger("mixtures")


@dataclass(frozen=True, slots=True)
class Criterion:
    """A row of the table: how the experts to remove are chosen."""

    name: str
    method: Method
    widths: Widths = Widths.SAME
    structure: Structure = Structure.EXPERTS
    is_random: bool = False
    with_code: bool = False  # whether code calibrates, too
    recovers: bool = True  # with `--recover`


CRITERIA = (
    Criterion("gates", Method.FIRST_ORDER, Widths.FREE),
    Criterion("gates, equal blocks", Method.FIRST_ORDER),
    Criterion(
        "gates, with neurons",
        Method.FIRST_ORDER,
        Widths.FREE,
        Structure.EXPERTS_AND_NEURONS,
    ),
    Criterion(
        "gates, with neurons, equal blocks",
        Method.FIRST_ORDER,
        structure=Structure.EXPERTS_AND_NEURONS,
    ),
    Criterion("REAP, equal blocks", Method.REAP),
    Criterion("routing frequency, equal blocks", Method.ROUTING_FREQUENCY),
    Criterion("random, equal blocks", Method.ROUTING_FREQUENCY, is_random=True),
    Criterion("REAP", Method.REAP, Widths.FREE, recovers=False),
    Criterion(
        "gates, calibrated on both",
        Method.FIRST_ORDER,
        Widths.FREE,
        with_code=True,
        recovers=False,
    ),
    Criterion(
        "REAP, equal blocks, calibrated on both",
        Method.REAP,
        with_code=True,
        recovers=False,
    ),
)


class Line(msgspec.Struct, frozen=True):
    """A run: the fidelity on each text before and after recovery."""

    model: str
    share: float
    seed: int
    criterion: str
    removed: float  # share of the weights of experts
    unused: int  # experts that no token of the calibration text chose
    original: tuple[Fidelity, ...]
    before: tuple[Fidelity, ...]
    after: tuple[Fidelity, ...]  # empty: it was not recovered
    seconds: float

    @property
    def key(self) -> tuple[str, float, int, str]:
        """The settings that are not measured twice."""
        return self.model, self.share, self.seed, self.criterion


class _Random(RoutingMethod):
    """Random costs."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    @override
    def expert_costs(self, outputs: RoutedOutputs) -> Tensor:
        size = len(outputs.routed)
        return torch.rand(size, generator=self._generator, dtype=torch.float64)


def main() -> int:
    """Train, measure and tabulate."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = _options()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    fence._is_direct = True  # the files are this script's own
    write_texts(folder)
    models = [f"{x}-{y}" for y, x in product(options.training, options.shapes)]
    for shape, seed in product(options.shapes, options.training):
        train(shape, seed, folder / f"{shape}-{seed}")
    file = options.out.with_suffix(".jsonl")
    lines = _read(file)
    done = {line.key for line in lines if line.after or not options.recover}
    kept = Kept()
    for seed, model, share in product(options.seeds, models, SHARES):
        for criterion in CRITERIA:
            is_left_out = options.recover and not criterion.recovers
            if is_left_out or (model, share, seed, criterion.name) in done:
                continue
            with _method(criterion, seed):
                config = _config(options, model, share, seed, criterion)
                line = _measure(config, (model, share, seed, criterion.name), kept)
            with file.open("ab") as output:
                output.write(msgspec.json.encode(line) + b"\n")
            lines.append(line)
            options.out.with_suffix(".md").write_text(table(lines), encoding="utf-8")
    print(table(lines))
    return 0


def _measure(config: RunConfig, key: tuple[str, float, int, str], kept: Kept) -> Line:
    context = RunContext("", lambda _: None, kept)
    start = context.clock()
    state = prepare(config, context)
    original = evaluate_original(state, context)
    shot = run_shot(state, ShotPlan(1, 1.0, None), context)
    assert shot.evaluation is not None
    after = _recovered(state, context)
    experts = [layer for layer in shot.layers if layer.routing is not None]
    removed = sum(layer.removed for layer in experts)
    line = Line(
        *key,
        removed=removed / sum(layer.weights for layer in experts),
        unused=sum(x.routing.unused for x in experts if x.routing),
        original=original.fidelity,
        before=shot.evaluation.fidelity,
        after=after,
        seconds=context.clock() - start,
    )
    kl = [
        " ".join(f"{text.divergence.value:.4f}" for text in texts)
        for texts in (line.before, line.after)
    ]
    logger.info("%s: KL %s, recovered %s", key, *kl)
    return line


def _recovered(state: PruningState, context: RunContext) -> tuple[Fidelity, ...]:
    """Return the fidelity after recovery; empty if there is none."""
    if state.config.recovery.level is Recovery.OFF:
        return ()
    compact_state(state)
    before = state.take_snapshot()
    found = recover(state, before, lambda: evaluation(state, context), context)
    return (found.evaluation if found else evaluation(state, context)).fidelity


def _config(
    options: argparse.Namespace,
    model: str,
    share: float,
    seed: int,
    criterion: Criterion,
) -> RunConfig:
    folder: Path = options.folder
    code = MoreText(str(folder / "code.txt"), _CODE_SHARE)
    others = (str(folder / "code_held_out.txt"), *map(str, options.other))
    return RunConfig(
        ModelConfig(str(folder / model)),
        CalibrationConfig(seed=seed, more_texts=(code,) if criterion.with_code else ()),
        PruningConfig(
            criterion.structure,
            widths=criterion.widths,
            method=criterion.method,
            sparsity=share * _share_of_experts(folder / model) + _ROUNDING,
        ),
        # Its own samples would calibrate the gates alone.
        recovery=RecoveryConfig(
            Recovery.DISTILLATION if options.recover else Recovery.OFF,
            general_windows=0,
        ),
        evaluation=EvaluationConfig(texts=others),
    )


def _share_of_experts(folder: Path) -> float:
    """Return the share of the prunable weights that are experts."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    layers = prunable_layers(model)
    experts = sum(x.weights for x in layers if isinstance(x, ExpertsLayer))
    return experts / sum(x.weights for x in layers)


@contextmanager
def _method(criterion: Criterion, seed: int) -> Iterator[None]:
    """Let a random criterion take the place of its method."""
    usual = METHODS[criterion.method]
    if criterion.is_random:
        METHODS[criterion.method] = _Random(seed)
    yield
    METHODS[criterion.method] = usual


def table(lines: Iterable[Line]) -> str:
    """Return the tables: for each model, before and after recovery."""
    lines = sorted(lines, key=lambda line: line.model)
    parts = ["# Experts of small mixtures", __doc__.split("\n\n")[-1].strip()]
    for model in dict.fromkeys(line.model for line in lines):
        own = [line for line in lines if line.model == model]
        names = [Path(text.text).stem for text in own[0].before]
        names[:2] = "documentation", "code"
        perplexities = ", ".join(
            f"{text.perplexity.value:.1f} on {name}"
            for name, text in zip(names, own[0].original, strict=True)
        )
        parts += [f"## {model}", f"Perplexity of the original: {perplexities}."]
        for title in ("before", "after"):
            parts += [f"KL to the original {title} recovery:"]
            parts += [_grid(own, names, title)]
    return "\n\n".join(parts) + "\n"


def _grid(lines: list[Line], names: list[str], title: str) -> str:
    columns = list(product(SHARES, range(len(names))))
    head = [f"{100 * share:g} %, {names[text]}" for share, text in columns]
    rows = [["experts chosen by", *head], ["---"] * (1 + len(head))]
    for criterion in CRITERIA:
        cells = []
        for share, text in columns:
            found = {
                line.seed: getattr(line, title)[text].divergence.value
                for line in lines
                if (line.share, line.criterion) == (share, criterion.name)
                and getattr(line, title)
            }
            cells.append(_summary([*found.values()]))
        rows.append([criterion.name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _summary(values: list[float]) -> str:
    if not values:
        return "-"
    text = f"{statistics.mean(values):.4f}"
    return text if len(values) == 1 else f"{text} ± {max(values) - min(values):.4f}"


def _read(file: Path) -> list[Line]:
    if not file.exists():
        return []
    return [msgspec.json.decode(x, type=Line) for x in file.read_bytes().splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recover", action="store_true", help="distill, too")
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", nargs="*", default=["qwen3", "olmoe"])
    parser.add_argument("--training", type=int, nargs="*", default=[1], help="seeds")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
