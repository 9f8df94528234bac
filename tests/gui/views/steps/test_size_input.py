"""The size as a text: every unit, what is refused, the context, the curve's share."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import (
    MAX_SHARE,
    PruningConfig,
    Structure,
    Target,
)
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.base.settings import Settings
from surgeon_gui.state.job import targets
from surgeon_gui.views.steps.size_input import SizeInput
from surgeon_gui.widgets.choice_box import ChoiceBox
from tests.helpers.fake_engine import model_summary
from tests.helpers.widget_queries import choose_unit, size_shown, type_size
from tests.helpers.windows import find

MODEL = model_summary()
TYPED = {
    Target.PRUNABLE_SHARE: 40.0,
    Target.PARAMETER_SHARE: 22.2,
    Target.PARAMETERS: 2.345,
    Target.FILE_SIZE: 9.1,
    Target.MEMORY: 15.0,
}


# As the unit box lists them: what one wants to have first.
UNITS_IN_ORDER = (
    Target.FILE_SIZE,
    Target.MEMORY,
    Target.PRUNABLE_SHARE,
    Target.PARAMETER_SHARE,
    Target.PARAMETERS,
)


@pytest.fixture
def size(qtbot):
    """Return an input that shows 30 % of the demo.

    `.edits` has the targets of its signals, `.errors` what it has refused.
    """
    size = SizeInput(Settings())
    qtbot.addWidget(size)
    size.show_model(MODEL, FileForm())
    size.edits, size.errors = [], []
    size.edited.connect(lambda: size.edits.append(size.values()["target"]))
    size.refused.connect(size.errors.append)
    size.show()
    return size


def line_of(size):
    return find(size, "pruning_size", QLineEdit)


def unit_of(size):
    return find(size, "size_unit_combo", ChoiceBox).value


def goal(size):
    return goal_of(PruningConfig(**size.values()), MODEL, FileForm())


@pytest.mark.parametrize("target", Target)
def test_number_is_a_target_in_the_unit_shown(size, target):
    choose_unit(size, target)
    type_size(size, f"{TYPED[target]}")
    assert size.values()["target"] is target
    assert size.edits == ([target] if target is Target.PRUNABLE_SHARE else 2 * [target])
    found = goal(size)
    in_unit = {
        Target.PRUNABLE_SHARE: 100 * found.sparsity,
        Target.PARAMETER_SHARE: 100 * found.removed / MODEL.parameters,
        Target.PARAMETERS: found.parameters / 1e6,
        Target.FILE_SIZE: found.weight_bytes / 1e6,
        Target.MEMORY: (found.weight_bytes + memory_beside_weights(512, MODEL)) / 1e6,
    }[target]
    assert in_unit == pytest.approx(TYPED[target], abs=6e-4)


def test_other_unit_keeps_the_size_and_shows_it(size):
    before = goal(size)
    for target in (*Target, Target.PRUNABLE_SHARE):
        choose_unit(size, target)
        assert goal(size) == before
    choose_unit(size, Target.PARAMETERS)
    assert size_shown(size) == "2.10 M"
    choose_unit(size, Target.FILE_SIZE)
    assert size_shown(size) == "8.41 MB"


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
    context.setValue(1)
    assert context.text() == "1 token"


def test_memory_begins_with_that_of_the_device_until_another_is_chosen(size):
    size.show_model(None, FileForm())
    size.memory = 24 << 30
    choose_unit(size, Target.MEMORY)
    assert size_shown(size) == "24 GB"  # the rest is for the screen
    type_size(size, "8 GB")
    for target in (Target.FILE_SIZE, Target.MEMORY):
        choose_unit(size, target)
    assert size_shown(size) == "8 GB"


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
    assert enabled == [target not in targets.IN_BYTES for target in UNITS_IN_ORDER]
    choose_unit(size, Target.MEMORY)
    assert reasons[Target.MEMORY] in line_of(size).toolTip()
    size.disable({})
    assert all(items.item(row).isEnabled() for row in range(items.rowCount()))


def test_size_that_cannot_be_reached_is_not_converted(size):
    missed = {"target": Target.PARAMETERS, "million_parameters": 50.0}
    size.show_values({**size._values, **missed})
    assert size.edits == []
    assert size_shown(size) == "50.0 M"
    choose_unit(size, Target.PRUNABLE_SHARE)
    assert size.values()["target"] is Target.PRUNABLE_SHARE
    assert size_shown(size) == "30 %"  # as it was


@pytest.mark.parametrize(
    ("before", "typed", "target", "value", "text"),
    [
        (Target.PRUNABLE_SHARE, "8 MB", Target.FILE_SIZE, 8.0, "8 MB"),
        (Target.PRUNABLE_SHARE, "8.5mib", Target.FILE_SIZE, 8.912896, "8.5mib"),
        (Target.PRUNABLE_SHARE, "20 %", Target.PRUNABLE_SHARE, 0.2, "20 %"),
        (Target.PRUNABLE_SHARE, "29.95", Target.PRUNABLE_SHARE, 0.2995, "29.95 %"),
        (Target.PRUNABLE_SHARE, "29.954", Target.PRUNABLE_SHARE, 0.29954, "29.954 %"),
        (Target.FILE_SIZE, "1 KB", Target.FILE_SIZE, 0.001, "1 kB"),
        (Target.FILE_SIZE, "1.234567 GB", Target.FILE_SIZE, 1234.567, "1.234567 GB"),
        (Target.FILE_SIZE, "0.0075 GB", Target.FILE_SIZE, 7.5, "7.5 MB"),
        (Target.FILE_SIZE, "0,0075 GB", Target.FILE_SIZE, 7.5, "7.5 MB"),
        (Target.FILE_SIZE, "0,750 MB", Target.FILE_SIZE, 0.75, "750 kB"),
        (Target.FILE_SIZE, "1,500 MB", Target.FILE_SIZE, 1500.0, "1.5 GB"),
        (Target.FILE_SIZE, "1.500,5 MB", Target.FILE_SIZE, 1500.5, "1.500,5 MB"),
        (Target.FILE_SIZE, "8", Target.FILE_SIZE, 8.0, "8 MB"),
        (Target.FILE_SIZE, "20 %", Target.PRUNABLE_SHARE, 0.2, "20 %"),
        (Target.MEMORY, "20 MB", Target.MEMORY, 0.02, "20 MB"),
        (Target.PARAMETER_SHARE, "20%", Target.PARAMETER_SHARE, 0.2, "20 %"),
        (Target.PARAMETERS, "2 M", Target.PARAMETERS, 2.0, "2.00 M"),
        (Target.PARAMETERS, "2,1 M", Target.PARAMETERS, 2.1, "2.10 M"),
        (Target.PARAMETERS, "950k", Target.PARAMETERS, 0.95, "950 k"),
        (Target.PARAMETERS, "1.3B", Target.PARAMETERS, 1300.0, "1.30 B"),
        (Target.PARAMETERS, "2.3456", Target.PARAMETERS, 2.3456, "2.3456 M"),
        (Target.PARAMETERS, "2000000", Target.PARAMETERS, 2.0, "2.00 M"),
        (Target.FILE_SIZE, "2 M", Target.PARAMETERS, 2.0, "2.00 M"),
    ],
)
def test_typed_text_is_the_target(size, before, typed, target, value, text):
    choose_unit(size, before)
    type_size(size, typed)
    values = size.values()
    assert unit_of(size) is values["target"] is target
    assert values[targets.target_field(target)] == value
    assert size_shown(size) == text  # nothing that was typed is lost
    assert size.errors == []


@pytest.mark.parametrize("typed", ["50", "abc"])
def test_escape_shows_the_target_again(size, typed):
    before, shown = goal(size), size_shown(size)
    line = line_of(size)
    line.selectAll()
    QTest.keyClicks(line, typed)
    if typed == "abc":
        QTest.keyClick(line, Qt.Key.Key_Return)
        assert size.errors
    QTest.keyClick(line, Qt.Key.Key_Escape)
    assert size_shown(size) == shown
    line.editingFinished.emit()
    assert goal(size) == before


@pytest.mark.parametrize(
    ("before", "typed"),
    [
        *((Target.FILE_SIZE, x) for x in ("3 X", "abc", "", "8 apples", "0 MB")),
        *((Target.PRUNABLE_SHARE, x) for x in ("-5 %", "101 %", "3 G", "1.2.3 %")),
        *((Target.PARAMETERS, x) for x in ("3 G", "0 M", "nan")),
    ],
)
def test_text_that_is_no_size_is_refused_and_stays(size, before, typed):
    choose_unit(size, before)
    values = size.values()
    size.edits.clear()
    type_size(size, typed)
    assert size_shown(size) == typed
    (error,) = size.errors
    assert typed in error.message and error.hint
    assert error.settings == ("target",)
    size.show_model(MODEL, FileForm(dtype=FileDtype.FLOAT32))  # draws it again
    assert size_shown(size) == typed
    assert size.values() == values
    assert size.edits == []
    size.set_share(0.2)
    assert size_shown(size) != typed


@pytest.mark.parametrize("unit", [Target.FILE_SIZE, Target.PARAMETER_SHARE])
def test_share_beyond_all_limits_becomes_the_largest(size, unit):
    choose_unit(size, unit)
    type_size(size, "96 %")
    assert size_shown(size) == "95 %"
    assert size.values()["sparsity"] == MAX_SHARE
    assert size.errors == []
    type_size(size, "200 %")
    (error,) = size.errors
    assert "95\xa0%" in error.hint


def test_return_selects_the_text(size, qtbot):
    line = line_of(size)
    with qtbot.waitExposed(size):
        size.activateWindow()
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, "20")
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert line.selectedText() == line.text() != ""


def test_typed_number_is_used_even_if_the_text_rounds_its_own_to_it(size):
    size.show_values({**size.values(), "sparsity": 0.299999})
    assert size_shown(size) == "30 %"
    line_of(size).editingFinished.emit()
    assert size.values()["sparsity"] == 0.299999  # nothing was typed
    type_size(size, "30")
    assert size.values()["sparsity"] == 0.3
    assert len(size.edits) == 1


def test_unit_that_cannot_be_chosen_is_refused_for_its_reason(size):
    reasons = targets.disabled_targets(Structure.ELEMENTS, Format.AUTOMATIC)
    size.disable(reasons)
    before = size.values()
    type_size(size, "8 MB")
    assert size.errors[0].message == reasons[Target.FILE_SIZE]
    assert size.values() == before


FILE = FileForm(Format.GGUF)


def test_size_of_a_file_starts_in_bytes_without_an_edit(size):
    before = size.values()
    size.show_model(MODEL, FILE)
    assert unit_of(size) is Target.FILE_SIZE
    assert size_shown(size) == "8.41 MB"
    assert size.values() == before
    assert size.edits == []
    size.show_model(MODEL, FileForm())  # a folder of files
    assert unit_of(size) is Target.PRUNABLE_SHARE


def test_size_of_a_file_is_edited_in_bytes(size):
    size.show_model(MODEL, FILE)
    size.set_share(0.5)
    assert size.edits == [Target.FILE_SIZE]
    assert goal(size).sparsity == pytest.approx(0.5, abs=0.001)


def test_unit_that_was_chosen_stays_for_a_file(size):
    size.show_model(MODEL, FILE)
    choose_unit(size, Target.PRUNABLE_SHARE)
    assert unit_of(size) is Target.PRUNABLE_SHARE
    assert size.values()["sparsity"] == pytest.approx(0.3)
    size.show_model(None, FileForm())
    size.show_model(MODEL, FILE)
    assert unit_of(size) is Target.PRUNABLE_SHARE


@pytest.mark.parametrize("is_typed", [False, True])
def test_unit_that_was_chosen_last_is_that_of_the_next_start(size, qtbot, is_typed):
    size.show_model(MODEL, FILE)
    if is_typed:
        type_size(size, "20 %")
    else:
        choose_unit(size, Target.PRUNABLE_SHARE)
    again = SizeInput(size._settings)
    qtbot.addWidget(again)
    again.show_model(MODEL, FILE)
    assert unit_of(again) is Target.PRUNABLE_SHARE
    choose_unit(again, Target.FILE_SIZE)
    again.show_values(size._values)
    assert unit_of(again) is Target.FILE_SIZE


def test_number_in_the_unit_of_a_job_leaves_the_unit_that_was_chosen_last(size):
    choose_unit(size, Target.PARAMETERS)
    choose_unit(size, Target.FILE_SIZE)
    size.show_values({**size._values, "target": Target.PARAMETERS})
    type_size(size, "2.5")
    assert size._settings.size_unit is Target.FILE_SIZE
