"""Forms show, edit and return a config."""

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
    QGridLayout,
    QLineEdit,
    QToolTip,
)

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import (
    CostBasis,
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Schedule,
    Structure,
    Target,
    UpdateKind,
    Widths,
)
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.tool_tips import plain_tip

CHANGED = {
    "model": ModelConfig("elsewhere", Dtype.BFLOAT16, Device.CPU),
    "calibration": CalibrationConfig("text.txt", "other.txt", 3, 5, 99, 7, 2),
    "pruning": PruningConfig(
        Structure.ROWS_AND_COLUMNS,
        cost_basis=CostBasis.RAW,
        update=UpdateKind.SEPARATE,
        method=Method.K_OBD,
        target=Target.PARAMETERS,
        million_parameters=12.345678,
        max_perplexity_increase=7.5,
        shots=9,
        protect=("block 0", "*.down_proj"),
        min_density=0.1,
        layer_min_density=("block 1=0.5",),
        schedule=Schedule.CUBIC,
        fisher=Fisher.SAMPLED,
        damping=Damping.FIXED,
        cost_damping=0.5,
        update_damping=0.0025,
    ),
    "pruning of patterns": PruningConfig(
        Structure.N_M,
        pattern="3:7",
        max_correlated=2000,
        target=Target.PARAMETER_SHARE,
        sparsity=0.125,
    ),
    "pruning of heads": PruningConfig(
        width_multiple=64, widths=Widths.SAME, target=Target.FILE_SIZE, megabytes=0.5
    ),
}


def field(form, name):
    """Return the input of a field."""
    return form._inputs[name].widget


@pytest.fixture
def form(qtbot):
    form = ConfigForm("pruning", PruningConfig)
    qtbot.addWidget(form)
    return form


@pytest.mark.parametrize("part", CHANGED)
@pytest.mark.parametrize("is_default", [True, False])
def test_form_returns_the_shown_config(qtbot, part, is_default):
    config = CHANGED[part]
    kind = type(config)
    form = ConfigForm(part.split()[0], kind)
    qtbot.addWidget(form)
    config = kind() if is_default else config
    form.show_config(config)
    assert form.config() == config


def test_numbers_have_units_and_limits_and_no_needless_digits(qtbot, form):
    with qtbot.assertNotEmitted(form.edited):
        form.show_config(
            PruningConfig(
                sparsity=0.3,
                max_perplexity_increase=7.5,
                shots=1,
                damping=Damping.FIXED,
                cost_damping=0.01,
                update_damping=10,
            )
        )
    for name, limits, text in (
        ("sparsity", (0.0, 95.0), "30 %"),
        ("max_perplexity_increase", (0.0, 100.0), "7.5 %"),
        ("shots", (1, 200), "1 shot"),
        ("cost_damping", None, "0.01"),
        ("update_damping", None, "10"),
    ):
        box = field(form, name)
        assert (box.cleanText().removesuffix(".0") + box.suffix()).startswith(text)
        assert limits in (None, (box.minimum(), box.maximum()))
        assert box.objectName() == f"pruning_{name}"
        assert box.accessibleName()
        assert box.toolTip()
    field(form, "shots").setValue(2)
    assert field(form, "shots").suffix() == " shots"
    assert field(form, "structure").itemData(0, Qt.ItemDataRole.ToolTipRole)


def test_unchanged_number_keeps_hidden_digits(qtbot, form):
    exact = PruningConfig(sparsity=1 / 3)
    form.show_config(exact)
    assert field(form, "sparsity").text() == "33.33 %"
    with qtbot.waitSignal(form.edited) as blocker:
        field(form, "shots").setValue(4)
    assert blocker.args == [replace(exact, shots=4)]
    field(form, "sparsity").setValue(50)
    assert form.config().sparsity == 0.5


def rows_of(form):
    return {name for name in form.values() if not field(form, name).isHidden()}


def test_field_that_does_not_apply_is_hidden_and_keeps_its_value(form):
    form.show_config(
        PruningConfig(Structure.N_M, pattern="3:8", method=Method.LLM_SURGEON)
    )
    assert {"pattern", "max_correlated"} <= rows_of(form)
    assert not {"width_multiple", "cost_basis", "megabytes"} & rows_of(form)
    choose(form, "structure", Structure.HEADS_AND_NEURONS)
    assert not {"pattern", "max_correlated"} & rows_of(form)
    assert {"width_multiple", "cost_basis"} <= rows_of(form)
    form.show_config(form.config())  # as a page does after each edit
    choose(form, "structure", Structure.N_M)
    assert form.config().pattern == "3:8"
    form.show_config(PruningConfig(shots=9))  # another config takes none of them over
    choose(form, "structure", Structure.N_M)
    assert form.config() == PruningConfig(Structure.N_M, pattern="2:4", shots=9)
    form.show_config(PruningConfig(Structure.ELEMENTS))
    choose(form, "target", Target.FILE_SIZE)  # invalid
    assert "megabytes" in rows_of(form)
    assert "sparsity" not in rows_of(form)


