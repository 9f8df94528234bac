"""Prune a tiny instance of every language model of the installed transformers.

    python benchmarks/coverage.py [--only NAME] [--sizes usual] [--folder FOLDER]

For each class that transformers can build with small sizes: Surgeon describes the files
and the loaded model, which have to agree, compares the model without the columns of a
group with the model without its rows, runs a job (30 % in the best structure, with a
refit), and exports each format. The exports are loaded again by transformers alone.
Where gradients cannot be measured, the job has the method that the error names,
magnitude, and no refit. Outcomes:

    heads and neurons, neurons, heads    pruned, and every export has equal logits
    experts       a quarter of the experts is removed, and every export has equal
                  logits; so has an export of the whole model. `with_neurons` has the
                  formats of a further job, which removes experts and neurons
    not built, not run, not reloaded    transformers itself cannot, at these sizes
    sentence      the model is refused by an error that says why
    WRONG         the logits of an export differ, a tensor outside of the language model
                  has changed, rows and columns do not belong together, or files are
                  described unlike their model
    TRACEBACK, SIGNAL, HANG

Each class has a process of its own. The results are lines of JSON in the folder; a
second call goes on after the last one. Afterwards

    python benchmarks/coverage.py --page [--folder FOLDER]

copies the results of all sizes to benchmarks/results/, without the details, and writes
the pages that are made from them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from benchmarks import coverage_page
from benchmarks.coverage_cuts import RELATIVE, wrong_cuts, wrong_cuts_of_experts
from benchmarks.small_models import KINDS, build, logits, routes, why_not_run
from benchmarks.small_sizes import SIZES, Sizes
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import (
    COUPLINGS,
    OF_EXPERTS,
    Method,
    Structure,
    Widths,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.sources import ModelSummary, StructureSupport
from surgeon_engine.base.errors import CurvatureError, EngineError
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.export import export_again
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.export.transformers.check import auto_class
from surgeon_engine.model.classes import auto_classes
from surgeon_engine.model.experts import has_experts
from surgeon_engine.model.inspect import describe, describe_files
from surgeon_engine.model.layers import body_of
from surgeon_engine.model.load import load_model
from surgeon_engine.run.pipeline import prune
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config
from tests.helpers.runs import tokens

_LIMIT_S = 600.0
_STRUCTURES = (Structure.HEADS_AND_NEURONS, Structure.NEURONS, Structure.HEADS)
_BOTH = Structure.EXPERTS_AND_NEURONS
# A quarter, and a little more for rounding.
_SHARES = {Structure.EXPERTS: 0.26, _BOTH: 0.3}
# What else a class with an outcome could lose.
_MISSING = {"neurons": "heads", "heads": "neurons", "experts": _BOTH.value}
_TOKENIZER = Path("resources/demo")
_Name = tuple[str, str, bool]  # kind, model type, without experts


def main() -> int:
    """Try each class that has no result yet, and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="the classes whose name has this")
    parser.add_argument("--sizes", choices=SIZES, default="usual")
    parser.add_argument("--folder", type=Path, default=Path("build/coverage"))
    parser.add_argument("--page", action="store_true", help="write the page alone")
    arguments = parser.parse_args()
    if arguments.page:
        _write_page(arguments.folder)
        return 0
    results = arguments.folder / f"{arguments.sizes}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    done = {(x["kind"], x["type"], x["dense"]): x for x in coverage_page.read(results)}
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for kind, model_type, dense in _entries(done):
        name = f"{kind}-{model_type}{'-dense' if dense else ''}"
        if (kind, model_type, dense) in done or arguments.only not in name:
            continue
        folder = arguments.folder.absolute() / name
        found = _forked(kind, model_type, folder, SIZES[arguments.sizes], dense=dense)
        done[kind, model_type, dense] = found
        print(f"{name:38} {found['outcome']} {found.get('detail', '')[:150]}")
        sys.stdout.flush()
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
    counts = Counter(x["outcome"] for x in done.values())
    print(dict(sorted(counts.items())))
    return 1 if any(counts[outcome] for outcome in coverage_page.BAD) else 0


def _entries(done: Mapping[_Name, dict[str, Any]]) -> Iterator[_Name]:
    """Yield each class, and after one with experts the same class without them."""
    for kind, choices in KINDS.items():
        for model_type in choices:
            yield kind, model_type, False
            found = done.get((kind, model_type, False), {})
            if found.get("experts"):
                yield kind, model_type, True


def _write_page(folder: Path) -> None:
    results = [
        _stored(found, sizes)
        for sizes in SIZES
        for found in coverage_page.read(folder / f"{sizes}.jsonl")
        if not (found["dense"] and found["outcome"] == "not built")
    ]
    coverage_page.RESULTS.write_text(coverage_page.written(results), encoding="utf-8")
    page = coverage_page.page_with(results)
    coverage_page.PAGE.write_text(page, encoding="utf-8")
    classes = coverage_page.classes_with(results)
    coverage_page.CLASSES.write_text(classes, encoding="utf-8")


