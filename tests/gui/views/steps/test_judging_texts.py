"""The texts that judge the model beside the calibration text."""

import pytest
from PySide6.QtWidgets import QLineEdit

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.job.checks import find_problems
from surgeon_gui.state.job.settings_list import settings
from surgeon_gui.text.problems import Step, sentence
from surgeon_gui.views.steps.calibration_page import JudgingTexts
from tests.helpers.windows import find


@pytest.fixture
def form(qtbot):
    form = JudgingTexts()
    qtbot.addWidget(form)
    form.edits = []
    form.edited.connect(form.edits.append)
    return form


def enter(form, text):
    line = find(form, "evaluation_texts", QLineEdit)
    line.setText(text)
    line.editingFinished.emit()


def test_no_text_means_automatic(form):
    line = find(form, "evaluation_texts", QLineEdit)
    assert line.text() == ""
    assert line.placeholderText() == "Automatic"
    values = {each.name: each.value for each in settings(RunConfig())}
    assert values["evaluation.texts"] == "Automatic"


def test_names_are_resolved(form, tmp_path):
    file = tmp_path / "other.txt"
    file.write_text("text")
    enter(form, f"{file}, Salesforce/wikitext, Built-in text")
    assert form.edits[-1].texts == (
        str(file),
        "hf://datasets/Salesforce/wikitext",
        "builtin",
    )


def problem_with(*texts, windows=16):
    config = RunConfig(
        calibration=CalibrationConfig(), evaluation=EvaluationConfig(windows, texts)
    )
    return find_problems(config, None, "").get(Step.CALIBRATION, (None,))[0]


def test_problems_of_the_texts_are_reported():
    assert problem_with() is None
    assert "no text file" in sentence(problem_with("/nowhere.txt"))
    assert "cannot judge" in sentence(problem_with("builtin"))
    assert problem_with("builtin", windows=0) is None
