"""The quality limit, as perplexity or as KL."""

import pytest
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.views.steps.target_page import QualityLimit
from surgeon_gui.widgets.forms.form import ConfigForm
from tests.helpers.windows import find

PERPLEXITY, KL = 0, 1


@pytest.fixture
def part(qtbot):
    part = QualityLimit()
    qtbot.addWidget(part)
    return part


@pytest.fixture
def form(qtbot, part):
    form = ConfigForm("pruning", PruningConfig, parts=(part,))
    qtbot.addWidget(form)
    form.edits = []
    form.edited.connect(form.edits.append)
    return form


def box(part, name):
    return find(part, f"pruning_{name}", QDoubleSpinBox)


def unit(part):
    return find(part, "quality_limit_combo", QComboBox)


def limits(pruning):
    return pruning.max_perplexity_increase, pruning.max_divergence


def test_number_is_a_limit_in_the_chosen_unit(form, part):
    box(part, "max_perplexity_increase").setValue(5.0)
    assert limits(form.edits[-1]) == (5.0, 0.0)
    unit(part).setCurrentIndex(KL)
    assert limits(form.edits[-1]) == (0.0, 0.049)  # about the same limit
    assert box(part, "max_divergence").value() == 0.049
    box(part, "max_divergence").setValue(0.4)
    assert limits(form.edits[-1]) == (0.0, 0.4)
    assert box(part, "max_perplexity_increase").isHidden()
    assert not box(part, "max_divergence").isHidden()
    for index, limit in ((PERPLEXITY, (5.0, 0.0)), (KL, (0.0, 0.4))):
        unit(part).setCurrentIndex(index)
        assert limits(form.edits[-1]) == limit
    form.show_config(PruningConfig(max_divergence=0.25))  # another job
    unit(part).setCurrentIndex(PERPLEXITY)
    assert limits(form.edits[-1]) == (28.5, 0.0)


@pytest.mark.parametrize(
    ("job", "chosen", "limit"),
    [
        ({}, KL, (0.0, 0.0)),  # no limit stays none
        ({"max_perplexity_increase": 0.01}, KL, (0.0, 0.001)),
        ({"max_divergence": 5.0}, PERPLEXITY, (100.0, 0.0)),
    ],
)
def test_another_unit_begins_with_a_limit_only_if_there_was_one(
    form, part, job, chosen, limit
):
    form.show_config(PruningConfig(**job))
    unit(part).setCurrentIndex(chosen)
    assert limits(form.edits[-1] if form.edits else PruningConfig()) == limit


def test_unit_of_the_limit_in_a_job_is_shown(form, part):
    form.show_config(PruningConfig(max_divergence=0.25))
    assert unit(part).currentIndex() == KL
    assert box(part, "max_divergence").value() == 0.25
    form.show_config(PruningConfig(max_perplexity_increase=7.0))
    assert unit(part).currentIndex() == PERPLEXITY
    assert form.edits == []


def test_both_limits_of_a_job_are_kept_when_one_is_edited(form, part):
    form.show_config(PruningConfig(max_perplexity_increase=7.0, max_divergence=0.25))
    box(part, "max_perplexity_increase").setValue(8.0)
    assert limits(form.edits[-1]) == (8.0, 0.25)