def _stored(found: Mapping[str, Any], sizes: str) -> dict[str, Any]:
    """Return what is kept of a result: why something stays whole, and the formats."""
    kept = {"sizes": sizes, "transformers": version("transformers")}
    names = ("kind", "type", "dense", "class", "outcome", "experts", "left_whole")
    kept |= {name: found[name] for name in (*names, "formats") if found.get(name)}
    if "with_neurons" in found:
        kept["with_neurons"] = found["with_neurons"]
    reasons = found.get("reasons", {})
    other = _MISSING.get(found["outcome"])
    reason = reasons.get(other, found.get("detail", "")) or found.get("note", "")
    return {"dense": False} | kept | ({"reason": reason[:300]} if reason else {})


def _forked(
    kind: str, model_type: str, folder: Path, sizes: Sizes, *, dense: bool
) -> dict[str, Any]:
    """Try a class in a process of its own; return what was found."""
    found = {
        "kind": kind,
        "type": model_type,
        "dense": dense,
        "class": KINDS[kind][model_type],
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    output, start = folder / "output.json", time.monotonic()
    pid = os.fork()
    if pid == 0:
        _exit_after(kind, model_type, folder, sizes, dense=dense)
    while time.monotonic() - start < _LIMIT_S:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if output.exists():
                return found | json.loads(output.read_text(encoding="utf-8"))
            return found | {"outcome": "SIGNAL", "detail": str(status)}
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return found | {"outcome": "HANG"}


def _exit_after(
    kind: str, model_type: str, folder: Path, sizes: Sizes, *, dense: bool
) -> None:
    fence._is_direct = True  # this process is the fence
    found: dict[str, Any] = {}
    try:
        model = build(kind, model_type, sizes, dense=dense)
    except Exception as error:  # noqa: BLE001
        found = {"outcome": "not built", "detail": repr(error)[:300]}
    else:
        found = {"experts": routes(model)} | _outcome(model, folder)
    (folder / "output.json").write_text(json.dumps(found), encoding="utf-8")
    os._exit(0)


def _outcome(model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    try:
        return _tried(model, folder)
    except EngineError as error:
        outcome = "not run" if why_not_run(model) else "sentence"
        return {"outcome": outcome, "detail": f"{error.message} {error.hint}"}
    except BaseException:  # noqa: BLE001
        return {"outcome": "TRACEBACK", "detail": traceback.format_exc()[-2000:]}


def _tried(model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    """Prune a model and export it; return the outcome."""
    source = folder / folder.name.partition("-")[2]
    model.save_pretrained(source)
    for path in _TOKENIZER.glob("tokenizer*"):
        shutil.copy(path, source)
    summary = describe_files(ModelConfig(source=str(source))).model
    runs = not why_not_run(model)
    if runs and (problem := _not_reloaded(model, source)):
        return {"outcome": "not reloaded", "detail": problem[:300]}
    supported = {x.structure: x for x in summary.structures}
    best = _best(supported, model)
    found: dict[str, Any] = {
        "parameters": summary.parameters,
        "reasons": {s.value: supported[s].reason for s in _STRUCTURES},
        "left_whole": {
            x.kind.value: list(x.blocks)
            for s in _STRUCTURES
            for x in supported[s].left_whole
        },
    }
    if best is None:
        kind = Structure.EXPERTS if has_experts(model) else Structure.NEURONS
        reason = supported[kind].reason
        return found | {"outcome": "sentence", "detail": reason}
    found["sparsity"] = sparsity = _sparsity(summary, best)
    problems = list(_wrong_summary(summary, source))
    try:
        if best is Structure.EXPERTS:
            method = Method.FIRST_ORDER
            if runs:
                problems += _exported(source, folder / "whole", best, 0.0, method)[0]
            differences, formats = _exported(source, folder, best, sparsity, method)
        else:
            problems += wrong_cuts(_loaded(source), best) if runs else ()
            differences, formats = _pruned(source, folder, best, sparsity, found)
    except EngineError as error:
        outcome = "sentence" if runs else "not run"
        return found | {"outcome": outcome, "detail": f"{error.message} {error.hint}"}
    problems += differences
    found |= {"formats": formats}
    if best is Structure.EXPERTS:
        found["with_neurons"], reason = [], supported[_BOTH].reason
        if not reason:
            reason, differences = _pruned_with_neurons(source, folder, summary, found)
            problems += differences
        found["reasons"][_BOTH.value] = reason
    if problems:
        return found | {"outcome": "WRONG", "detail": "; ".join(problems)}
    return found | {"outcome": best.value}


def _best(
    supported: Mapping[Structure, StructureSupport], model: PreTrainedModel
) -> Structure | None:
    """Return the structure to remove: experts where there are any; None: nothing."""
    if has_experts(model):
        return Structure.EXPERTS if supported[Structure.EXPERTS].supported else None
    kinds = [s for s in _STRUCTURES[1:] if supported[s].supported]
    return _STRUCTURES[0] if len(kinds) > 1 else next(iter(kinds), None)


def _pruned(
    source: Path,
    folder: Path,
    best: Structure,
    sparsity: float,
    found: dict[str, Any],
) -> tuple[list[str], list[str]]:
    """Run jobs on heads and neurons, without gradients if there are none."""
    try:
        return _exported(source, folder, best, sparsity, Method.LLM_SURGEON)
    except CurvatureError as error:  # it names methods without gradients
        found["note"] = error.message
        simple = (Method.MAGNITUDE, Recovery.OFF)
        return _exported(source, folder, best, sparsity, *simple)


def _pruned_with_neurons(
    source: Path, folder: Path, summary: ModelSummary, found: dict[str, Any]
) -> tuple[str, list[str]]:
    """Run a job on experts and neurons; return why it cannot, and what is wrong."""
    sparsity, method = _sparsity(summary, _BOTH), Method.FIRST_ORDER
    problems = list(wrong_cuts_of_experts(_loaded(source)))
    try:
        differences, formats = _exported(
            source, folder / "both", _BOTH, sparsity, method
        )
    except EngineError as error:
        return f"{error.message} {error.hint}", problems
    found["with_neurons"] = formats
    return "", problems + differences


def _loaded(source: Path) -> PreTrainedModel:
    return load_model(ModelConfig(str(source)), with_tokenizer=False).model


def _not_reloaded(model: PreTrainedModel, source: Path) -> str:
    """Return why transformers alone cannot load what it has saved; empty if it can."""
    try:
        auto = getattr(transformers, auto_classes(model)[0])
        loaded = auto.from_pretrained(source, dtype="auto")
        difference = (logits(loaded) - logits(model)).abs().max()
    except Exception as error:  # noqa: BLE001
        return repr(error)
    return f"logits differ by {difference:.2g}" if difference else ""


def _sparsity(summary: ModelSummary, structure: Structure) -> float:
    """Return 30 %, or 40 % of what a structure could remove if that is less.

    Of experts it is about a quarter.
    """
    kinds = COUPLINGS[structure]
    layers = {
        name for each in summary.coupled if each.kind in kinds for name in each.layers
    }
    weights = sum(layer.weights for layer in summary.layers if layer.name in layers)
    if structure in _SHARES:
        return round(_SHARES[structure] * weights / summary.prunable, 6)
    return min(0.3, round(0.4 * weights / summary.prunable, 4))


def _wrong_summary(summary: ModelSummary, source: Path) -> Iterator[str]:
    """Yield a problem if files are described unlike the model loaded from them."""
    found = load_model(ModelConfig(source=str(source)), with_tokenizer=False)
    if describe(found.model, found.source, found.stored) != summary:
        yield "the loaded model has another summary than its files"


def _exported(
    source: Path,
    folder: Path,
    structure: Structure,
    sparsity: float,
    method: Method,
    recovery: Recovery = Recovery.REFIT,
) -> tuple[list[str], list[str]]:
    """Run a job, export its result; return what is wrong, and the formats."""
    unverified = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
    for writer in WRITERS.values():
        type(writer).verify = lambda *_: unverified  # type: ignore[method-assign]
    folder.mkdir(exist_ok=True)
    settings = {"structure": structure, "sparsity": sparsity, "method": method}
    first = Format.MASKED
    if structure in OF_EXPERTS:  # equally many of each block, for plain folders
        settings["widths"] = Widths.SAME
        first = Format.COMPACT if sparsity else Format.MASKED
    config = RunConfig(
        ModelConfig(str(source)),
        tokens(folder, 4),
        pruning_config(shots=1, **settings),
        ExportConfig(format=first),
        RecoveryConfig(recovery, general_windows=0),
        EvaluationConfig(windows=0),
    )
    context = RunContext("coverage", lambda _: None)
    run = folder / f"run_{method}"
    prune(config, run, context)
    pruned = restore(run / "export", "pruned").loaded.model
    expected = logits(pruned)
    problems = list(_changed_towers(source, pruned))
    formats = []
    if not sparsity:
        expected = logits(_loaded(source))
    others = (x for x in (Format.COMPACT, Format.PLAIN, Format.GGUF) if x is not first)
    for format in (first, *(others if sparsity else ())):
        out = run / "export" if format is first else folder / format.value
        if format is not first:
            try:
                export_again(str(run), ExportConfig(str(out), format), context)
            except EngineError as error:
                if format is Format.COMPACT:
                    problems.append(f"compact: {error.message}")
                continue
        formats.append(format.value)
        if format is not Format.GGUF:
            auto = getattr(transformers, auto_class(out))
            loaded = auto.from_pretrained(out, trust_remote_code=True, dtype="auto")
            difference = (logits(loaded) - expected).abs().max()
            if difference > RELATIVE * expected.abs().max():
                problems.append(f"{format.value}: logits differ by {difference:.2g}")
    return problems, formats


def _changed_towers(source: Path, pruned: PreTrainedModel) -> Iterator[str]:
    """Yield the tensors outside of the language model that a run has changed."""
    original = _loaded(source)
    inside = {id(p) for p in body_of(original).parameters()}
    found = pruned.state_dict()
    for name, parameter in original.named_parameters():
        if id(parameter) not in inside and not torch.equal(parameter, found[name]):
            yield f"{name} has changed"


if __name__ == "__main__":
    sys.exit(main())
