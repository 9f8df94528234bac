"""State of a diagnosis: which settings make it out of date, and its progress."""

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Damping,
    Fisher,
    Method,
    Structure,
    Target,
    Widths,
)
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_gui.state.diagnosis import state as diagnosis_state
from surgeon_gui.state.diagnosis.state import DiagnosisPhase, DiagnosisResult
from surgeon_gui.state.request import Request
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.fake_engine import model_summary

THEN = surgeon_job()
MODEL = model_summary()


def known(config=THEN):
    return DiagnosisResult(config, MODEL, SimpleNamespace())


def now(**parts):
    """Return the original job with some settings changed."""
    kinds = {"model": ModelConfig, "calibration": CalibrationConfig}
    changed = {p: kinds.get(p, pruning_config)(**v) for p, v in parts.items()}
    return replace(THEN, **changed)


@pytest.mark.parametrize(
    ("changed", "labels"),
    [
        (now(model={"source": "/else"}), ("Model",)),
        (now(calibration={"window_length": 128}), ("Window length",)),
        (now(calibration={"text": "a.csv", "column": "b"}), ("Text", "Column")),
        (now(calibration={"windows": 8, "seed": 3}), ("Windows", "Seed")),
        (now(pruning={"structure": Structure.ROWS}), ("What to prune",)),
        (now(pruning={"method": Method.MAGNITUDE}), ("Method",)),
        (now(pruning={"width_multiple": 64}), ("Width multiple",)),
        (now(pruning={"damping": Damping.FIXED}), ("Damping",)),
    ],
)
def test_changed_settings_make_costs_out_of_date_and_are_named(changed, labels):
    assert set(diagnosis_state.changes_since(known(), changed)) >= set(labels)
    assert (
        diagnosis_state.phase_of(known(), changed, False) is DiagnosisPhase.OUT_OF_DATE
    )
    assert ", ".join(labels[:1]) in diagnosis_state.headline(
        known(), DiagnosisPhase.OUT_OF_DATE, changed
    )
    assert diagnosis_state.phase_of(known(), THEN, False) is DiagnosisPhase.READY


@pytest.mark.parametrize(
    "changed",
    [
        now(pruning={"sparsity": 0.5}),
        now(pruning={"target": Target.PARAMETERS, "million_parameters": 2.0}),
        now(pruning={"protect": ("block 0",)}),
        now(pruning={"layer_min_density": ("block 0=0.5",), "min_density": 0.2}),
        now(pruning={"widths": Widths.SAME}),
        now(pruning={"shots": 9}),
        now(pruning={"cost_damping": 1.0}),  # held-out windows choose it
        now(pruning={"kept": 1}),  # unused without an N:M pattern
        now(calibration={"batch": 1}),
        now(model={"device": "cpu"}),
    ],
)
def test_settings_without_effect_on_costs_need_no_new_measurement(changed):
    assert diagnosis_state.changes_since(known(), changed) == ()


def test_changed_fixed_damping_makes_costs_out_of_date():
    pruning = pruning_config(damping=Damping.FIXED)
    then = replace(THEN, pruning=pruning)
    changed = replace(THEN, pruning=replace(pruning, cost_damping=1.0))
    assert diagnosis_state.changes_since(known(then), changed) == ("Cost damping",)


def test_changed_fisher_counts_only_for_methods_that_use_it():
    fisher = {"fisher": Fisher.SAMPLED}
    magnitude = pruning_config(method=Method.MAGNITUDE)
    plain = replace(THEN, pruning=magnitude)
    other = replace(THEN, pruning=replace(magnitude, fisher=Fisher.SAMPLED))
    assert diagnosis_state.changes_since(known(plain), other) == ()
    assert diagnosis_state.changes_since(known(), now(pruning=fisher)) == (
        "Fisher information",
    )


def test_progress_never_decreases():
    request, before, values = Request("d"), 0.0, []
    stages = (Stage.LOAD, Stage.TEXT, Stage.BASELINE, Stage.CURVATURE)
    for stage in (*stages, Stage.DAMPING, Stage.CURVATURE, Stage.SELECTION):
        for event in (StageStarted(stage, 0), Progressed(stage, 0, 5, 5)):
            request = request.with_event(event)
            before = diagnosis_state.progress_of(request, before)
            values.append(before)
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] == 1.0
    assert diagnosis_state.progress_of(Request(), 0.5) == 0.0


def test_widths_that_a_file_forces_make_costs_out_of_date_and_are_planned():
    gguf = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
    then, changed = THEN, replace(THEN, export=gguf)
    assert diagnosis_state.changes_since(known(then), changed) == ("Width multiple",)
    of_one_width = msgspec.structs.replace(MODEL, gguf_widths=Widths.SAME)
    result = DiagnosisResult(changed, of_one_width, SimpleNamespace())
    assert changed.pruning.widths is Widths.FREE
    planned = diagnosis_state.planned_config(result, changed)
    assert planned.pruning.widths is Widths.SAME
