"""The layers of a model: sizes before and after, reasons, protection and limits."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QImage
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QMenu, QPushButton, QTreeView

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.state.architecture.state import (
    Architecture,
    LayerShape,
    Source,
    original_architecture,
)
from surgeon_gui.state.result_text import name_of
from surgeon_gui.state.run import Status, requested
from surgeon_gui.views.architecture.architecture_table import ArchitectureTable
from surgeon_gui.views.architecture.block_picture import BlockCard, BlockPicture
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.widget_queries import shown
from tests.helpers.windows import (
    QUICK,
    click,
    diagnosis_of,
    find,
    load_and_wait,
    open_details,
    pruning_of,
    wait_for_status,
    wait_until,
)

DOWN = "model.layers.1.mlp.down_proj"
BY = "\N{MULTIPLICATION SIGN}"
GATE = "model.layers.1.mlp.gate_proj"
OTHER = "model.layers.1.self_attn.o_proj"


@pytest.fixture
def make_open(qtbot, make_window):
    """Return a function that opens the details of a model, diagnosed by default."""

    def make(config=QUICK, *, diagnosed=True):
        window = make_window()
        load_and_wait(qtbot, window, config)
        if diagnosed:
            diagnose(qtbot, window)
        open_details(window)
        return window

    return make


def diagnose(qtbot, window):
    diagnosis_of(window).diagnose()
    wait_until(qtbot, lambda: diagnosis_of(window).known is not None)


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


def test_blocks_and_layers_are_protected_and_limited(make_open):
    window = make_open()
    check_block(window)
    check_layer(window)
    check_limit(window)


def check_block(window):
    tree = find(window, "architecture_tree", QTreeView)
    tree.setCurrentIndex(tree.model().index(1, 0))
    assert "down_proj" in reasons(window)
    assert not find(window, "protect_layer_button").isEnabled()
    protect = find(window, "protect_block_button", QPushButton)
    assert protect.text() == "Protect block"
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ("block 1",)
    assert protect.text() == "Unprotect block"
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ()
    choose_layer(window, DOWN)  # its block is chosen with it
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ("block 1",)
    click(window, "protect_block_button")
    assert pruning_of(window).protect == ()


def test_plan_shows_shapes_costs_and_reasons(qtbot, make_open):
    window = make_open(diagnosed=False)
    source = find(window, "architecture_source_combo", QComboBox)
    assert source.currentIndex() == 0
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    for name in ("protect_layer_button", "limit_layer_button"):
        assert not find(window, name).isEnabled()
    choose_layer(window, DOWN)
    diagnose(qtbot, window)
    choose_layer(window, DOWN)
    of_down, of_gate = cells(window, DOWN), cells(window, GATE)
    kept = int(of_down["Groups"].split()[-1])
    assert 0 < kept < 512
    assert of_down["Shape"] == f"192{BY}512 → 192{BY}{kept}"
    assert of_gate["Shape"] == f"512{BY}192 → {kept}{BY}192"
    assert of_gate["Added loss"] == "\N{EN DASH}"
    assert "%" in of_down["Added loss"]
    texts = reasons(window)
    assert f"{kept} of 512" in texts
    assert f"{512 - kept} of 511" in texts
    choose_layer(window, GATE)
    assert DOWN in reasons(window)


@pytest.mark.parametrize(
    "structure", [Structure.ELEMENTS, Structure.ROWS, Structure.HEADS]
)
def test_removals_of_layers_add_up_to_the_plan(make_open, structure):
    pruning = pruning_config(structure, sparsity=0.1)
    window = make_open(replace(QUICK, pruning=pruning))
    found, plan = controller_of(window).architecture, diagnosis_of(window).plan
    assert sum(layer.removed for layer in found.layers) == plan.removed
    (rise,) = diagnosis_of(window).planner._plans.rises(np.array([plan.removed]))
    assert sum(x.cost for x in found.blocks) == pytest.approx(rise, rel=0.01)
    assert sum(x.cost_share or 0 for x in found.layers) == pytest.approx(1)
    for layer in found.blocks[0].layers:
        choose_layer(window, layer.name)
        assert reasons(window)


def check_layer(window):
    choose_layer(window, DOWN)
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == (DOWN,)
    assert cells(window, DOWN)["Shape"] == f"192{BY}512"
    assert cells(window, DOWN)["Next run"] == "protected"
    assert DOWN in reasons(window)
    assert cells(window, GATE)["Next run"] == "coupled"
    assert cells(window, OTHER)["Next run"] == ""
    assert find(window, "protect_layer_button", QPushButton).text() == "Unprotect"
    click(window, "protect_layer_button")
    assert pruning_of(window).protect == ()
    assert cells(window, DOWN)["Next run"] == cells(window, GATE)["Next run"] == ""


def check_limit(window):
    choose_layer(window, DOWN)
    share = find(window, "limit_layer_spin", QDoubleSpinBox)
    for percent, limits in ((80, (f"{DOWN}=0.8",)), (90, (f"{DOWN}=0.9",))):
        share.setValue(percent)
        click(window, "limit_layer_button")
        assert pruning_of(window).layer_min_density == limits
    assert cells(window, DOWN)["Groups"] == "512 → 461"
    for name, rule in ((DOWN, "≥ 90 %"), (GATE, "≥ 90 %"), (OTHER, "")):
        assert cells(window, name)["Next run"].replace("\xa0", " ") == rule
    choose_layer(window, GATE)
    assert share.value() == 50
    choose_layer(window, DOWN)
    assert share.value() == 90
    share.setValue(0)
    click(window, "limit_layer_button")
    assert pruning_of(window).layer_min_density == ()


def test_context_menu_of_the_row_under_the_mouse_protects_and_limits(
    make_open, monkeypatch
):
    opened = []
    monkeypatch.setattr(QMenu, "popup", lambda menu, where: opened.append(menu))
    window = make_open(diagnosed=False)
    tree = find(window, "architecture_tree", QTreeView)
    tree.scrollTo(tree.model().index_of(DOWN))
    place = tree.visualRect(tree.model().index_of(DOWN)).center()
    tree.customContextMenuRequested.emit(place)
    assert controller_of(window).selected == DOWN
    assert opened == [find_action(window, "protect_layer_action").parent()]
    tree.customContextMenuRequested.emit(QPoint(5, tree.height() - 2))
    assert len(opened) == 1
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


def test_run_has_its_layers_and_the_draft_its_plan_and_model(qtbot, make_open):
    window = make_open()
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    source = find(window, "architecture_source_combo", QComboBox)
    assert offered(source) == ["Planned for the target", "Unpruned model"]
    choose_layer(window, DOWN)
    planned = reasons(window)
    window.runs.show_run()
    click(window, "run_layers_link")
    assert offered(source) == ["After the run"]
    last = window.session.state.run.history[-1]
    expected = {layer.name: layer for layer in last.layers}[DOWN]
    assert controller_of(window).architecture.layer(DOWN).removed == expected.removed
    assert reasons(window) not in ("", planned)
    name = name_of(window.session.state.run)
    back = find(window, "layers_back_button")
    assert back.text() == f"← {name}"
    links = back.parentWidget().findChildren(QPushButton)
    assert links == [back]  # the only one beside the sidebar, which has the list
    back.click()
    assert window.runs.shows_run
    open_details(window)
    assert controller_of(window).architecture.source is Source.PLAN
    assert reasons(window) == planned


def test_layers_of_a_run_that_removed_nothing_say_so(make_open):
    window = make_open(diagnosed=False)
    ended = replace(requested("", QUICK, "folder", 0.0), status=Status.CANCELLED)
    for model in (None, model_summary()):
        window.session.reopen(replace(ended, ended=1.0, model=model), "Canceled")
        window.runs.show_run()
        click(window, "run_layers_link")
        assert "No weights of the layers are removed." in reasons(window)
        assert ("Select a layer" in reasons(window)) is (model is not None)
        assert bool(controller_of(window).architecture.layers) is (model is not None)
    choose_layer(window, DOWN)
    assert "weights are kept" in reasons(window)


def offered(source):
    return [source.itemText(index) for index in range(source.count())]


def test_picture_is_saved_and_clicks_on_it_and_the_map_select_layers(
    qtbot, make_open, tmp_path
):
    window = make_open()
    check_saved_pictures(window, tmp_path)
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


def test_table_has_blocks_with_layers_and_their_rules():
    table = ArchitectureTable()
    for pruning in (PruningConfig(), pruning_config(protect=("block 0",))):
        table.show_architecture(original_architecture(model_summary(), pruning))
    assert table.rowCount() == 6
    assert table.rowCount(table.index(0, 0)) == 7
    assert table.index(0, 5).data() == "protected"
    rows = pruning_config(Structure.ROWS, protect=(DOWN,))  # no coupled layers
    table.show_architecture(original_architecture(model_summary(), rows))
    rules = [table.index_of(name).siblingAtColumn(5).data() for name in (DOWN, GATE)]
    assert rules == ["protected", ""]
    assert table.index(1, 5).data()  # how many layers of the block


def test_same_layers_keep_expansion_and_selection(qtbot):
    tree, table = QTreeView(), ArchitectureTable()
    qtbot.addWidget(tree)
    tree.setModel(table)
    table.show_architecture(original_architecture(model_summary(), PruningConfig()))
    tree.setCurrentIndex(table.index_of(DOWN))
    tree.expand(table.index_of(DOWN).parent())
    protected = pruning_config(protect=("block 0",))
    table.show_architecture(original_architecture(model_summary(), protected))
    assert tree.isExpanded(table.index_of(DOWN).parent())
    assert table.part(tree.currentIndex()).name == DOWN


def check_saved_pictures(window, tmp_path):
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


def test_columns_have_room_for_the_layers_of_closed_blocks(make_open):
    window = make_open(diagnosed=False)
    tree = find(window, "architecture_tree", QTreeView)
    view, controller = find(window, "architecture_view"), controller_of(window)
    first = controller.architecture
    layer = replace(first.layers[0], before=LayerShape(1, 1))
    smaller = replace(first.blocks[0], layers=(layer,))
    for shown_now in (Architecture(blocks=(smaller,)), first):
        controller.architecture = shown_now
        tree.collapseAll()
        view.redraw()
    assert not tree.isExpanded(tree.model().index(0, 0))
    tree.expandAll()
    for column in range(tree.model().columnCount()):
        assert tree.columnWidth(column) >= tree.sizeHintForColumn(column), column


def test_selection_ends_with_another_model(make_open):
    window = make_open(diagnosed=False)
    choose_layer(window, DOWN)
    other = replace(QUICK, model=replace(QUICK.model, source="another"))
    run = requested("", other, "folder", 0.0)
    controller = controller_of(window)
    store = window.session.store
    store.state = replace(store.state, run=replace(run, model=model_summary()))
    controller.show_run(False)
    assert controller.layer is not None
    controller.show_run(True)
    assert controller.architecture.layer(DOWN) is not None
    assert controller.layer is None
