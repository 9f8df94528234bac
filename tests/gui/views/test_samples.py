"""The samples of a run are shown beside each other, and can be asked for."""

import pytest
from PySide6.QtWidgets import QCheckBox, QLabel, QLineEdit

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.messages.run import SampleWritten
from surgeon_gui.state.job.settings_list import settings
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.run.course import SampleCard
from surgeon_gui.views.steps.run_page import SampleSettings
from tests.helpers.windows import find

ASKED = SamplesConfig(after_shots=True, prompt="Dear")


@pytest.fixture
def form(qtbot):
    form = SampleSettings()
    qtbot.addWidget(form)
    form.edits = []
    form.edited.connect(form.edits.append)
    return form


def texts(card):
    return [
        find(card, f"live_sample_{part}", QLabel).text()
        for part in ("prompt", "original", "pruned")
    ]


def test_card_shows_the_latest_sample_beside_the_original(qtbot):
    card = SampleCard()
    qtbot.addWidget(card)
    card.show_run(RunState(config=RunConfig()))
    assert card.isHidden()
    written = [SampleWritten(0, " Sir"), SampleWritten(1, " Madam")]
    config = RunConfig(samples=ASKED)
    busy = RunState(Status.RUNNING, config=config, samples=tuple(written[:1]))
    card.show_run(busy)
    assert not card.isHidden()
    assert texts(card) == ["“Dear”", "Sir", "\N{HORIZONTAL ELLIPSIS}"]
    card.show_run(RunState(config=config, samples=tuple(written)))
    assert texts(card) == ["“Dear”", "Sir", "Madam"]
    assert "After shot 1" in [each.text() for each in card.findChildren(QLabel)]
    written.append(SampleWritten(1, " all", is_recovered=True))
    card.show_run(RunState(config=config, samples=tuple(written)))
    assert texts(card)[2] == "all"
    assert "After recovery" in [each.text() for each in card.findChildren(QLabel)]


def test_samples_are_off_at_first_and_have_a_prompt_once_they_are_on(form):
    check = find(form, "samples_after_shots", QCheckBox)
    prompt = find(form, "samples_prompt", QLineEdit)
    assert not check.isChecked()
    assert prompt.isHidden()
    check.click()
    assert form.edits == [SamplesConfig(after_shots=True)]
    assert not prompt.isHidden()
    prompt.setText("Dear")
    prompt.editingFinished.emit()
    assert form.edits[-1] == ASKED
    prompt.setText("  ")  # the default again
    prompt.editingFinished.emit()
    assert form.edits[-1] == SamplesConfig(after_shots=True)
    assert prompt.text() == SamplesConfig().prompt


def test_shown_settings_are_not_edits(form):
    form.show_config(ASKED)
    assert find(form, "samples_prompt", QLineEdit).text() == "Dear"
    assert find(form, "samples_after_shots", QCheckBox).isChecked()
    assert form.edits == []


def test_settings_list_has_the_prompt_of_samples_that_are_written():
    def values(config):
        return {each.name: each.value for each in settings(config)}

    assert values(RunConfig())["samples.after_shots"] == "No"
    assert "samples.prompt" not in values(RunConfig())
    assert values(RunConfig(samples=ASKED))["samples.prompt"] == "Dear"
