"""A form shows a config, and gives it back as it was or as it was changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QSpinBox,
    QToolTip,
)

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import (
    NM,
    Correction,
    CostBasis,
    Damping,
    Elements,
    FileSize,
    Fisher,
    FixedDamping,
    HeadsAndNeurons,
    Method,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
    RowsAndColumns,
    Schedule,
    Structure,
    Target,
    UpdateKind,
    Widths,
)
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_gui.widgets.controls import choice_box
from surgeon_gui.widgets.forms.form import ConfigForm

CHANGED = {
    "model": ModelConfig("elsewhere", Dtype.BFLOAT16, Device.CPU),
    "calibration": CalibrationConfig("text.txt", "other.txt", 3, 5, 99, 7, 2),
    "pruning": PruningConfig(
        RowsAndColumns(CostBasis.RAW, UpdateKind.SEPARATE),
        Method.K_OBD,
        Parameters(12.345678),
        max_perplexity_increase=7.5,
        shots=9,
        protect=("block 0", "*.down_proj"),
        min_density=0.1,
        layer_min_density=("block 1=0.5",),
        schedule=Schedule.CUBIC,
        fisher=Fisher.SAMPLED,
        correction=Correction.NONE,
        damping=FixedDamping(0.5, 0.0025),
    ),
    "pruning of patterns": PruningConfig(
        NM("3:7", max_correlated=2000), target=ParameterShare(0.125)
    ),
    "pruning of heads": PruningConfig(
        HeadsAndNeurons(64, Widths.SAME), target=FileSize(0.5)
    ),
}


@pytest.fixture
def form(qtbot):
    form = ConfigForm("pruning", PruningConfig)
    qtbot.addWidget(form)
    return form


@pytest.mark.parametrize("part", CHANGED)
@pytest.mark.parametrize("is_default", [True, False])
def test_what_is_shown_is_given_back(qtbot, part, is_default):
    config = CHANGED[part]
    kind = type(config)
    form = ConfigForm(part.split()[0], kind)
    qtbot.addWidget(form)
    config = kind() if is_default else config
    form.show_config(config)
    assert form.config() == config


def test_showing_tells_nobody(qtbot, form):
    with qtbot.assertNotEmitted(form.edited):
        form.show_config(CHANGED["pruning"])


def test_an_edit_is_told_with_everything_else_as_it_was(qtbot, form):
    form.show_config(CHANGED["pruning"])
    with qtbot.waitSignal(form.edited) as told:
        form.field("shots").setValue(4)
    assert told.args == [replace(CHANGED["pruning"], shots=4)]


def test_sparsity_is_shown_as_per_cent_within_its_limits(form):
    box = form.field("sparsity")
    assert isinstance(box, QDoubleSpinBox)
    assert (box.minimum(), box.maximum()) == (0.1, 95.0)
    form.show_config(PruningConfig(target=PrunableShare(0.3)))
    assert box.value() == 30.0
    assert box.suffix() == " %"


def test_per_cent_that_are_no_share_are_shown_as_they_are(form):
    box = form.field("max_perplexity_increase")
    assert (box.minimum(), box.maximum()) == (0.0, 100.0)
    form.show_config(PruningConfig(max_perplexity_increase=7.5))
    assert box.text() == "7.5 %"


def test_what_was_not_touched_keeps_digits_that_it_has_no_room_for(qtbot, form):
    exact = PruningConfig(target=PrunableShare(1 / 3))
    form.show_config(exact)
    assert form.field("sparsity").text() == "33.3 %"
    with qtbot.waitSignal(form.edited) as told:
        form.field("shots").setValue(4)
    assert told.args == [replace(exact, shots=4)]
    form.field("sparsity").setValue(50)
    assert form.config().target == PrunableShare(0.5)


def test_a_number_has_no_zeros_at_its_end(form):
    form.show_config(PruningConfig(damping=FixedDamping(cost=0.01, update=10)))
    assert form.field("cost_damping").cleanText() == "0.01"
    assert form.field("update_damping").cleanText() == "10"


def rows_of(form):
    return {name for name in form.values() if not form.field(name).isHidden()}


def test_a_field_that_does_not_apply_has_no_row_and_keeps_its_value(form):
    form.show_config(PruningConfig(NM("3:8")))
    assert {"pattern", "max_correlated"} <= rows_of(form)
    assert not {"width_multiple", "cost_basis", "megabytes"} & rows_of(form)
    choose(form, "structure", Structure.HEADS_AND_NEURONS)
    assert not {"pattern", "max_correlated"} & rows_of(form)
    assert {"width_multiple", "cost_basis"} <= rows_of(form)
    form.show_config(form.config())  # as a page does after each edit
    choose(form, "structure", Structure.N_M)
    assert form.config().structure == NM("3:8")


def test_hidden_values_are_not_taken_over_by_another_config(form):
    form.show_config(PruningConfig(NM("3:8")))
    form.show_config(PruningConfig(shots=9))
    choose(form, "structure", Structure.N_M)
    assert form.config() == PruningConfig(NM("2:4"), shots=9)


def test_pattern_has_a_box_for_each_number(qtbot, form):
    form.show_config(PruningConfig(NM("3:8")))
    kept, of = (form.findChild(QSpinBox, f"pruning_{x}") for x in ("kept", "of"))
    assert (kept.text(), of.text()) == ("3 weights", "8 weights")
    with qtbot.waitSignal(form.edited) as told:
        kept.setValue(1)
    assert told.args == [PruningConfig(NM("1:8"))]
    with qtbot.waitSignal(form.refused):
        of.setValue(2)
        kept.setValue(2)
    assert (
        "2:2 removes nothing" in form.findChild(object, "pruning_form_problem").text()
    )


def test_rows_follow_values_that_make_no_config(form):
    form.show_config(PruningConfig(Elements()))
    choose(form, "target", Target.FILE_SIZE)
    assert "megabytes" in rows_of(form)
    assert "sparsity" not in rows_of(form)


def test_a_list_of_names_is_a_line_with_commas(qtbot, form):
    line = form.field("protect")
    assert isinstance(line, QLineEdit)
    line.setText(" block 0,*.down_proj , ")
    with qtbot.waitSignal(form.edited) as told:
        line.editingFinished.emit()
    assert told.args[0].protect == ("block 0", "*.down_proj")
    form.show_config(PruningConfig(protect=("a", "b")))
    assert line.text() == "a, b"
    with qtbot.assertNotEmitted(form.edited):
        line.editingFinished.emit()


def test_a_line_that_is_being_typed_is_not_overwritten_by_a_redraw(qtbot, form):
    form.findChild(object, "pruning_advanced_button").click()
    form.show()
    form.activateWindow()
    line = form.field("protect")
    line.setFocus()
    qtbot.waitUntil(line.hasFocus)
    QTest.keyClicks(line, "block 0")
    form.show_config(PruningConfig())
    assert line.text() == "block 0"
    with qtbot.waitSignal(form.edited) as told:
        QTest.keyClick(line, Qt.Key.Key_Return)
    assert told.args[0].protect == ("block 0",)
    form.show_config(PruningConfig())
    assert line.text() == ""


def test_an_edit_may_bring_others_with_it(qtbot):
    form = ConfigForm("pruning", PruningConfig, lambda before, after: {"shots": 7})
    qtbot.addWidget(form)
    with qtbot.waitSignal(form.edited) as told:
        form.field("sparsity").setValue(12)
    assert told.args == [PruningConfig(target=PrunableShare(0.12), shots=7)]
    assert form.field("shots").value() == 7


def test_choices_that_do_not_go_together_are_disabled_with_the_reason(form):
    form.disable_choices("method", {Method.WANDA: "Not for heads."})
    box = form.field("method")
    index = list(Method).index(Method.WANDA)
    assert not box.model().item(index).isEnabled()
    assert box.itemData(index, Qt.ItemDataRole.ToolTipRole) == "Not for heads."
    form.disable_choices("method", {})
    assert box.model().item(index).isEnabled()


def test_limits_come_from_the_config_and_units_from_the_words(qtbot):
    form = ConfigForm("calibration", CalibrationConfig)
    qtbot.addWidget(form)
    box = form.field("window_length")
    assert isinstance(box, QSpinBox)
    assert (box.minimum(), box.maximum()) == (8, 131_072)
    assert box.suffix() == " tokens"


def test_one_of_a_thing_is_called_so(qtbot):
    form = ConfigForm("pruning", PruningConfig)
    qtbot.addWidget(form)
    box = form.field("shots")
    suffixes = []
    for shots in (1, 2):
        form.show_config(PruningConfig(shots=shots))
        suffixes.append(box.suffix())
    box.setValue(1)
    assert [*suffixes, box.suffix()] == [" shot", " shots", " shot"]


def test_choices_carry_their_explanations(form):
    box = form.field("structure")
    assert isinstance(box, QComboBox)
    assert box.itemText(0) == "Heads and neurons"
    assert "dense layers" in box.itemData(0, Qt.ItemDataRole.ToolTipRole)


def test_a_refused_config_is_told_at_the_form(qtbot, form):
    form.show_config(PruningConfig())
    with qtbot.waitSignal(form.refused):
        box = form.field("shots")
        box.setMaximum(1_000)  # beyond what the config takes
        box.setValue(500)
    problem = form.findChild(object, "pruning_form_problem")
    assert "shots must be in" in problem.text()


def test_advanced_fields_are_hidden_until_asked_for(qtbot, form):
    form.show()
    qtbot.waitExposed(form)
    assert form.field("shots").isVisible()
    assert not form.field("damping").isVisible()
    form.findChild(object, "pruning_advanced_button").click()
    assert form.field("damping").isVisible()
    assert not form.field("cost_damping").isVisible()  # it is searched for
    choose(form, "damping", Damping.FIXED)
    assert form.field("cost_damping").isVisible()


def test_the_wheel_changes_nothing_without_the_focus(qtbot, form):
    form.show_config(PruningConfig())
    for name in ("shots", "sparsity", "structure"):
        QApplication.sendEvent(form.field(name), _turn_of_the_wheel())
    assert form.config() == PruningConfig()


def test_what_is_being_typed_is_not_overwritten_by_a_redraw(qtbot, form):
    form.show_config(PruningConfig())
    form.show()
    form.activateWindow()
    box = form.field("shots")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    for key in "12":
        QTest.keyClicks(box, key)
        form.show_config(PruningConfig())
        form.show_config(PruningConfig(shots=5))
    assert box.cleanText() == "12"
    with qtbot.waitSignal(form.edited) as told:
        QTest.keyClick(box, Qt.Key.Key_Return)
    assert told.args[0].shots == 12


@pytest.mark.parametrize(
    ("field", "typed", "becomes", "said"),
    [
        ("max_perplexity_increase", "150", 100.0, "At most 100 %."),
        ("min_density", "120", 1.0, "At most 100 %."),
        ("min_density", "-5", 0.0, "At least 0 %."),
        ("cost_damping", "1e-3", 0.001, ""),
        ("max_perplexity_increase", "4,2", 4.2, ""),  # as other languages write it
        ("max_perplexity_increase", "1,000", 100.0, "At most 100 %."),
        ("max_perplexity_increase", "4,2,1", 0.0, ""),  # no number
        ("shots", "500", 200, "At most 200 shots."),
        ("shots", "0", 1, "At least 1 shot."),
        ("shots", "12", 12, ""),
    ],
)
def test_a_number_beyond_the_limits_becomes_the_nearest_and_that_is_said(
    qtbot, form, monkeypatch, field, typed, becomes, said
):
    tips = []
    monkeypatch.setattr(QToolTip, "showText", lambda _, words, __: tips.append(words))
    box = form.findChild(QAbstractSpinBox, f"pruning_{field}")
    form.show()
    line = box.findChild(QLineEdit)
    box.setFocus()
    line.selectAll()
    QTest.keyClicks(line, typed)
    assert (
        form.values()[field] == settings_of(PruningConfig)[field].default
    )  # not meant yet
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert form.values()[field] == becomes
    assert tips == ([said] if said else [])


def test_a_box_that_is_only_looked_at_follows_the_config(qtbot, form):
    form.show()
    form.activateWindow()
    box = form.field("shots")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    form.show_config(PruningConfig(shots=5))
    assert box.cleanText() == "5"


def test_every_input_has_a_name_and_words(form):
    for name in ("structure", "sparsity", "shots", "cost_damping"):
        widget = form.field(name)
        assert widget.objectName() == f"pruning_{name}"
        assert widget.accessibleName()
        assert widget.toolTip()


def choose(form, name, member):
    form.field(name).setCurrentIndex(list(type(member)).index(member))


def _turn_of_the_wheel():
    assert QEvent.Type.Wheel
    return QWheelEvent(
        QPointF(5, 5),
        QPointF(5, 5),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )


def test_a_choice_without_room_ends_in_an_ellipsis(qtbot):
    boxes = [choice_box(), QComboBox()]
    for box in boxes:
        qtbot.addWidget(box)
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.addItem("Each layer has a width of its own")

    def look_alike(width):
        for box in boxes:
            box.resize(width, 27)
        one, other = (box.grab().toImage() for box in boxes)
        return one == other

    assert look_alike(400)
    assert not look_alike(120)  # Qt cuts through letters
