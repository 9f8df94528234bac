"""The number of GPUs can be chosen where there are several."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_gui.state.job.resource_text import check_draft, describe_settled
from surgeon_gui.views.steps.model_page import ModelPage
from surgeon_gui.views.steps.plan_card import PlanCard
from tests.helpers.fake_machine import PLENTY, machine
from tests.helpers.queued_runs import ready_state
from tests.helpers.windows import find


def state_with(folder, gpus, asked=1):
    state = ready_state(folder, RunConfig(ModelConfig(gpus=asked)))
    return replace(state, machine=machine(gpu=PLENTY, gpus=gpus))


@pytest.mark.slow
def test_gpus_are_offered_where_there_are_several(qtbot, session, tmp_path):
    page = ModelPage(session)
    qtbot.addWidget(page)
    field = find(page, "model_gpus")
    for gpus, asked, is_hidden in ((1, 1, True), (2, 1, False), (1, 2, False)):
        page.show_state(state_with(tmp_path, gpus, asked))
        assert field.isHidden() == is_hidden
    session.store.set(state_with(tmp_path, 2))
    page.show_state(session.state)
    field.setValue(0)
    assert field.text() == "All"
    assert session.state.config.model.gpus == 0


def test_plan_says_how_many_gpus_share_the_run(tmp_path):
    texts = [
        describe_settled(check_draft(state_with(tmp_path, 4, asked)))
        for asked in (1, 2, 0)
    ]
    assert "GPUs" not in texts[0]
    assert "2 GPUs" in texts[1]
    assert "4 GPUs" in texts[2]


@pytest.mark.parametrize(
    ("device", "gpu", "is_shown"),
    [(Device.AUTO, PLENTY, True), (Device.CPU, PLENTY, False), (Device.AUTO, 0, False)],
)
def test_plan_explains_the_widths_of_the_device(
    qtbot, qapp, tmp_path, device, gpu, is_shown
):
    state = ready_state(tmp_path, RunConfig(ModelConfig(device=device)))
    card = PlanCard()
    qtbot.addWidget(card)
    card.show_state(replace(state, machine=machine(gpu=gpu)), "")
    shown = find(card, "plan_sizes").text()
    assert ("multiples of 8, which GPUs compute faster" in shown) is is_shown
