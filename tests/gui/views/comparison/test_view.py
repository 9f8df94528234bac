"""Comparison of runs: their files in one table, and size against quality."""

import csv
import math
from dataclasses import replace

import msgspec
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QLabel

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.pruning import Method, PruningConfig, Structure, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Estimate, TokensRemoved
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_gui.controllers.comparison import ComparisonController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state import bars, comparison
from surgeon_gui.state.comparison import ComparedRun, Point, comparable
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.quality import Quality, measures
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.views.comparison.files_card import FilesCard
from surgeon_gui.views.comparison.size_chart import SizeChart
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.widgets.charts.legend import Legend
from tests.helpers.fake_runs import job, write_run, write_three
from tests.helpers.judgments import judgment
from tests.helpers.widget_queries import shown
from tests.helpers.windows import find, wait_until

NONE = "\N{EN DASH}"


@pytest.fixture
def runs(tmp_path):
    return [
        ComparedRun(folder.name, read_state(folder)) for folder in write_three(tmp_path)
    ]


@pytest.fixture
def view(qtbot, runs):
    view = CompareView()
    qtbot.addWidget(view)
    view.resize(900, 900)
    view.show()
    view.show_runs(tuple(runs))
    return view


def resized(compared, file_bytes, **changes):
    """Return a run whose file has another size."""
    exported = msgspec.structs.replace(
        compared.run.exported, weight_bytes=file_bytes, **changes
    )
    return replace(compared, run=replace(compared.run, exported=exported))


def table_of(runs, context=512):
    """Return the titles, and the texts of each row by its label."""
    titles, *rows = comparison.table(runs, context)
    plain = [[text.replace("\xa0", " ") for text in row] for row in rows]
    return titles[1:], {row[0]: row[1:] for row in plain}


def test_table_has_a_column_for_the_original_and_each_file(runs):
    titles, rows = table_of(runs)
    assert titles == ("Bundled demo, original", "a", "b", "c")
    close, far = "Close to the original", "Noticeably different"
    assert rows["Verdict"] == [NONE, close, close, far]
    assert rows["File"] == ["11.3 MB", "8.4 MB", "8.4 MB", "8.4 MB"]
    assert [x.split(" (")[0] for x in rows["Same top token, built-in"]] == [
        *(NONE, "95.3 %", "95.3 %", "73.3 %"),
    ]
    assert "Same top token, text by the model itself" in rows
    assert rows["Perplexity (per token), built-in"][:2] == ["14.20", "14.90"]
    assert rows["Time"] == [NONE, "17 s", "21 s", "17 s"]
    assert rows["KL, built-in"][1] == "0.048 (0.043 to 0.053)"
    assert "KL, text by the model itself" in rows
    assert rows["Setting: Shots"] == [NONE, "3 shots", "4 shots", "3 shots"]
    assert rows["Best for"] == ["0.25 GB and more", NONE, NONE, NONE]


def test_memory_of_all_files_is_at_one_context(runs):
    config = RunConfig(
        pruning=PruningConfig(target=Target.MEMORY, memory_gigabytes=1.0, context=3000)
    )
    other = replace(runs[1], run=replace(runs[1].run, config=config))
    assert bars.memory_bytes(other.run)[1] == 3000
    titles, rows = table_of([runs[0], other], 512)
    memories = [label for label in rows if label.startswith("Memory, ")]
    assert memories == ["Memory, 512 tokens"]
    assert rows[memories[0]][1] == rows[memories[0]][2]  # files of the same size
    assert len(titles) == 3


def test_memory_of_a_file_is_rounded_up(runs):
    run = runs[0].run
    weights = 7_010_000 - memory_beside_weights(512, run.model)
    exported = msgspec.structs.replace(run.exported, weight_bytes=weights)
    _, rows = table_of([ComparedRun("a", replace(run, exported=exported))])
    assert rows["Memory, 512 tokens"][1] == "7.1 MB"


def test_run_without_a_file_has_its_outcome(tmp_path, runs):
    failed = read_state(write_run(tmp_path, "d", ending="failed", hour=9))
    failed = replace(failed, recovered=None, history=())
    _, rows = table_of([*runs, ComparedRun("d", failed)])
    assert rows["Verdict"][4] == "Failed"
    for name in ("File", "Memory, 512 tokens", "Format", "KL, built-in"):
        assert rows[name][4] == NONE
    _, rows = table_of([ComparedRun("e", RunState())])
    assert rows == {"Verdict": ["Running"]}