def test_inputs_get_the_space_of_labels_that_are_hidden(qtbot, monkeypatch):
    text = replace(FIELDS["pruning.pattern"], label="A long label, as in German")
    monkeypatch.setitem(FIELDS, "pruning.pattern", text)
    form = ConfigForm("pruning", PruningConfig)
    qtbot.addWidget(form)
    form.resize(400, 900)
    form.show()
    widths = []
    for structure in (Structure.N_M, Structure.HEADS_AND_NEURONS):
        form.show_config(PruningConfig(structure))
        form.layout().activate()
        widths.append(field(form, "method").width())
    assert widths[0] < widths[1]


def test_pattern_has_a_box_for_each_number(qtbot, form):
    form.show_config(PruningConfig(Structure.N_M, pattern="3:8"))
    kept, of = (form.findChild(QDoubleSpinBox, f"pruning_{x}") for x in ("kept", "of"))
    assert (kept.text(), of.text()) == ("3 weights", "8 weights")
    with qtbot.waitSignal(form.edited) as edited:
        kept.setValue(1)
    assert edited.args == [PruningConfig(Structure.N_M, pattern="1:8")]
    with qtbot.waitSignal(form.refused):
        of.setValue(2)
        kept.setValue(2)
    assert "2:2" in form.findChild(object, "pruning_pattern_problem").text()


def test_list_is_shown_as_comma_separated_line(qtbot, form):
    line = field(form, "protect")
    assert isinstance(line, QLineEdit)
    line.setText(" block 0,*.down_proj , ")
    with qtbot.waitSignal(form.edited) as blocker:
        line.editingFinished.emit()
    assert blocker.args[0].protect == ("block 0", "*.down_proj")
    form.show_config(PruningConfig(protect=("a", "b")))
    assert line.text() == "a, b"
    with qtbot.assertNotEmitted(form.edited):
        line.editingFinished.emit()


def test_show_config_does_not_overwrite_line_being_typed(qtbot, form):
    form.findChild(object, "pruning_advanced_button").click()
    form.show()
    form.activateWindow()
    line = field(form, "protect")
    line.setFocus()
    qtbot.waitUntil(line.hasFocus)
    QTest.keyClicks(line, "block 0")
    form.show_config(PruningConfig())
    assert line.text() == "block 0"
    with qtbot.waitSignal(form.edited) as blocker:
        QTest.keyClick(line, Qt.Key.Key_Return)
    assert blocker.args[0].protect == ("block 0",)
    form.show_config(PruningConfig())
    assert line.text() == ""


def test_edit_may_change_other_fields(qtbot):
    form = ConfigForm("pruning", PruningConfig, lambda before, after: {"shots": 7})
    qtbot.addWidget(form)
    with qtbot.waitSignal(form.edited) as blocker:
        field(form, "sparsity").setValue(12)
    assert blocker.args == [PruningConfig(sparsity=0.12, shots=7)]
    assert field(form, "shots").value() == 7


def test_incompatible_choices_are_disabled_with_reason(form):
    form.disable_choices("method", {Method.WANDA: "Not for heads."})
    box = field(form, "method")
    index = list(Method).index(Method.WANDA)
    assert not box.model().item(index).isEnabled()
    assert box.itemData(index, Qt.ItemDataRole.ToolTipRole) == plain_tip(
        "Not for heads."
    )
    form.disable_choices("method", {})
    assert box.model().item(index).isEnabled()


def test_invalid_config_shows_its_error(qtbot, form):
    form.show_config(PruningConfig())
    with qtbot.waitSignal(form.refused):
        box = field(form, "shots")
        box.setMaximum(1_000)  # beyond what the config takes
        box.setValue(500)
    problem = form.findChild(object, "pruning_shots_problem")
    assert "shots" in problem.text()
    assert box.property("invalid")
    grid = box.parentWidget().layout()
    places = [place_in(each, box, problem) for each in grids_of(grid)]
    (of_box, of_problem) = next(found for found in places if found)
    assert 0 < of_problem - of_box < 10  # below it, above the next field
    box.setValue(5)
    assert problem.text() == ""
    assert not box.property("invalid")
    box.setValue(500)
    form.show_config(PruningConfig(shots=5))  # discards the refused input
    assert box.value() == 5
    assert problem.text() == ""


def test_error_stays_at_its_field_while_others_are_edited(form):
    form.edit("layer_min_density", ("block 3",))
    form.edit("protect", ("block 1",))
    assert field(form, "layer_min_density").property("invalid")
    assert not field(form, "protect").property("invalid")
    form.edit("layer_min_density", ())
    form.edit("structure", Structure.N_M)
    form.edit("pattern", "3:3")
    form.edit("structure", Structure.NEURONS)
    form.edit("structure", Structure.N_M)  # the pattern is there again
    assert field(form, "pattern").property("invalid")
    assert not field(form, "structure").property("invalid")


