"""The tab of the architecture: before and after, the reasons, protection and limits."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QImage
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QComboBox, QMenu, QPushButton, QSpinBox, QTreeView

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_gui.state.architecture.state import Source, of_model, of_plan
from surgeon_gui.state.run import Status
from surgeon_gui.views.architecture.architecture_table import ArchitectureTable
from surgeon_gui.views.architecture.block_card import BlockCard
from surgeon_gui.views.architecture.block_picture import BlockPicture
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.gui.window.test_layout import cut_texts
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.looking import shown
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    wait_for_status,
)

DOWN = "model.layers.1.mlp.down_proj"
BY = "\N{MULTIPLICATION SIGN}"
GATE = "model.layers.1.mlp.gate_proj"
OTHER = "model.layers.1.self_attn.o_proj"


@pytest.fixture
def make_open(qtbot, make_window):
    """Makes windows with the tab open, with a diagnosis unless told otherwise."""

    def make(config=QUICK, *, diagnosed=True):
        window = make_window()
        load_and_wait(qtbot, window, config)
        if diagnosed:
            window._before.diagnosis.diagnose()
            known = lambda: window._before.diagnosis.known is not None  # noqa: E731
            qtbot.waitUntil(known, timeout=TIMEOUT_MS)
        window._centre.open_tab("architecture_tab")
        return window

    return make


def architect_of(window):
    return window._before.architect


def cells(window, name):
    """What the table says of a layer, by column."""
    tree = find(window, "architecture_tree", QTreeView)
    table = tree.model()
    index = table.index_of(name)
    return {
        table.headerData(column, Qt.Orientation.Horizontal): index.siblingAtColumn(
            column
        ).data()
        for column in range(table.columnCount())
    }


def choose_layer(window, name):
    tree = find(window, "architecture_tree", QTreeView)
    tree.setCurrentIndex(tree.model().index_of(name))


def pruning_of(window):
    return window.session.state.config.pruning


def reasons(window):
    return shown(window, "architecture_reasons").replace("\xa0", " ")


def test_a_model_is_shown_as_it_is_until_something_is_known(make_open):
    window = make_open(diagnosed=False)
    source = find(window, "architecture_source_combo", QComboBox)
    assert source.currentText() == "As the model is"
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    assert "Choose a layer" in reasons(window)
    for name in ("protect_layer_button", "limit_layer_button"):
        assert not find(window, name).isEnabled()
    choose_layer(window, DOWN)
    assert "192 rows by 512 columns" in reasons(window)
    assert "Diagnose the model" in reasons(window)


def test_a_plan_shows_widths_and_costs_and_says_why(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    of_down, of_gate = cells(window, DOWN), cells(window, GATE)
    kept = int(of_down["Groups"].split()[-1])
    assert 0 < kept < 512
    assert of_down["Shape"] == f"192{BY}512 → 192{BY}{kept}"
    assert of_gate["Shape"] == f"512{BY}192 → {kept}{BY}192"
    assert of_gate["Cost spent"] == "\N{EN DASH}"
    assert "%" in of_down["Cost spent"]
    said = reasons(window)
    assert f"{kept} of 512 neurons stay" in said
    assert f"{512 - kept} of 511 possible removals" in said
    assert "number" in said
    assert "costs more than that" in said
    choose_layer(window, GATE)
    assert f"with the columns of {DOWN}" in reasons(window)


def test_a_layer_is_protected_and_set_free_again(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == (DOWN,)
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    assert cells(window, DOWN)["Next run"] == "protected"
    assert f"protected by {DOWN}" in reasons(window)
    assert cells(window, GATE)["Next run"] == "stays too"
    assert cells(window, OTHER)["Next run"] == ""
    assert find(window, "protect_layer_button", QPushButton).text() == "Do not protect"
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == ()
    assert cells(window, DOWN)["Next run"] == cells(window, GATE)["Next run"] == ""


def test_a_limit_is_set_changed_and_taken_away(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    share = find(window, "limit_layer_spin", QSpinBox)
    for per_cent, limits in ((80, (f"{DOWN}=0.8",)), (90, (f"{DOWN}=0.9",))):
        share.setValue(per_cent)
        click(window, "limit_layer_button")
        assert pruning_of(window).layer_min_density == limits
    assert cells(window, DOWN)["Groups"] == "512 → 461"
    for name, said in ((DOWN, "≥ 90 %"), (GATE, "≥ 90 %"), (OTHER, "")):
        assert cells(window, name)["Next run"].replace("\xa0", " ") == said
    assert "at least 90 % of it has to stay" in reasons(window)
    share.setValue(0)
    click(window, "limit_layer_button")
    assert pruning_of(window).layer_min_density == ()


def test_the_box_says_what_the_chosen_layer_keeps(make_open):
    window = make_open()
    share = find(window, "limit_layer_spin", QSpinBox)
    choose_layer(window, DOWN)
    share.setValue(90)
    click(window, "limit_layer_button")
    choose_layer(window, GATE)
    assert share.value() == 50
    choose_layer(window, DOWN)
    assert share.value() == 90


def test_the_menu_of_a_layer_does_the_same(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    others = tuple(
        f"model.layers.1.{kind}"
        for kind in (*(f"self_attn.{x}_proj" for x in "qkvo"), "mlp.gate_proj")
    )
    for name, expected in (
        ("limit_half_action", ((), (f"{DOWN}=0.5",))),
        ("protect_layer_action", ((DOWN,), (f"{DOWN}=0.5",))),
        ("free_layer_action", ((), ())),
        ("protect_block_action", (("block 1",), ())),
        ("free_layer_action", ((*others, "model.layers.1.mlp.up_proj"), ())),
        ("protect_block_action", (("block 1",), ())),
        ("protect_layer_action", ((*others, "model.layers.1.mlp.up_proj"), ())),
    ):
        find_action(window, name).trigger()
        assert (
            pruning_of(window).protect,
            pruning_of(window).layer_min_density,
        ) == expected


def find_action(window, name):
    (action,) = window.findChildren(QAction, name)
    return action


def test_the_context_menu_is_that_of_the_row_under_the_mouse(make_open, monkeypatch):
    opened = []
    monkeypatch.setattr(QMenu, "popup", lambda menu, where: opened.append(menu))
    window = make_open()
    tree = find(window, "architecture_tree", QTreeView)
    index = tree.model().index_of("model.layers.0.mlp.up_proj")
    tree.scrollTo(index)
    tree.customContextMenuRequested.emit(tree.visualRect(index).center())
    assert architect_of(window).selected == "model.layers.0.mlp.up_proj"
    assert opened == [find_action(window, "protect_layer_action").parent()]
    tree.customContextMenuRequested.emit(QPoint(5, tree.height() - 2))
    assert len(opened) == 1


def test_after_a_run_its_widths_are_shown_and_the_plan_can_be_chosen(qtbot, make_open):
    window = make_open()
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    source = find(window, "architecture_source_combo", QComboBox)
    assert source.currentText() == "After the run"
    assert [source.itemText(i) for i in range(source.count())] == [
        "After the run",
        "As planned for the target",
        "As the model is",
    ]
    last = window.session.state.run.history[-1]
    told = {layer.name: layer for layer in last.layers}[DOWN]
    assert architect_of(window).architecture.layer(DOWN).removed == told.removed
    choose_layer(window, DOWN)
    assert "threshold of the last shot" in reasons(window)
    source.setCurrentIndex(1)
    assert "would go" in reasons(window)
    assert architect_of(window).architecture.source is Source.PLAN


def test_parts_of_maps_and_of_the_picture_lead_to_their_layer(qtbot, make_open):
    window = make_open()
    window._centre.open_tab("diagnosis_tab")
    parts = find(window, "planned_map", HeatMap)
    cell = next(c for c in parts.cells if c.name == DOWN)
    qtbot.mouseClick(
        parts, Qt.MouseButton.LeftButton, pos=parts.place(cell).center().toPoint()
    )
    assert window._centre.open_name == "architecture_tab"
    assert architect_of(window).selected == DOWN
    picture = find(window, "architecture_picture", BlockPicture)
    spot = next(
        QPoint(x, y)
        for y in range(0, picture.height(), 4)
        for x in range(0, picture.width(), 4)
        if getattr(picture.layer_at(QPoint(x, y).toPointF()), "name", "") == GATE
    )
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton, pos=spot)
    assert architect_of(window).selected == GATE
    assert shown(window, "architecture_layer_label") == GATE


def test_layers_without_groups_are_protected_one_by_one(make_open):
    rows = pruning_config(Structure.ROWS, protect=(DOWN,), sparsity=0.1)
    window = make_open(replace(QUICK, pruning=rows), diagnosed=False)
    assert cells(window, DOWN)["Next run"] == "protected"
    assert cells(window, GATE)["Next run"] == ""


@pytest.mark.parametrize(
    "structure", [Structure.ELEMENTS, Structure.ROWS, Structure.HEADS]
)
def test_every_structure_has_its_reasons_and_no_text_is_cut(
    qtbot, make_open, structure
):
    window = make_open(replace(QUICK, pruning=pruning_config(structure, sparsity=0.1)))
    for layer in architect_of(window).architecture.blocks[0].layers:
        choose_layer(window, layer.name)
        assert reasons(window)
    if structure is Structure.HEADS:
        assert "Nothing of this layer goes" in reasons(window)
    qtbot.waitUntil(lambda: cut_texts(window) == [], timeout=TIMEOUT_MS)


def test_a_plan_removes_from_layers_what_it_takes_from_parts(make_open):
    for structure in (Structure.HEADS_AND_NEURONS, Structure.ROWS, Structure.ELEMENTS):
        config = replace(QUICK, pruning=pruning_config(structure, sparsity=0.25))
        window = make_open(config)
        diagnosis = window._before.diagnosis
        plan, known = diagnosis.plan, diagnosis.known
        found = of_plan(known.model, known.costs, plan, config.pruning)
        assert sum(layer.removed for layer in found.layers) == plan.removed
        assert sum(block.cost for block in found.blocks) == pytest.approx(
            plan.rise, rel=0.01
        )
        assert sum(x.cost_share or 0 for x in found.layers) == pytest.approx(1)


def test_the_table_is_a_model_as_qt_wants_it(qtbot):
    table = ArchitectureTable()
    tester = QAbstractItemModelTester(
        table, QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    for pruning in (PruningConfig(), pruning_config(protect=("block 0",))):
        table.show_architecture(of_model(model_summary(), pruning))
    assert table.rowCount() == 6
    assert table.rowCount(table.index(0, 0)) == 7
    assert table.index(0, 5).data() == "protected"
    del tester


def test_widths_that_change_with_the_target_stay_in_sight(make_open):
    """Columns do not move while a target is dragged, and have room for what it does."""
    window = make_open(replace(QUICK, pruning=pruning_config(sparsity=0.001)))
    tree = find(window, "architecture_tree", QTreeView)
    width = tree.columnWidth(1)
    window.session.edit_pruning(pruning_config(sparsity=0.8))
    assert tree.columnWidth(1) == width
    for name in (DOWN, GATE):
        words = cells(window, name)["Shape"]
        assert "\N{RIGHTWARDS ARROW}" in words
        assert tree.fontMetrics().horizontalAdvance(words) < width


def test_the_picture_of_the_blocks_is_saved_like_a_chart(make_open, tmp_path):
    window = make_open()
    chart = find(window, "architecture_chart", BlockCard)
    picture = find(window, "architecture_picture", BlockPicture)
    for ending in ("png", "svg", "csv"):
        chart.save_picture(tmp_path / f"blocks.{ending}")
    # All blocks, however many of them are in sight, in twice the pixels.
    picture_height = QImage(str(tmp_path / "blocks.png")).height() / 2
    assert picture_height > picture.sizeHint().height() > 0
    assert b"<svg" in (tmp_path / "blocks.svg").read_bytes()
    with (tmp_path / "blocks.csv").open() as file:
        rows = list(csv.DictReader(file))
    layers = [x for b in architect_of(window).architecture.blocks for x in b.layers]
    assert [row["layer"] for row in rows] == [layer.name for layer in layers]
    left = [layer.weights - layer.removed for layer in layers]
    assert [int(row["weights after"]) for row in rows] == left
