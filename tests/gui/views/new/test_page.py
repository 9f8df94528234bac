"""The page New: few clicks and few words from a model to a started run."""

import os
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
)

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Damping,
    Method,
    PruningConfig,
    Structure,
    Target,
    Vocabulary,
)
from surgeon_engine.api.config.purposes import Purpose
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.export_marker import MARKER
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import Engine, with_request, without_requests
from surgeon_gui.state.job import headline
from surgeon_gui.state.job.changes import changes, without_changes
from surgeon_gui.state.job.purposes import purpose_of, with_languages
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.text.problems import Kind, Problem, Step, sentence
from surgeon_gui.text.verdicts import PHRASES
from surgeon_gui.views.new import model_card
from surgeon_gui.views.new.curve import SizeCurve
from tests.helpers.configs import some_tokens
from tests.helpers.fake_engine import evaluation
from tests.helpers.fake_machine import machine
from tests.helpers.fake_sources import fewer_tokens
from tests.helpers.widget_queries import choose_unit, size_shown, type_size
from tests.helpers.window_audit import settle
from tests.helpers.windows import (
    click,
    drop,
    find,
    run_of,
    wait_for_status,
    wait_until,
)

MAX_WORDS = 120
TEXTS = (QLabel, QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit)
COMPOSITE = (QComboBox, QAbstractSpinBox)  # with inner parts


def line(place, name, kind=QLabel):
    return find(place, name, kind).text().replace("\N{NO-BREAK SPACE}", " ")


def config(place) -> RunConfig:
    return place.session.state.config


def is_checked(place, name):
    return find(place, name).isChecked()


def press_curve(place, part):
    """Click the curve at a part of its width."""
    curve = find(place, "size_curve", SizeCurve)
    left = Qt.MouseButton.LeftButton
    QTest.mouseClick(curve, left, pos=QPoint(int(part * curve.width()), 50))
    return curve.share


# from a model to a run


@pytest.mark.parametrize("has_size", [False, True])
def test_dropped_file_is_pruned_by_a_click_or_two(qtbot, window, tmp_path, has_size):
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    drop(window, tmp_path / "mine.gguf")
    start = find(window, "start_button")
    wait_until(qtbot, start.isEnabled)
    share = press_curve(window, 0.6) if has_size else 0.3
    size = float(size_shown(window).removesuffix(" MB"))
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert run_of(window).config.model.source == str(tmp_path / "mine.gguf")
    pruning = run_of(window).config.pruning
    if has_size:
        assert 0 <= size - pruning.megabytes < 0.01  # rounded up
    else:
        assert pruning.sparsity == pytest.approx(share)
    assert window.runs.shows_run


def test_sample_that_arrives_replaces_no_model_chosen_meanwhile(
    place, tmp_path, monkeypatch
):
    monkeypatch.setattr(model_card, "smollm2", lambda: "")
    card = place.model_card
    monkeypatch.setattr(card.sample_download, "start", lambda: None)
    for n, is_other_chosen in enumerate((False, True)):
        sample, other = str(tmp_path / f"sample-{n}.gguf"), str(tmp_path / "other")
        card.use_sample()
        if is_other_chosen:
            place.session.draft.choose_model(other)
        card.sample_download.arrived.emit(sample)
        assert config(place).model.source == (other if is_other_chosen else sample)


def words(widget):
    shown = [
        getattr(each, "text", None) or each.currentText
        for kind in TEXTS
        for each in widget.findChildren(kind)
        if each.isVisible() and not isinstance(each.parentWidget(), COMPOSITE)
    ]
    painted = " ".join(PHRASES.values())  # on the curve
    return " ".join([*(text() for text in shown), painted]).split()


def test_page_has_few_words_until_expert_is_open(place):
    assert len(words(place)) <= MAX_WORDS
    place.open_expert(Step.TARGET)
    assert len(words(place)) > MAX_WORDS  # they are counted


# the size


def test_curve_and_number_are_the_same_size(place):
    curve = find(place, "size_curve", SizeCurve)
    assert curve.share == pytest.approx(0.3)
    share = press_curve(place, 0.6)
    assert share == pytest.approx(0.55, abs=0.02)
    assert config(place).pruning.sparsity == pytest.approx(share)
    assert size_shown(place) == f"{100 * share:.4g} %"
    type_size(place, "20 %")
    assert curve.share == pytest.approx(0.2, abs=1e-5)
    assert line(place, "plan_label").startswith("11.3 MB to 9.4 MB")