def test_run_that_was_finished_during_recovery_says_so(runs):
    assert "Status" not in table_of(runs)[1]
    early = msgspec.structs.replace(runs[0].run.result, stopped_early=True)
    stopped = ComparedRun("a", replace(runs[0].run, result=early))
    _, rows = table_of([stopped, *runs[1:]])
    assert rows["Status"] == [NONE, "Stopped during recovery", NONE, NONE]
    gone = [replace(each, is_export_gone=True) for each in (stopped, runs[1])]
    _, rows = table_of([*gone, runs[2]])
    both = "Stopped during recovery, no exports left"
    assert rows["Status"] == [NONE, both, "No exports left", NONE]


def test_run_in_progress_has_no_figures_yet(runs):
    busy = replace(runs[0].run, status=Status.RUNNING, result=None, ended=None)
    _, rows = table_of([*runs[1:], ComparedRun("d", comparable(busy))])
    cells = {x: y[-1] for x, y in rows.items() if not x.startswith("Setting")}
    assert cells.pop("Verdict") == "Running"
    assert {*cells.values()} == {NONE}


def test_figures_are_those_of_the_file(runs):
    first = runs[0].run.evaluation.fidelity[0]
    coarse = msgspec.structs.replace(
        first,
        divergence=Estimate(2.5, 2.4, 2.6),
        agreement=Estimate(0.2, 0.1, 0.3),
        perplexity=Estimate(30.5, 30.0, 31.0),
    )
    compared = resized(runs[0], 4_000_000, fidelity=(coarse,))
    _, rows = table_of([compared])
    assert rows["Verdict"][1] == "Broken"
    assert rows["KL, built-in"][1] == "2.50 (2.40 to 2.60)"
    assert rows["Same top token, built-in"][1] == "20.0 % (10.0 % to 30.0 %)"
    assert rows["Perplexity (per token), built-in"] == ["14.20", "30.50"]
    for measure, value in (
        (Quality.DIVERGENCE, 2.5),
        (Quality.PERPLEXITY, 30.5),
        (Quality.LOSS, math.log(30.5)),
    ):
        (_, point) = comparison.points([compared], measure)
        assert (point.size, point.quality) == (4.0, value)
    older = resized(runs[0], 4_000_000, saving_divergence=0.5)
    _, rows = table_of([older])
    assert rows["KL, built-in"][1] == "0.55"


def test_runs_are_in_the_order_of_their_files(runs):
    small = resized(runs[0], 4_000_000)
    unsaved = replace(runs[1], run=replace(runs[1].run, exported=None))
    assert comparison.by_size([small, unsaved, runs[2]]) == (runs[2], small, unsaved)


def test_points_have_one_original_and_mark_the_best(tmp_path, runs):
    sizes = (8_000_000, 6_000_000, 8_000_000)
    runs = [resized(*pair) for pair in zip(runs, sizes, strict=True)]
    for measure in (Quality.PERPLEXITY, Quality.AGREEMENT):
        found = comparison.points(runs, measure)
        originals = [point.name for point in found if point.run is None]
        assert originals == ["Bundled demo, original"]
        best = comparison.front(found)
        # "b" is smaller than "a" and as good; "c" is worse than both.
        assert [point.name for point in best] == ["b", "Bundled demo, original"]
        assert [point.size for point in best] == sorted(point.size for point in best)
    unsaved = read_state(write_run(tmp_path, "d", ending="cancelled", hour=9))
    others = [ComparedRun("d", unsaved), ComparedRun("e", RunState())]
    found = comparison.points([*runs, *others], Quality.PERPLEXITY)
    assert {point.name for point in found} == {"a", "b", "c", *originals}


def test_files_of_different_originals_have_no_best(view, runs):
    copied = (*runs, of_original("copy", runs[0]))
    titles, rows = table_of(copied)
    assert titles == ("Bundled demo, original", "a", "b", "c", "copy")
    assert "Best for" in rows
    assert len(comparison.points(copied, Quality.PERPLEXITY)) == 5
    runs = (*runs, of_original("other", runs[0], loss=0.1))
    found = comparison.points(runs, Quality.DIVERGENCE)
    assert len(found) == 6 and comparison.front(found) == ()
    assert "Best for" not in table_of(runs)[1]
    assert shown(view, "compare_protocol_note") == ""
    assert "Best for their size" in names_in_legends(view)
    view.show_runs(runs)
    assert "different models" in shown(view, "compare_protocol_note")
    assert "original" in names_in_legends(view)
    assert "Best for their size" not in names_in_legends(view)


