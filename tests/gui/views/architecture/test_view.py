"""The Architecture tab: sizes before and after, reasons, protection and limits."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QImage
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QComboBox, QMenu, QPushButton, QSpinBox, QTreeView

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.state.architecture.state import (
    Source,
    original_architecture,
    planned_architecture,
)
from surgeon_gui.state.run import Status
from surgeon_gui.views.architecture.architecture_table import ArchitectureTable
from surgeon_gui.views.architecture.block_card import BlockCard
from surgeon_gui.views.architecture.block_picture import BlockPicture
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.widget_queries import shown
from tests.helpers.window_audit import cut_texts
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    diagnosis_of,
    find,
    load_and_wait,
    open_tab,
    pruning_of,
    wait_for_status,
)

DOWN = "model.layers.1.mlp.down_proj"
BY = "\N{MULTIPLICATION SIGN}"
GATE = "model.layers.1.mlp.gate_proj"
OTHER = "model.layers.1.self_attn.o_proj"


@pytest.fixture
def make_open(qtbot, make_window):
    """Return a function that makes windows with the tab open, diagnosed by default."""

    def make(config=QUICK, *, diagnosed=True):
        window = make_window()
        load_and_wait(qtbot, window, config)
        if diagnosed:
            diagnosis_of(window).diagnose()
            known = lambda: diagnosis_of(window).known is not None  # noqa: E731
            qtbot.waitUntil(known, timeout=TIMEOUT_MS)
        open_tab(window, "architecture_tab")
        return window

    return make


def controller_of(window):
    return window.findChild(ArchitectureController)


def cells(window, name):
    """Return the cells of a layer by the title of their column."""
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


def reasons(window):
    return shown(window, "architecture_reasons").replace("\xa0", " ")


def test_unpruned_model_is_shown_without_a_diagnosis(make_open):
    window = make_open(diagnosed=False)
    source = find(window, "architecture_source_combo", QComboBox)
    assert source.currentText() == "Unpruned model"
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    assert "Select a layer" in reasons(window)
    for name in ("protect_layer_button", "limit_layer_button"):
        assert not find(window, name).isEnabled()
    choose_layer(window, DOWN)
    assert "192 rows by 512 columns" in reasons(window)
    assert "Diagnose the model" in reasons(window)


def test_block_is_explained_protected_and_unprotected(make_open):
    window = make_open()
    tree = find(window, "architecture_tree", QTreeView)
    tree.setCurrentIndex(tree.model().index(1, 0))
    assert find(window, "architecture_layer_label").text() == "Block 1"
    assert "weights would be removed" in reasons(window)
    assert "down_proj" in reasons(window)
    assert not find(window, "protect_layer_button").isEnabled()
    protect = find(window, "protect_block_button", QPushButton)
    assert protect.text() == "Protect block"
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ("block 1",)
    assert "are protected in the next run" in reasons(window)
    assert protect.text() == "Unprotect block"
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ()
    choose_layer(window, DOWN)  # its block is chosen with it
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ("block 1",)


def test_plan_shows_shapes_costs_and_reasons(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    of_down, of_gate = cells(window, DOWN), cells(window, GATE)
    kept = int(of_down["Groups"].split()[-1])
    assert 0 < kept < 512
    assert of_down["Shape"] == f"192{BY}512 → 192{BY}{kept}"
    assert of_gate["Shape"] == f"512{BY}192 → {kept}{BY}192"
    assert of_gate["Added loss"] == "\N{EN DASH}"
    assert "%" in of_down["Added loss"]
    texts = reasons(window)
    assert f"{kept} of 512 neurons are kept" in texts
    assert f"{512 - kept} of 511 possible removals" in texts
    assert "rank" in texts
    assert "remaining parts cost more than the threshold" in texts
    choose_layer(window, GATE)
    assert f"together with the columns of {DOWN}" in reasons(window)


def test_layer_is_protected_and_unprotected(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == (DOWN,)
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    assert cells(window, DOWN)["Next run"] == "protected"
    assert f"protected by {DOWN}" in reasons(window)
    assert cells(window, GATE)["Next run"] == "coupled"
    assert cells(window, OTHER)["Next run"] == ""
    assert find(window, "protect_layer_button", QPushButton).text() == "Unprotect"
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == ()
    assert cells(window, DOWN)["Next run"] == cells(window, GATE)["Next run"] == ""


def test_limit_is_set_changed_and_removed(make_open):
    window = make_open()
    choose_layer(window, DOWN)
    share = find(window, "limit_layer_spin", QSpinBox)
    for percent, limits in ((80, (f"{DOWN}=0.8",)), (90, (f"{DOWN}=0.9",))):
        share.setValue(percent)
        click(window, "limit_layer_button")
        assert pruning_of(window).layer_min_density == limits
    assert cells(window, DOWN)["Groups"] == "512 → 461"
    for name, rule in ((DOWN, "≥ 90 %"), (GATE, "≥ 90 %"), (OTHER, "")):
        assert cells(window, name)["Next run"].replace("\xa0", " ") == rule
    assert "at least 90 % of it is kept" in reasons(window)
    share.setValue(0)
    click(window, "limit_layer_button")
    assert pruning_of(window).layer_min_density == ()


@pytest.mark.thorough
def test_limit_box_shows_the_limit_of_the_selected_layer(make_open):
    window = make_open()
    share = find(window, "limit_layer_spin", QSpinBox)
    choose_layer(window, DOWN)
    share.setValue(90)
    click(window, "limit_layer_button")
    choose_layer(window, GATE)
    assert share.value() == 50
    choose_layer(window, DOWN)
    assert share.value() == 90


@pytest.mark.thorough
def test_context_menu_actions_protect_and_limit(make_open):
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


@pytest.mark.thorough
def test_context_menu_opens_for_the_row_under_the_mouse(make_open, monkeypatch):
    opened = []
    monkeypatch.setattr(QMenu, "popup", lambda menu, where: opened.append(menu))
    window = make_open()
    tree = find(window, "architecture_tree", QTreeView)
    index = tree.model().index_of("model.layers.0.mlp.up_proj")
    tree.scrollTo(index)
    tree.customContextMenuRequested.emit(tree.visualRect(index).center())
    assert controller_of(window).selected == "model.layers.0.mlp.up_proj"
    assert opened == [find_action(window, "protect_layer_action").parent()]
    tree.customContextMenuRequested.emit(QPoint(5, tree.height() - 2))
    assert len(opened) == 1


def test_run_is_shown_by_default_and_the_plan_can_be_chosen(qtbot, make_open):
    window = make_open()
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    source = find(window, "architecture_source_combo", QComboBox)
    assert source.currentText() == "After the run"
    assert [source.itemText(i) for i in range(source.count())] == [
        "After the run",
        "Planned for the target",
        "Unpruned model",
    ]
    last = window.session.state.run.history[-1]
    expected = {layer.name: layer for layer in last.layers}[DOWN]
    assert controller_of(window).architecture.layer(DOWN).removed == expected.removed
    open_tab(window, "architecture_tab")
    choose_layer(window, DOWN)
    assert "threshold of the last shot" in reasons(window)
    source.setCurrentIndex(1)
    assert "would be removed" in reasons(window)
    assert controller_of(window).architecture.source is Source.PLAN


@pytest.mark.thorough
def test_click_on_map_or_picture_selects_the_layer(qtbot, make_open):
    window = make_open()
    open_tab(window, "diagnosis_tab")
    parts = find(window, "planned_map", HeatMap)
    cell = next(c for c in parts.cells if c.name == DOWN)
    qtbot.mouseClick(
        parts, Qt.MouseButton.LeftButton, pos=parts.place(cell).center().toPoint()
    )
    assert find(window, "architecture_view").isVisible()
    assert controller_of(window).selected == DOWN
    picture = find(window, "architecture_picture", BlockPicture)
    position = next(
        QPoint(x, y)
        for y in range(0, picture.height(), 4)
        for x in range(0, picture.width(), 4)
        if getattr(picture.layer_at(QPoint(x, y).toPointF()), "name", "") == GATE
    )
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton, pos=position)
    assert controller_of(window).selected == GATE
    assert shown(window, "architecture_layer_label") == GATE


@pytest.mark.thorough
def test_layers_without_groups_are_protected_separately(make_open):
    rows = pruning_config(Structure.ROWS, protect=(DOWN,), sparsity=0.1)
    window = make_open(replace(QUICK, pruning=rows), diagnosed=False)
    assert cells(window, DOWN)["Next run"] == "protected"
    assert cells(window, GATE)["Next run"] == ""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "structure", [Structure.ELEMENTS, Structure.ROWS, Structure.HEADS]
)
def test_every_structure_has_reasons_and_no_text_is_cut(qtbot, make_open, structure):
    window = make_open(replace(QUICK, pruning=pruning_config(structure, sparsity=0.1)))
    for layer in controller_of(window).architecture.blocks[0].layers:
        choose_layer(window, layer.name)
        assert reasons(window)
    if structure is Structure.HEADS:
        assert "removes nothing from this layer" in reasons(window)
    qtbot.waitUntil(lambda: cut_texts(window) == [], timeout=TIMEOUT_MS)


@pytest.mark.thorough
def test_removals_of_layers_add_up_to_the_plan(make_open):
    for structure in (Structure.HEADS_AND_NEURONS, Structure.ROWS, Structure.ELEMENTS):
        config = replace(QUICK, pruning=pruning_config(structure, sparsity=0.25))
        window = make_open(config)
        diagnosis = diagnosis_of(window)
        plan, known = diagnosis.plan, diagnosis.known
        found = planned_architecture(known.model, known.costs, plan, config.pruning)
        assert sum(layer.removed for layer in found.layers) == plan.removed
        assert sum(block.cost for block in found.blocks) == pytest.approx(
            plan.rise, rel=0.01
        )
        assert sum(x.cost_share or 0 for x in found.layers) == pytest.approx(1)


@pytest.mark.slow
def test_table_passes_the_model_tester_of_qt(qtbot):
    table = ArchitectureTable()
    tester = QAbstractItemModelTester(
        table, QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    for pruning in (PruningConfig(), pruning_config(protect=("block 0",))):
        table.show_architecture(original_architecture(model_summary(), pruning))
    assert table.rowCount() == 6
    assert table.rowCount(table.index(0, 0)) == 7
    assert table.index(0, 5).data() == "protected"
    del tester


@pytest.mark.thorough
def test_columns_fit_any_target_and_keep_their_width(make_open):
    window = make_open(replace(QUICK, pruning=pruning_config(sparsity=0.001)))
    tree = find(window, "architecture_tree", QTreeView)
    width = tree.columnWidth(1)
    window.session.draft.edit_part(pruning_config(sparsity=0.8))
    assert tree.columnWidth(1) == width
    for name in (DOWN, GATE):
        shape = cells(window, name)["Shape"]
        assert "\N{RIGHTWARDS ARROW}" in shape
        assert tree.fontMetrics().horizontalAdvance(shape) < width


@pytest.mark.thorough
def test_picture_of_the_blocks_is_saved_in_each_format(make_open, tmp_path):
    window = make_open()
    chart = find(window, "architecture_chart", BlockCard)
    picture = find(window, "architecture_picture", BlockPicture)
    for ending in ("png", "svg", "csv"):
        chart.save_picture(tmp_path / f"blocks.{ending}")
    # All blocks, visible or not, at twice the resolution.
    picture_height = QImage(str(tmp_path / "blocks.png")).height() / 2
    assert picture_height > picture.sizeHint().height() > 0
    assert b"<svg" in (tmp_path / "blocks.svg").read_bytes()
    with (tmp_path / "blocks.csv").open() as file:
        rows = list(csv.DictReader(file))
    layers = [x for b in controller_of(window).architecture.blocks for x in b.layers]
    assert [row["layer"] for row in rows] == [layer.name for layer in layers]
    kept = [layer.weights - layer.removed for layer in layers]
    assert [int(row["weights after"]) for row in rows] == kept