def test_curve_is_there_once_the_model_has_been_read(place):
    session = place.session
    ready = session.state
    session.store.set(replace(ready, requests={}))
    curve = find(place, "size_curve", SizeCurve)
    assert curve.share is None
    assert line(place, "forecast_basis") == ""
    assert find(place, "start_button").isEnabled()  # it starts as soon as it can
    bar = find(place, "model_reading_bar", QProgressBar)
    assert bar.isVisible()
    assert bar.maximum() == 0  # it moves
    assert curve.accessibleDescription().startswith("Reading Bundled demo: layers")
    starting = replace(ready, requests={}, engine=Engine.STARTING)
    session.store.set(starting)
    assert bar.isVisible()
    assert "engine is starting" in curve.accessibleDescription()
    failed = Request("inspect-1", error=Failed("It is damaged.", ""))
    broken = replace(ready, requests={RequestKind.INSPECTION: failed})
    running = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    for state in (broken, replace(broken, run=running)):
        session.store.set(state)
        assert not bar.isVisible()
        assert curve.accessibleDescription() == ""
        assert line(place, "model_problem") == "It is damaged."
        assert line(place, "plan_warning") == ""
        assert "It is damaged." in find(place, "start_button").toolTip()
    session.store.set(ready)
    assert curve.share == pytest.approx(0.3)
    assert not bar.isVisible()


def test_finished_runs_of_the_model_are_the_basis(place):
    assert line(place, "forecast_basis") == "estimated from runs of similar models"
    found = evaluation(18.0).fidelity
    record = RunRecord(
        "/runs/a", RunOutcome.FINISHED, config=config(place), sparsity=0.3
    )
    place.fake_runs.state.records = (replace(record, fidelity=found),)
    place.fake_runs.changed.emit()
    assert line(place, "forecast_basis") == "estimated from 1 run of this model"
    curve = find(place, "size_curve", SizeCurve)
    assert curve.curve.places == pytest.approx([0.3])
    pruning = replace(config(place).pruning, **some_tokens(1_500))
    place.session.draft.edit_part(pruning)
    assert 0.0 < curve.curve.places[0] < 0.3  # whose axis starts with fewer tokens
    place.fake_runs.state.records = ()


def test_size_that_cannot_be_reached_says_so_below_the_curve(place):
    choose_unit(place, "parameters")
    type_size(place, "0.1 M")
    assert "2,433,024" in line(place, "plan_warning")
    assert line(place, "plan_details") == ""
    assert line(place, "plan_label") == ""
    assert not find(place, "start_button").isEnabled()
    type_size(place, "2.0 M")
    assert "likely" in line(place, "plan_label")


@pytest.mark.parametrize(
    ("wanted", "used", "reached", "words"),
    [  # limits are rounded up, so that they can be typed
        (0.1, "2.5", "2.5", "the model takes 2.5 MB even without"),
        (2.0, "2.5", "2.5", "The smallest possible size is 2.5 MB: at most"),
        (50.0, "11.4", "11.3", "the unpruned model takes 11.4 MB"),
    ],
)
def test_nearest_size_that_can_be_reached_is_a_click(
    place, wanted, used, reached, words
):
    use = find(place, "use_possible_button")
    choose_unit(place, "file_size")
    assert not use.isVisible()
    type_size(place, f"{wanted} MB")
    assert use.text().replace("\N{NO-BREAK SPACE}", " ") == f"Use {used} MB"
    told = sentence(place.session.state.problems[Step.TARGET][0])
    assert words in told.replace("\N{NO-BREAK SPACE}", " ")
    click(place, "use_possible_button")
    assert f"to {reached} MB, likely" in line(place, "plan_label")
    assert not use.isVisible()
    place.session.draft.reject_edit(Step.TARGET, "A limit is refused.")
    assert line(place, "plan_label") == ""  # it would describe the edit before
    assert not use.isVisible()  # it is no problem of the size