def of_original(source, compared, loss=0.0):
    """Return a run of another folder, whose original has a higher loss."""
    run = compared.run
    baseline = msgspec.structs.replace(run.baseline, loss=run.baseline.loss + loss)
    config = replace(run.config, model=ModelConfig(source))
    return ComparedRun(source, replace(run, config=config, baseline=baseline))


def names_in_legends(view):
    return " ".join(each.accessibleName() for each in view.findChildren(Legend))


def test_equal_models_are_both_best():
    same = (Point("x", 1.0, 2.0), Point("y", 1.0, 2.0), Point("z", 1.0, 3.0))
    marked = comparison._with_best_marked(same)
    assert [point.is_best for point in marked] == [True, True, False]


def test_only_different_settings_are_listed(runs):
    rows = settings_list.differences([each.run.config for each in runs])
    table = {row[0]: row[1:] for row in rows}
    assert set(table) == {"What to prune", "Sparsity", "Shots"}
    heads, same, neurons = table["What to prune"]
    assert heads == same != neurons
    assert table["Shots"] == ("3\xa0shots", "4\xa0shots", "3\xa0shots")
    patterns = settings_list.differences([job(), job(structure=Structure.N_M)])
    # A dash stands for a setting that does not apply.
    assert {row[0]: row[1:] for row in patterns}["Pattern"] == ("\N{EN DASH}", "2:4")
    assert settings_list.differences([job(), job()]) == ()


def test_all_settings_have_texts():
    dataset = RunConfig(calibration=CalibrationConfig(text="hf://datasets/a/b"))
    magnitude = job(method=Method.MAGNITUDE, protect=("block 0",))
    for config in (RunConfig(), dataset, magnitude):
        settings = settings_list.settings(config)
        assert all(setting.value for setting in settings)
    values = {setting.name: setting.value for setting in settings}
    assert values["pruning.protect"] == "block 0"
    assert values["model.source"] == "Bundled demo"
    assert values["pruning.sparsity"] == "30\xa0%"
    assert values["pruning.max_perplexity_increase"] == "No limit"
    assert "pruning.damping" not in values  # magnitudes are not damped
    assert "calibration.column" not in values  # the built-in text is no table
    assert "calibration.rows" not in values
    values = {x.name: x.value for x in settings_list.settings(dataset)}
    assert values["calibration.split"] == "Automatic"
    assert values["calibration.rows"].startswith("2,000")
    assert "calibration.more_texts" not in values
    more = (MoreText("hf://datasets/a/b", 0.25), MoreText("notes/c.txt", 0.125))
    mixed = RunConfig(calibration=CalibrationConfig(more_texts=more))
    values = {x.name: x.value for x in settings_list.settings(mixed)}
    assert values["calibration.more_texts"] == "25\xa0% a/b, 12.5\xa0% c.txt"
    assert "calibration.split" not in values
    assert values["calibration.rows"].startswith("2,000")


@pytest.mark.parametrize("changes", [{"windows": 8}, {"beginning": "<bos>"}])
def test_protocol_note_warns_about_incomparable_perplexities(runs, changes):
    assert comparison.protocol_note(runs) == ""
    other = msgspec.structs.replace(runs[0].run.baseline, **changes)
    changed = ComparedRun("d", replace(runs[0].run, baseline=other))
    assert comparison.protocol_note([*runs, changed])
    assert comparison.front(comparison.points([*runs, changed], Quality.LOSS)) == ()
    assert "Best for" not in table_of([*runs, changed])[1]


def without_fidelity(compared):
    baseline = msgspec.structs.replace(compared.run.baseline, fidelity=())
    return replace(compared, run=replace(compared.run, baseline=baseline))


def test_divergence_is_the_first_measure_if_all_runs_have_it(runs):
    assert measures(each.run for each in runs)[0] is Quality.DIVERGENCE
    old = without_fidelity(runs[0])
    assert measures(each.run for each in [old, *runs[1:]])[0] is Quality.PERPLEXITY
    assert measures([old.run]) == (Quality.PERPLEXITY, Quality.LOSS)