def test_pattern_is_refused_beside_the_share_of_a_layer(form):
    form.edit("structure", Structure.N_M)
    form.edit("pattern", "3:3")
    form.edit("layer_min_density", ("block 3",))
    for name in ("pattern", "layer_min_density"):
        assert field(form, name).property("invalid")
        assert form.findChild(object, f"pruning_{name}_problem").text()


def grids_of(layout):
    """Return the grids in a layout."""
    items = [layout.itemAt(index) for index in range(layout.count())]
    return [x.layout() for x in items if isinstance(x.layout(), QGridLayout)]


def place_in(grid, *widgets):
    """Return the rows of widgets in a grid; None if one is elsewhere."""
    found = [grid.indexOf(widget) for widget in widgets]
    if -1 in found:
        return None
    return [grid.getItemPosition(index)[0] for index in found]


def test_advanced_fields_are_hidden_at_first(qtbot, form):
    form.show_config(PruningConfig(method=Method.LLM_SURGEON))
    form.show()
    qtbot.waitExposed(form)
    assert field(form, "shots").isVisible()
    assert not field(form, "damping").isVisible()
    form.findChild(object, "pruning_advanced_button").click()
    assert field(form, "damping").isVisible()
    assert not field(form, "cost_damping").isVisible()  # it is searched for
    choose(form, "damping", Damping.FIXED)
    assert field(form, "cost_damping").isVisible()


def test_wheel_without_focus_changes_nothing(qtbot, form):
    form.show_config(PruningConfig())
    for name in ("shots", "sparsity", "structure"):
        QApplication.sendEvent(field(form, name), _wheel_event())
    assert form.config() == PruningConfig()


def test_wheel_never_changes_a_choice(qtbot, form):
    form.show_config(PruningConfig())
    form.show()
    form.activateWindow()
    box = field(form, "structure")
    box.setFocus()  # as after a choice
    qtbot.waitUntil(box.hasFocus)
    event = _wheel_event()
    QApplication.sendEvent(box, event)
    assert form.config() == PruningConfig()
    assert not event.isAccepted()  # the page scrolls


def test_show_config_does_not_overwrite_number_being_typed(qtbot, form):
    form.show_config(PruningConfig(shots=3))
    form.show()
    form.activateWindow()
    box = field(form, "shots")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    form.show_config(PruningConfig(shots=4))
    assert box.cleanText() == "4"  # nothing is typed yet
    box.selectAll()
    for key in "12":
        QTest.keyClicks(box, key)
        form.show_config(PruningConfig(shots=3))
        form.show_config(PruningConfig(shots=5))
    assert box.cleanText() == "12"
    with qtbot.waitSignal(form.edited) as blocker:
        QTest.keyClick(box, Qt.Key.Key_Return)
    assert blocker.args[0].shots == 12


@pytest.mark.parametrize(
    ("field", "typed", "becomes", "tip"),
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
def test_number_beyond_limits_becomes_nearest_and_shows_limit(
    qtbot, form, monkeypatch, field, typed, becomes, tip
):
    tips = []
    monkeypatch.setattr(QToolTip, "showText", lambda _, text, __: tips.append(text))
    box = form.findChild(QAbstractSpinBox, f"pruning_{field}")
    form.show()
    line = box.findChild(QLineEdit)
    box.setFocus()
    line.selectAll()
    QTest.keyClicks(line, typed)
    assert (
        form.values()[field] == settings_of(PruningConfig)[field].default
    )  # not committed yet
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert form.values()[field] == becomes
    assert tips == []  # the focus may still move on, which would hide it
    qtbot.wait(1)
    assert tips == ([plain_tip(tip)] if tip else [])


def choose(form, name, member):
    field(form, name).setCurrentIndex(list(type(member)).index(member))


def _wheel_event():
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


def test_narrow_choice_box_elides_its_text(qtbot):
    boxes = [ChoiceBox(), QComboBox()]
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


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [
        ("8 h", 480),
        ("1.5H", 90),
        ("1,5 h", 90),
        ("1 h 30 min", 90),
        ("90 min", 90),
        ("45", 45),
        ("9999 h", 100_000),  # at most
        ("h", 20),  # as before
    ],
)
def test_time_is_typed_in_hours_or_minutes(qtbot, typed, minutes):
    form = ConfigForm("recovery", RecoveryConfig)
    qtbot.addWidget(form)
    form.show_config(RecoveryConfig(minutes=20))
    box = field(form, "minutes")
    box.selectAll()
    QTest.keyClicks(box, typed)
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert form.config().minutes == minutes
    assert box.text().endswith(" min")