@pytest.mark.parametrize(
    ("unit", "wanted", "used"),
    [("file_size", "11.31 MB", "11.2 MB"), ("prunable_share", "0.1 %", "1.6 %")],
)
def test_target_below_the_smallest_step_becomes_that_step(place, unit, wanted, used):
    pruning = replace(config(place).pruning, structure=Structure.HEADS, sparsity=0.1)
    place.session.draft.edit_part(pruning)
    choose_unit(place, unit)
    type_size(place, wanted)
    told, use = line(place, "plan_warning"), find(place, "use_possible_button")
    assert ("leaves about 11.2 MB: at least" in told) is ("MB" in wanted)
    assert use.isVisible()
    assert use.text().replace("\N{NO-BREAK SPACE}", " ") == f"Use {used}"
    click(place, "use_possible_button")
    assert find(place, "start_button").isEnabled()


@pytest.mark.parametrize("width", [700, 824, 1200])
def test_problem_of_any_length_leaves_the_size_where_it_is(place, width):
    place.resize(width, 640)
    places = set()
    for text in ("8 MB", "abc", "0.1 MB", "2.0 MB", "50 MB", "30 %", "96 %"):
        type_size(place, text)
        settle()
        places.add(find(place, "pruning_size").mapTo(place, QPoint()).y())
    assert len(places) == 1


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("prunable_share", "96 %"),
        ("parameter_share", "95 %"),
        ("parameters", "0.1 M"),
    ],
)
def test_size_offered_is_in_the_unit_of_the_target(place, unit, wanted):
    choose_unit(place, unit)
    type_size(place, wanted)
    offered = find(place, "use_possible_button").text()
    click(place, "use_possible_button")
    assert "likely" in line(place, "plan_label")
    assert offered.replace("\N{NO-BREAK SPACE}", " ").endswith(f" {size_shown(place)}")


def test_size_offered_for_a_share_that_is_shown_as_a_file_is_one_of_a_file(place):
    state = place.session.state
    heads = replace(state.config.pruning, structure=Structure.HEADS)
    export = ExportConfig(format=Format.GGUF, dtype=FileDtype.FLOAT16)
    place.session.draft.edit(replace(state.config, pruning=heads, export=export))
    told = line(place, "plan_warning")
    offered = line(place, "use_possible_button", QPushButton).removeprefix("Use ")
    assert size_shown(place).endswith(" MB") and offered.endswith(" MB")
    assert f"The smallest possible size is {offered}." in told
    click(place, "use_possible_button")
    assert f"to {offered}" in line(place, "plan_label")


def test_text_that_is_no_size_stops_the_start_until_another_is_typed(place):
    before, start = config(place), find(place, "start_button")
    size = find(place, "pruning_size", QLineEdit)
    for correct in (
        lambda: type_size(place, "30 %"),  # as before
        lambda: press_curve(place, 0.3),
        lambda: place.session.draft.load(before),
        place.session.draft.drop_rejected,
    ):
        type_size(place, "abc")
        assert config(place) == before
        assert "abc" in line(place, "plan_warning")
        assert not start.isEnabled()
        place.session.draft.set_run_parent("elsewhere")  # redraws and checks again
        assert size.text() == "abc" and size.property("invalid")
        correct()
        assert size.text() != "abc" and not size.property("invalid")
        assert start.isEnabled()
        place.session.draft.edit(before)


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT16, FileDtype.IQ4_NL, FileDtype.Q4_0])
def test_band_at_the_handle_has_the_verdict_of_the_title(place, dtype):
    job = replace(config(place), export=ExportConfig(format=Format.GGUF, dtype=dtype))
    place.session.draft.edit(job)
    for share in (0.05, 0.3, 0.6):
        type_size(place, f"{100 * share} %")
        drawn = find(place, "size_curve", SizeCurve).curve
        divergence = drawn.forecast.at(share)
        label = next(b.label for b in drawn.bands if divergence <= b.worst)
        assert line(place, "plan_label").endswith(f"likely {label}")