def test_protocol_note_covers_the_further_texts(runs):
    baseline = runs[0].run.baseline
    first, other = baseline.fidelity
    shorter = msgspec.structs.replace(other, windows=8)
    changed = msgspec.structs.replace(baseline, fidelity=(first, shorter))
    compared = ComparedRun("d", replace(runs[0].run, baseline=changed))
    assert comparison.protocol_note([*runs, compared])
    assert comparison.protocol_note([*runs, of_original("other", runs[0], loss=0.1)])
    assert comparison.protocol_note([*runs, of_original("copy", runs[0])]) == ""
    assert comparison.protocol_note([*runs, without_fidelity(runs[0])]) == ""
    judged = ComparedRun("d", replace(runs[0].run, judgment=judgment()))
    assert comparison.protocol_note([*runs, judged])


def test_page_with_fewer_than_two_runs_says_what_to_do(view, runs):
    view.show_runs((runs[0],))
    assert shown(view, "compare_note")
    assert not find(view, "compare_size_chart").isVisible()
    view.show_runs(tuple(runs))
    assert find(view, "compare_size_chart").isVisible()
    assert shown(view, "compare_note") == ""


def test_chart_and_table_are_saved_in_each_format(view, tmp_path):
    for name, chart in view.charts.items():
        for ending in ("png", "svg", "csv"):
            chart.save_picture(tmp_path / f"{name}.{ending}")
        assert QImage(str(tmp_path / f"{name}.png")).width() > 400
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    with (tmp_path / "sizes.csv").open() as file:
        titles, *rows = csv.reader(file)
    assert titles[-1] == "best for its size"
    assert len(rows) == 4
    with (tmp_path / "files.csv").open() as file:
        assert next(csv.reader(file))[1] == "Bundled demo, original"


def test_measure_can_be_chosen_and_points_say_their_values(view, runs):
    chart = find(view, "compare_size_chart", SizeChart)
    measure = find(view, "compare_measure_combo", QComboBox)
    assert measure.currentText() == "Fidelity (KL)"
    assert chart._reading_at(QPointF(11.31, 0)).text.startswith("Bundled demo, orig")
    assert chart._reading_at(QPointF(11.31, 0.02)) is None
    measure.setCurrentIndex(measure.findText("Loss"))
    assert chart.rows()[0][2] == "Loss (nats per token), built-in"
    view.show_runs(tuple(runs[:2]))
    assert measure.currentText() == "Loss"


def test_table_follows_the_context(view, runs):
    card = find(view, "compare_files_chart", FilesCard)
    box = card.findChild(QDoubleSpinBox, "compare_context_box")
    assert box.value() == 512  # the model's limit
    assert box in [label.buddy() for label in card.findChildren(QLabel)]
    assert "Memory, 512 tokens" in [row[0] for row in card.rows()]
    box.setValue(100_000)
    rows = {row[0]: row[1:] for row in card.rows()}
    assert "Memory, 100,000 tokens" in rows
    assert "512" in rows["Fits in"][0]  # as many as the model supports
    view.show_runs(tuple(runs[:2]))
    assert box.value() == 100_000


def test_ticked_runs_are_read_and_compared(qtbot, session, tmp_path):
    folders = [str(folder) for folder in write_three(tmp_path)]
    runs = RunsController(session)
    controller = ComparisonController(runs)
    wait_until(qtbot, lambda: len(runs.state.records) == 3)
    for count in (1, 2, 3):
        runs.tick(folders[count - 1], True)
        wait_until(qtbot, lambda count=count: len(controller.compared) == count)
    assert {x.name for x in controller.compared} == {*runs.state.titles.values()}
    (tmp_path / "b" / "export").rmdir()
    runs.refresh()
    wait_until(qtbot, lambda: any(x.is_export_gone for x in controller.compared))
    gone = [x.run.folder for x in controller.compared if x.is_export_gone]
    assert gone == [str(tmp_path / "b")]
    runs.tick_only(())
    assert controller.compared == ()


def test_tokens_are_compared_where_a_run_has_removed_some(runs):
    titles = [row[0] for row in comparison.table(runs, 4096)]
    assert "Vocabulary" not in titles
    first, *others = runs
    tokens = TokensRemoved(before=2_048, after=1_500)
    changed = [replace(first, run=replace(first.run, tokens=tokens)), *others]
    rows = {row[0]: row[1:] for row in comparison.table(changed, 4096)}
    whole = f"{first.run.model.vocabulary:,}"
    assert rows["Vocabulary"] == (whole, "1,500", whole, whole)
    assert "Compared at" not in rows  # it was compared at all
