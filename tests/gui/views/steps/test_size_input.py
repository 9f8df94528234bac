"""The size as a number with a unit: every unit, the context, the share of the curve."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import PruningConfig, Structure, Target
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.running_memory import memory_to_run
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.state.job import targets
from surgeon_gui.text import numbers
from surgeon_gui.views.steps.size_input import SizeInput
from surgeon_gui.widgets.choice_box import ChoiceBox
from tests.helpers.fake_engine import model_summary
from tests.helpers.widget_queries import choose_unit
from tests.helpers.windows import find

MODEL = model_summary()
BOXES = {  # name and a value
    Target.PRUNABLE_SHARE: ("pruning_sparsity", 40.0),
    Target.PARAMETER_SHARE: ("pruning_parameter_share", 22.2),
    Target.PARAMETERS: ("pruning_million_parameters", 2.345),
    Target.FILE_SIZE: ("pruning_megabytes", 9.1),
    Target.MEMORY: ("pruning_memory_gigabytes", 0.015),
}


# As the unit box lists them: what one wants to have first.
BOXES_IN_ORDER = (
    Target.FILE_SIZE,
    Target.MEMORY,
    Target.PRUNABLE_SHARE,
    Target.PARAMETER_SHARE,
    Target.PARAMETERS,
)


@pytest.fixture
def size(qtbot):
    """Return an input that shows 30 % of the demo; `.edits` counts its signals."""
    size = SizeInput()
    qtbot.addWidget(size)
    size.show_model(MODEL, FileForm())
    size.edits = []
    size.edited.connect(lambda: size.edits.append(size.values()["target"]))
    size.show()
    return size


def box_of(size, target):
    return find(size, BOXES[target][0])


def goal(size):
    return goal_of(PruningConfig(**size.values()), MODEL, FileForm())


@pytest.mark.parametrize("target", Target)
def test_number_is_a_target_in_its_unit(size, target):
    choose_unit(size, target)
    name, value = BOXES[target]
    assert [each for each in BOXES if box_of(size, each).isVisible()] == [target]
    box_of(size, target).setValue(value)
    assert size.values()["target"] is target
    assert size.edits == ([target] if target is Target.PRUNABLE_SHARE else 2 * [target])
    found = goal(size)
    in_unit = {
        Target.PRUNABLE_SHARE: 100 * found.sparsity,
        Target.PARAMETER_SHARE: 100 * found.removed / MODEL.parameters,
        Target.PARAMETERS: found.parameters / 1e6,
        Target.FILE_SIZE: found.weight_bytes / 1e6,
        Target.MEMORY: memory_to_run(found.weight_bytes, 512, MODEL) / 1e9,
    }[target]
    assert in_unit == pytest.approx(value, abs=6e-4), name


def test_other_unit_keeps_the_size_and_shows_it(size):
    before = goal(size)
    for target in (*Target, Target.PRUNABLE_SHARE):
        choose_unit(size, target)
        assert goal(size) == before
    choose_unit(size, Target.PARAMETERS)
    assert box_of(size, Target.PARAMETERS).text() == "2.099 M"
    choose_unit(size, Target.FILE_SIZE)
    assert box_of(size, Target.FILE_SIZE).text() == "8.5 MB"


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.47])
def test_size_of_the_file_is_rounded_as_in_all_texts(size, share):
    choose_unit(size, Target.FILE_SIZE)
    size.set_share(share)
    planned = goal(size).weight_bytes
    shown = numbers.size(planned).replace("\N{NO-BREAK SPACE}", " ")
    assert box_of(size, Target.FILE_SIZE).text() == shown.replace(".0 MB", " MB")
    assert box_of(size, Target.FILE_SIZE).value() * 1e6 >= planned
    size.set_share(share)  # what is shown does not become the target
    assert goal(size).weight_bytes == planned


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("share", [0.123, 0.5])
def test_share_of_the_curve_keeps_the_unit(size, target, share):
    choose_unit(size, target)
    size.edits.clear()
    size.set_share(share)
    assert size.edits == [target]
    assert goal(size).sparsity == pytest.approx(share, abs=0.002)


def test_context_is_asked_for_a_memory_alone(size):
    context = find(size, "pruning_context")
    assert not context.isVisible()
    choose_unit(size, Target.MEMORY)
    assert context.isVisible()
    assert size.values()["context"] == MODEL.longest_window  # it supports no more
    before, memory = goal(size).removed, size.values()["memory_gigabytes"]
    context.setValue(300)  # leaves more for the weights
    assert size.values()["memory_gigabytes"] == memory
    assert size.values()["context"] == 300
    assert goal(size).removed < before


@pytest.mark.parametrize(
    ("structure", "file_format"),
    [(Structure.ELEMENTS, Format.AUTOMATIC), (Structure.NEURONS, Format.MASKED)],
)
def test_units_of_bytes_are_disabled_where_the_file_keeps_its_size(
    size, structure, file_format
):
    reasons = targets.disabled_targets(structure, file_format)
    size.disable(reasons)
    items = find(size, "size_unit_combo", ChoiceBox).model()
    enabled = [items.item(row).isEnabled() for row in range(items.rowCount())]
    assert enabled == [target not in targets.IN_BYTES for target in BOXES_IN_ORDER]
    assert reasons[Target.MEMORY] in box_of(size, Target.MEMORY).toolTip()
    size.disable({})
    assert all(items.item(row).isEnabled() for row in range(items.rowCount()))


def test_size_that_cannot_be_reached_is_not_converted(size):
    missed = {"target": Target.PARAMETERS, "million_parameters": 50.0}
    size.show_values({**size._values, **missed})
    assert size.edits == []
    assert box_of(size, Target.PARAMETERS).value() == 50.0
    choose_unit(size, Target.PRUNABLE_SHARE)
    assert size.values()["target"] is Target.PRUNABLE_SHARE
    assert box_of(size, Target.PRUNABLE_SHARE).value() == 30.0  # as it was


@pytest.mark.parametrize(
    ("before", "typed", "target", "shown"),
    [
        (Target.PRUNABLE_SHARE, "8 MB", Target.FILE_SIZE, "8 MB"),
        (Target.PRUNABLE_SHARE, "8.5mib", Target.FILE_SIZE, "9 MB"),
        (Target.PRUNABLE_SHARE, "20 %", Target.PRUNABLE_SHARE, "20 %"),
        (Target.FILE_SIZE, "0.0075 GB", Target.FILE_SIZE, "7.5 MB"),
        (Target.FILE_SIZE, "0,0075 GB", Target.FILE_SIZE, "7.5 MB"),
        (Target.FILE_SIZE, "8 MB", Target.FILE_SIZE, "8 MB"),
        (Target.FILE_SIZE, "20 %", Target.PRUNABLE_SHARE, "20 %"),
        (Target.MEMORY, "20 MB", Target.MEMORY, "0.02 GB"),
        (Target.PARAMETER_SHARE, "20%", Target.PARAMETER_SHARE, "20 %"),
        (Target.PARAMETERS, "2 M", Target.PARAMETERS, "2 M"),
    ],
)
def test_typed_unit_is_chosen(size, qtbot, before, typed, target, shown):
    choose_unit(size, before)
    box = box_of(size, before)
    with qtbot.waitExposed(size):
        size.activateWindow()
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, typed)
    assert box.lineEdit().text() == typed.replace(" ", "")  # without another unit
    QTest.keyClick(box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: box_of(size, target).text() == shown)
    assert size.values()["target"] is target
    assert box_of(size, target).hasFocus()
    assert box_of(size, target).lineEdit().hasSelectedText()


def test_typed_number_is_used_even_if_the_box_rounds_its_own_to_it(size):
    size.show_values({**size.values(), "sparsity": 0.29999})
    box = box_of(size, Target.PRUNABLE_SHARE)
    assert box.text() == "30 %"
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert size.values()["sparsity"] == 0.29999  # nothing was typed
    box.selectAll()
    QTest.keyClicks(box, "30")
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert size.values()["sparsity"] == 0.3
    assert len(size.edits) == 1


@pytest.mark.parametrize("typed", ["8 M", "8 MB"])
def test_unit_that_cannot_be_chosen_keeps_the_size(size, qtbot, typed):
    size.disable(targets.disabled_targets(Structure.ELEMENTS, Format.AUTOMATIC))
    before = size.values()
    box = box_of(size, Target.PRUNABLE_SHARE)
    box.selectAll()
    QTest.keyClicks(box, typed)
    QTest.keyClick(box, Qt.Key.Key_Return)
    qtbot.wait(1)
    assert size.values() == before


FILE = FileForm(Format.GGUF)


def visible_unit(size):
    return next(each for each in BOXES if box_of(size, each).isVisible())


def test_size_of_a_file_starts_in_bytes_without_an_edit(size):
    before = size.values()
    size.show_model(MODEL, FILE)
    assert visible_unit(size) is Target.FILE_SIZE
    assert box_of(size, Target.FILE_SIZE).text() == "8.5 MB"
    assert size.values() == before
    assert size.edits == []
    size.show_model(MODEL, FileForm())  # a folder of files
    assert visible_unit(size) is Target.PRUNABLE_SHARE


def test_size_of_a_file_is_edited_in_bytes(size):
    size.show_model(MODEL, FILE)
    size.set_share(0.5)
    assert size.edits == [Target.FILE_SIZE]
    assert goal(size).sparsity == pytest.approx(0.5, abs=0.001)


def test_unit_that_was_chosen_stays_for_a_file(size):
    size.show_model(MODEL, FILE)
    choose_unit(size, Target.PRUNABLE_SHARE)
    assert visible_unit(size) is Target.PRUNABLE_SHARE
    assert size.values()["sparsity"] == pytest.approx(0.3)
    size.show_model(None, FileForm())
    size.show_model(MODEL, FILE)
    assert visible_unit(size) is Target.PRUNABLE_SHARE


def test_file_of_another_model_is_shown_in_bytes(size):
    size.show_model(MODEL, FileForm(), "one")
    choose_unit(size, Target.PARAMETER_SHARE)
    choose_unit(size, Target.PRUNABLE_SHARE)
    size.set_share(0.32)
    size.show_model(None, FILE, "two")
    size.show_model(MODEL, FILE, "two")
    assert visible_unit(size) is Target.FILE_SIZE
    assert size.values()["sparsity"] == pytest.approx(0.32)
    choose_unit(size, Target.PRUNABLE_SHARE)
    size.show_model(MODEL, FILE, "two")
    assert visible_unit(size) is Target.PRUNABLE_SHARE