def test_quantizing_alone_is_a_click(place):
    alone = find(place, "quantize_only_button")
    assert alone.isVisible()
    assert line(place, "plan_warning") == "8 bits (Q8_0) alone is as small and closer"
    assert "of memory" in line(place, "plan_details")  # not in amber
    place.resize(1104, 700)  # in a window of 1280 pixels
    settle()
    details = find(place, "plan_details", QLabel)
    needed = details.fontMetrics().horizontalAdvance(details.text())
    assert needed < details.width()
    place.open_expert(Step.EXPORT)
    settle()
    assert needed < details.width()
    find(place, "expert_close_button").click()
    click(place, "quantize_only_button")
    assert not find(place, "plan_warning").isVisible()
    assert config(place).pruning.removes_nothing
    export = config(place).export
    assert (export.format, export.dtype) == (Format.GGUF, FileDtype.Q8_0)
    assert not alone.isVisible()
    assert line(place, "plan_label").endswith("nothing is removed")
    click(place, "purpose_smaller_button")  # it removes something again
    assert config(place).pruning.sparsity == PruningConfig().sparsity
    assert config(place).export == ExportConfig()


# purposes


def test_purposes_follow_the_draft(place):
    assert is_checked(place, "purpose_smaller_button")
    click(place, "purpose_faster_button")
    assert purpose_of(config(place), place.session.state.model) is Purpose.FASTER
    assert not is_checked(place, "purpose_smaller_button")
    assert config(place).pruning == PruningConfig(width_multiple=64)
    click(place, "purpose_faster_button")  # again: it stays
    assert is_checked(place, "purpose_faster_button")
    place.session.draft.edit_part(ExportConfig(format=Format.MASKED))
    checked = [is_checked(place, f"purpose_{p.value}_button") for p in Purpose]
    assert checked == [False, False]
    click(place, "purpose_smaller_button")
    assert config(place) == RunConfig()


def lit(place):
    """Return the purposes whose chips are lit."""
    return [p for p in Purpose if is_checked(place, f"purpose_{p.value}_button")]


@pytest.mark.parametrize("purpose", Purpose)
def test_purpose_is_lit_whenever_its_settings_are_in_force(place, purpose):
    click(place, f"purpose_{purpose.value}_button")
    dtype = find(place, "export_dtype", QComboBox)
    widths = find(place, "pruning_widths", QComboBox)
    for box in (dtype, widths):
        box.setCurrentIndex(2 if box is dtype else 1)
        assert lit(place) == []
        box.setCurrentIndex(0)
        assert lit(place) == [purpose]
    find(place, "export_save_progress").setChecked(False)
    find(place, "pruning_shots").setValue(3)
    assert lit(place) == [purpose]
    other = Purpose.FASTER if purpose is Purpose.SMALLER else Purpose.SMALLER
    multiple = find(place, "pruning_width_multiple")
    multiple.setValue(64 if purpose is Purpose.SMALLER else 0)
    assert lit(place) == [other]
    # The model is read again, such as after a change of the computer.
    store = place.session.store
    store.set(without_requests(store.state, RequestKind.INSPECTION))
    assert place.session.state.model is None
    assert lit(place) == [other]


def texts(tmp_path, *names):
    """Write texts; return their paths."""
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text("mine")
    return [str(path) for path in paths]


def test_own_text_is_explained_before_it_is_asked_for(place):
    chip, note = find(place, "purpose_text_button"), find(place, "domain_line")
    assert not note.isVisible()
    chip.click()
    assert note.isVisible()
    assert "drop them here" in find(place, "domain_note", QLabel).text()
    assert place.findChild(QFileDialog) is None
    assert find(place, "domain_files_button").hasFocus()
    assert not chip.isChecked()  # the run would read the built-in text
    chip.click()
    assert not note.isVisible()
    assert not chip.isChecked()


def test_own_texts_are_chosen_and_taken_back(place, tmp_path):
    chosen = texts(tmp_path, "notes.txt", "letters.txt")
    chip = find(place, "purpose_text_button")
    chip.click()
    click(place, "domain_files_button")
    dialog = place.findChild(QFileDialog)
    assert "texts like those your model will read" in dialog.windowTitle()
    dialog.filesSelected.emit(chosen)
    dialog.done(1)
    calibration = config(place).calibration
    assert calibration.all_texts == tuple(chosen)
    assert calibration.window_counts == (calibration.windows // 2,) * 2
    assert chip.isChecked()
    assert chip.text() == "My domain: notes.txt and 1 more"
    assert not find(place, "domain_line").isVisible()
    place.session.draft.edit_part(replace(calibration, windows=8))
    chip.click()
    assert config(place).calibration == CalibrationConfig(windows=8)
    assert not chip.isChecked()


def test_canceled_choice_of_texts_leaves_the_purpose(place):
    click(place, "purpose_faster_button")
    before = config(place)
    chip = find(place, "purpose_text_button")
    chip.click()
    click(place, "domain_files_button")
    place.findChild(QFileDialog).reject()
    assert not chip.isChecked()
    assert not find(place, "domain_line").isVisible()
    assert is_checked(place, "purpose_faster_button")
    assert config(place) == before


def test_demo_keeps_the_settings_and_another_job_its_languages(place, actions):
    own = with_languages(config(place), ("German",))
    own = replace(own, model=ModelConfig("another"))
    own = replace(own, calibration=CalibrationConfig("mine.txt", windows=9))
    place.session.draft.load(own)
    row = find(place, "languages_line")
    row.show()
    actions["use_demo_action"].trigger()
    assert config(place) == replace(own, model=ModelConfig(DEMO))
    assert not row.isHidden()
    place.session.draft.load(RunConfig())
    assert row.isHidden()
    assert not is_checked(place, "purpose_languages_button")


def test_languages_to_keep_are_asked_for_and_taken_back(place):
    chip, row = find(place, "purpose_languages_button"), find(place, "languages_line")
    assert not row.isVisible()
    chip.click()
    assert row.isVisible()
    settle()
    note = row.findChild(QLabel)
    assert note.width() >= note.fontMetrics().horizontalAdvance(note.text())
    assert not config(place).pruning.removes_tokens  # nothing is named yet
    edit = find(place, "languages_edit", QLineEdit)
    edit.setText("German,  Cyrillic ,")
    edit.editingFinished.emit()
    assert config(place).pruning.vocabulary is Vocabulary.AUTOMATIC
    assert config(place).pruning.kept_texts == ("German", "Cyrillic")
    assert chip.text() == "Keep German, Cyrillic"
    assert is_checked(place, "purpose_smaller_button")
    assert find(place, "expert_button").text() == "Expert"  # it is a purpose
    chip.click()
    assert config(place) == RunConfig()
    assert not chip.isChecked()
    assert not row.isVisible()


def test_unknown_language_has_a_frame_at_both_of_its_inputs(place):
    inputs = [find(place, name) for name in ("languages_edit", "pruning_kept_texts")]
    for name, is_refused in (("broken", True), ("German", False)):
        state = place.session.state
        job = with_languages(state.config, (name,))
        event = fewer_tokens(None, (name,))
        found = Request("vocabulary-1").with_event(event)
        state = with_request(state, RequestKind.VOCABULARY, found)
        place.session.store.set(replace(state, config=job))
        assert [bool(each.property("invalid")) for each in inputs] == [is_refused] * 2


def test_plan_says_how_many_tokens_are_left_and_warns_of_a_hit_language(place):
    pruning = replace(config(place).pruning, **some_tokens(1_500))
    place.session.draft.edit_part(pruning)
    whole = place.session.state.model.vocabulary
    assert f"{whole:,} to 1,500 tokens" in line(place, "plan_details")
    found = Request("vocabulary-1", response=fewer_tokens(1_500))
    state = with_request(place.session.state, RequestKind.VOCABULARY, found)
    place.session.draft.edit_part(ExportConfig(format=Format.MASKED))
    place.session.store.set(replace(state, config=config(place)))
    warning = "Cyrillic: 25 % of the tokens in your text are split"
    assert line(place, "plan_warning") == warning


def test_plan_beside_the_open_drawer_is_readable(place):
    pruning = replace(config(place).pruning, **some_tokens(1_500))
    place.session.draft.edit_part(pruning)
    place.open_expert(Step.EXPORT)
    place.resize(924, 700)  # in a window of 1100 pixels
    settle()
    for name in ("plan_label", "plan_warning", "plan_details"):
        label = find(place, name, QLabel)
        assert label.height() >= label.heightForWidth(label.width())
    for chip in place.findChildren(QPushButton):
        if chip.isVisible() and chip.property("chip"):
            assert chip.width() >= chip.sizeHint().width()


def test_texts_beside_the_open_drawer_are_wrapped_and_not_cut(place, monkeypatch):
    usual = headline.headline

    def with_long_warning(*args):
        return replace(usual(*args), warning="8 bits alone is as small and closer " * 3)

    monkeypatch.setattr(headline, "headline", with_long_warning)
    place.resize(924, 700)  # in a window of 1100 pixels
    settle()
    place.open_expert(Step.EXPORT)
    settle()
    place.resize(924, 700)
    place.session.store.set(replace(place.session.state, notice=None))
    settle()
    for name in ("plan_warning", "forecast_basis"):
        label = find(place, name, QLabel)
        metrics = label.fontMetrics()
        lines = label.height() // metrics.lineSpacing()
        assert metrics.horizontalAdvance(label.text()) < lines * label.width(), name


# where the file goes


def choose_in_dialog(place, folder):
    dialog = place.findChild(QFileDialog)
    dialog.fileSelected.emit(str(folder))
    dialog.done(1)


def test_folder_of_the_result_is_shown_and_chosen(place, tmp_path):
    folder = find(place, "plan_folder_button")
    assert folder.accessibleName() == f"Saved in {place.session.state.run_parent}"
    assert place.session.state.run_parent in folder.toolTip()
    click(place, "plan_folder_button")
    choose_in_dialog(place, tmp_path / "mine")
    assert config(place).export.folder == str(tmp_path / "mine")
    assert str(tmp_path / "mine") in folder.accessibleName()
    assert is_checked(place, "purpose_smaller_button")


def test_model_is_looked_for_where_the_last_one_was(place, actions, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    actions["open_gguf_action"].trigger()
    choose_in_dialog(place, model)
    for name in ("open_gguf_action", "open_folder_action"):
        actions[name].trigger()
        dialog = place.findChildren(QFileDialog)[-1]
        assert dialog.directory().path() == str(tmp_path)
        dialog.done(0)


def test_result_goes_to_a_new_folder_among_other_files(place, tmp_path):
    taken = tmp_path / "documents"
    (taken / "demo-pruned").mkdir(parents=True)
    click(place, "plan_folder_button")
    choose_in_dialog(place, taken)
    assert config(place).export.folder == str(taken / "demo-pruned-2")
    assert find(place, "start_button").isEnabled()


def test_folder_that_cannot_be_searched_is_no_earlier_export(
    place, tmp_path, monkeypatch
):
    def stat(path, *args, real=os.stat, **options):
        if str(path) == str(taken / MARKER):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    taken = tmp_path / "documents"
    (taken / "notes").mkdir(parents=True)
    monkeypatch.setattr(os, "stat", stat)
    click(place, "plan_folder_button")
    choose_in_dialog(place, taken)
    assert config(place).export.folder == str(taken / "demo-pruned")


def test_long_folder_is_elided_in_its_middle(place, tmp_path):
    folder = find(place, "plan_folder_button")
    place.session.draft.set_run_parent(f"{tmp_path}/{'long' * 80}/end")
    assert "\N{HORIZONTAL ELLIPSIS}" in folder.text()
    assert folder.text().endswith("end")
    assert folder.width() < place.width()


# start, queue and details


def test_start_and_queue_depend_on_the_run(place):
    add, expert = find(place, "queue_add_button"), find(place, "expert_button")
    assert not add.isVisible()
    settle()
    usual = expert.mapTo(place, QPoint())
    click(place, "start_button")
    assert place.started == ["run"]
    run = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    idle = place.session.state
    place.session.store.set(replace(idle, run=run))
    assert add.isVisible()
    settle()
    assert expert.mapTo(place, QPoint()) == usual  # a click from memory starts nothing
    assert not find(place, "start_button").isEnabled()
    place.session.store.set(idle)
    assert not add.isVisible()


def test_obstacle_is_the_reason_at_start(place):
    problem = Problem(Kind.ERROR, {"message": "At most 18 %.", "hint": "Remove less."})
    state, size = place.session.state, find(place, "size_unit_combo")
    settle()
    usual = size.mapTo(place, QPoint())
    place.session.store.set(replace(state, problems={Step.TARGET: (problem,)}))
    settle()
    assert size.mapTo(place, QPoint()) == usual  # it does not jump
    assert line(place, "plan_warning") == "At most 18 %. Remove less."
    assert "At most 18" in find(place, "start_button").toolTip()
    label = find(place, "plan_warning")
    settle()
    height = label.height()
    long = replace(problem, values={**problem.values, "hint": "Remove less. " * 20})
    place.session.store.set(replace(state, problems={Step.TARGET: (long,)}))
    settle()
    assert label.height() > height  # it wraps and is not cut


@pytest.mark.parametrize(
    ("gpu", "device", "memory"),
    [(24 << 30, Device.AUTO, 24), (24 << 30, Device.CPU, 16), (0, Device.AUTO, 16)],
)
def test_memory_is_that_of_the_device_until_a_model_is_read(place, gpu, device, memory):
    state = place.session.state
    config = replace(state.config, model=ModelConfig("a", device=device))
    unread = replace(state, config=config, requests={}, machine=machine(gpu=gpu))
    place.session.store.set(unread)
    choose_unit(place, Target.MEMORY)
    assert place.session.state.config.pruning.memory_gigabytes == memory


def test_details_of_the_model_lead_back(place):
    click(place, "model_details_button")
    assert find(place, "model_details").isVisible()
    assert line(place, "details_title") == "Bundled demo"
    click(place, "details_back_button")
    assert find(place, "new_page").isVisible()
    click(place, "model_details_button")
    place.open_expert(Step.EXPORT)  # leaves the details
    assert find(place, "expert_drawer").isVisible()


# Expert, while it is closed


def test_expert_button_counts_and_names_changed_settings(place):
    button = find(place, "expert_button")
    assert button.text() == "Expert"
    changed = replace(
        config(place),
        pruning=replace(config(place).pruning, method=Method.MAGNITUDE),
        recovery=RecoveryConfig(level=Recovery.OFF),
    )
    place.session.draft.edit(changed)
    assert button.text() == "Expert · 2 changed"
    assert "Method: Magnitude" in button.toolTip()
    assert "Recovery: Off" in button.toolTip()
    assert len(words(place)) <= MAX_WORDS
    counted = PruningConfig(
        method=Method.LLM_SURGEON, damping=Damping.FIXED, cost_damping=0.5
    )
    place.session.draft.edit(replace(config(place), pruning=counted))
    assert "Cost damping: 0.5" in button.toolTip()  # only this method has it
    assert "Update damping" not in button.toolTip()  # it has its default


@pytest.mark.parametrize(
    ("structure", "is_implied"),
    [
        (Structure.HEADS_AND_NEURONS, True),
        (Structure.EXPERTS_AND_NEURONS, True),  # the model seems to have experts
        (Structure.ROWS, False),
        (Structure.N_M, False),
    ],
)
def test_changed_settings_are_counted_before_the_model_is_read(
    place, structure, is_implied
):
    state = replace(place.session.state, requests={})
    job = replace(state.config, pruning=PruningConfig(structure))
    assert bool(changes(replace(state, config=job))) is not is_implied
    job = replace(job, recovery=RecoveryConfig(epochs=7))
    state = replace(state, config=job)
    assert "Epochs: 7" in changes(state)
    assert without_changes(state).recovery == RecoveryConfig()
    place.session.store.set(state)
    assert find(place, "expert_button").text().startswith("Expert · ")
    place.session.store.set(replace(state, model_is_chosen=False))
    assert find(place, "expert_button").text() == "Expert"


@pytest.mark.parametrize("purpose", Purpose)
def test_reset_keeps_model_texts_size_and_purpose(place, purpose):
    click(place, f"purpose_{purpose.value}_button")
    press_curve(place, 0.6)
    calibration = replace(config(place).calibration, rows=7)
    before = replace(config(place), calibration=calibration)
    place.session.draft.edit(before)
    assert find(place, "expert_button").text() == "Expert"
    place.session.draft.edit(
        replace(before, recovery=RecoveryConfig(general_windows=8))
    )
    place.open_expert(Step.TARGET)
    click(place, "expert_reset_button")
    assert config(place) == before
    assert not find(place, "expert_reset_button").isVisible()
