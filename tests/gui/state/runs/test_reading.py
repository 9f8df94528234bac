"""Reading runs from their folders, in every state."""

import shutil
from dataclasses import replace
from datetime import datetime

import msgspec
import pytest

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.messages.run import (
    Estimate,
    MemorySampled,
    Progressed,
    RunResumed,
    Stage,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.verdict import Verdict
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.detached.watch import RunWatch
from surgeon_engine.runtime.folders import list_runs
from surgeon_gui.state import run as run_state
from surgeon_gui.state.result_text import name_of
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs import reading
from surgeon_gui.state.runs import state as runs_state
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import (
    RunOutcome,
    UnreadableRunError,
    read_name,
    read_record,
    read_runs,
    read_state,
    tidy_name,
    write_text,
)
from surgeon_gui.state.runs.removed import removed_by_block
from surgeon_gui.state.runs.state import RunsState
from surgeon_gui.text import numbers
from tests.helpers import fake_runs
from tests.helpers.exports import write_export
from tests.helpers.fake_engine import shot_finished
from tests.helpers.fake_results import exported, measured
from tests.helpers.fake_runs import (
    BEGAN,
    job,
    write_run,
    write_saved_state,
    write_three,
)
from tests.helpers.locks import write_lock

ENDINGS = {
    "finished": RunOutcome.FINISHED,
    "stopped": RunOutcome.STOPPED,
    "failed": RunOutcome.FAILED,
    "cancelled": RunOutcome.CANCELLED,
    "killed": RunOutcome.INTERRUPTED,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_read_record_has_the_outcome_and_figures(tmp_path, ending):
    record = read_record(write_run(tmp_path, ending=ending))
    assert record.outcome is ENDINGS[ending]
    assert record.perplexity_before == pytest.approx(14.2)
    assert record.began == BEGAN
    assert record.seconds > 0


def test_record_has_the_perplexity_of_its_file(tmp_path, monkeypatch):
    found = read_state(write_run(tmp_path, "a")).evaluation.fidelity[0]
    found = msgspec.structs.replace(found, perplexity=Estimate(30.5, 30.0, 31.0))
    monkeypatch.setattr(
        fake_runs,
        "exported",
        lambda *each: msgspec.structs.replace(exported(*each), fidelity=(found,)),
    )
    assert read_record(write_run(tmp_path, "b")).perplexity_after == 30.5


def test_last_progress_of_each_stage_stands_for_the_others(tmp_path, monkeypatch):
    """A run of some days has a million lines of progress, and each takes a while."""
    folder, applied = write_run(tmp_path, ending="killed"), []
    run, at = RunFolder(folder), read_state(folder).ended
    for number in range(1, 20):
        for event in (Progressed(Stage.CURVATURE, 2, number, 30), MemorySampled(1)):
            run.append(Envelope("run-1", at + number, event))
    apply = run_state.apply
    monkeypatch.setattr(
        run_state,
        "apply",
        lambda state, envelope: applied.append(envelope) or apply(state, envelope),
    )
    state = read_state(folder)
    assert state.ended == at + 19
    found = [x.event for x in applied if isinstance(x.event, Progressed)]
    assert found[-1].done == 19
    assert len({(each.stage, each.shot) for each in found}) == len(found)


def test_run_is_running_while_its_process_is_alive(tmp_path):
    folder = write_run(tmp_path, ending="killed")
    with RunFolder(folder).locked():
        (running,) = read_runs(tmp_path, {})
        assert running.outcome is RunOutcome.RUNNING
    (interrupted,) = read_runs(tmp_path, {running.folder: running})
    assert interrupted.outcome is RunOutcome.INTERRUPTED


def test_interrupted_run_ends_at_its_last_event(tmp_path):
    run = read_state(write_run(tmp_path, ending="killed"))
    assert run.status is Status.INTERRUPTED
    assert not run.status.is_busy
    assert run.seconds(BEGAN + 1e6) == pytest.approx(5.0, abs=1.0)
    assert run_state.interrupted(run, 0.0) is run


def test_run_that_did_not_finish_shows_how_far_it_came(tmp_path):
    killed = read_record(write_run(tmp_path, ending="killed"))
    assert 0.1 < killed.progress < 0.9
    words = run_text.verdict(killed, 43)
    assert words == "Interrupted, 43\N{NO-BREAK SPACE}%"


def test_incomplete_last_line_is_ignored(tmp_path):
    folder = write_run(tmp_path, ending="killed")
    with RunFolder(folder).events_path.open("ab") as log:
        log.write(b'{"run":"run-1","at":1.0,"eve')
    assert read_record(folder).outcome is RunOutcome.INTERRUPTED


def test_run_without_log_is_interrupted(tmp_path):
    folder = write_run(tmp_path)
    RunFolder(folder).events_path.unlink()
    assert read_record(folder).outcome is RunOutcome.INTERRUPTED


def test_invalid_line_makes_the_run_damaged_and_is_named(tmp_path):
    folder = write_run(tmp_path)
    path = RunFolder(folder).events_path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"nonsense\n", *lines[2:]]))
    record = read_record(folder)
    assert record.outcome is RunOutcome.DAMAGED
    assert "Line 2 of events.jsonl" in record.problem
    with pytest.raises(UnreadableRunError):
        read_state(folder)


def test_changed_figure_in_the_log_is_noticed(tmp_path):
    folder = write_run(tmp_path)
    path = RunFolder(folder).events_path
    log = path.read_bytes()
    at = log.index(b'"perplexity":') + len(b'"perplexity":')
    path.write_bytes(log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :])
    assert "its checksum does not match" in read_record(folder).problem


def test_later_exports_and_speed_of_a_run_come_back(tmp_path):
    folder = write_run(tmp_path)
    later = exported("elsewhere", PruningConfig())
    for event in (later, measured(), later):
        RunFolder(folder).append(Envelope("save-1", 2e9, event))
    state = read_state(folder)
    assert state.saved == (later, later)
    assert state.measured == measured()
    assert state.exported.folder != later.folder
    assert read_record(folder).outcome is RunOutcome.FINISHED
    resumed = run_state.apply(state, Envelope(state.run, 3e9, RunResumed(1, 5.0)))
    assert resumed.saved == ()
    assert resumed.measured is None


def test_damaged_report_is_a_sentence_in_the_list(tmp_path):
    folder = write_run(tmp_path)
    assert not read_record(folder).problem
    path = RunFolder(folder).report_path
    path.write_bytes(path.read_bytes().replace(b"seconds", b"sekonds", 1))
    record = read_record(folder)
    assert record.outcome is RunOutcome.FINISHED
    assert "damaged" in record.problem
    assert "report.json" in record.problem
    assert "not the folder" not in run_text.outcome_details(record)


def test_run_of_another_computer_names_it_in_the_list(tmp_path):
    folder = write_run(tmp_path, ending="killed")
    assert not read_record(folder).problem
    write_lock(RunFolder(folder).process_path)
    record = read_record(folder)
    assert record.outcome is RunOutcome.RUNNING
    assert "atlas" in run_text.outcome_details(record)


def test_damaged_run_says_what_can_still_be_used(tmp_path):
    folder = write_run(tmp_path)
    run = RunFolder(folder)
    run.events_path.write_text("nonsense\n")
    assert run_text.outcome_details(read_record(folder)).endswith(
        "What can still be used: its settings (Use these settings)."
    )
    (folder / "export" / "config.json").write_text("{}")
    run.saved_state.path.mkdir()
    run.saved_state.state_path.write_text("{}")
    details = run_text.outcome_details(read_record(folder))
    assert "surgeon resume" in details
    assert details.endswith("the pruned model, in its folder.")
    run.config_path.write_text("[[[")
    details = run_text.outcome_details(read_record(folder))
    assert details.endswith("used: the pruned model, in its folder.")
    (folder / "export" / "config.json").unlink()
    details = run_text.outcome_details(read_record(folder))
    assert details.endswith("Nothing of it can be used.")


@pytest.mark.parametrize(
    "toml", [None, "[[[", "version = 1\n[pruning]\nspeed = 3\n", "\udcff"]
)
def test_invalid_job_file_makes_the_run_damaged(tmp_path, toml):
    folder = write_run(tmp_path)
    path = RunFolder(folder).config_path
    path.unlink()
    if toml is not None:
        path.write_bytes(toml.encode(errors="surrogateescape"))
    record = read_record(folder)
    assert record.outcome is RunOutcome.DAMAGED
    assert "run.toml" in record.problem
    assert run_text.title(record) == "run"
    assert run_text.facts(record)


def test_distinct_titles_adds_details_to_equal_titles(tmp_path):
    record = read_record(write_run(tmp_path))
    other = Structure.ROWS_AND_COLUMNS
    pruning = replace(record.config.pruning, structure=other)
    records = [
        record,
        replace(record, folder="/b", config=replace(record.config, pruning=pruning)),
        replace(record, folder="/c", began=record.began + 3),
        replace(record, folder="/d", name="mine"),
    ]
    first, second, third, named = run_text.distinct_titles(records).values()
    plain = run_text.title(record)
    assert named == "mine"
    assert second == f"{plain}, rows and columns"
    assert first.startswith(f"{plain}, heads and neurons, ")
    assert len({first, third}) == 2
    by_time = run_text.distinct_titles([records[0], records[2]])
    assert all("heads" not in title for title in by_time.values())
    time, later = (
        f"{datetime.fromtimestamp(record.began + wait):%H:%M:%S}" for wait in (0, 3)
    )
    assert list(by_time.values()) == [f"{plain}, {time}", f"{plain}, {later}"]
    assert run_text.distinct_titles([record]) == {record.folder: plain}


def test_title_has_the_target_until_there_is_a_file(tmp_path):
    config = job(sparsity=0.3)
    running = read_record(write_run(tmp_path, "a", config, ending="killed"))
    title = run_text.title(running)
    assert title.replace("\xa0", " ").endswith("30 % fewer prunable weights")
    assert name_of(read_state(tmp_path / "a")) == title  # title of its page
    finished = read_record(write_run(tmp_path, "b", config))
    assert finished.file_bytes == 8_403_508
    assert run_text.title(finished).replace("\xa0", " ") == "Bundled demo · 8.4 MB"


def test_titles_of_a_run_that_was_stopped_have_what_it_reached(tmp_path):
    config = job(sparsity=0.5, structure=Structure.ELEMENTS)
    state = read_state(write_run(tmp_path, "a", config, ending="stopped"))
    reached = state.history[-1].sparsity
    assert reached < 0.45
    record = read_record(tmp_path / "a")
    removed = f"{numbers.percent(reached)} of prunable weights removed"
    assert run_text.title(record) == name_of(state) == f"Bundled demo · {removed}"
    now = datetime.fromtimestamp(record.began)
    assert run_text.when(record, now).endswith("stopped early")
    smaller = replace(record, config=job(sparsity=0.5))
    other = replace(smaller, folder="/b", outcome=RunOutcome.FINISHED)
    first, second = run_text.distinct_titles([smaller, other]).values()
    assert first.endswith(removed)
    assert second.replace("\xa0", " ").endswith("50 % fewer prunable weights")


def test_record_has_the_verdict_and_the_removed_share_of_each_block(tmp_path):
    record = read_record(write_run(tmp_path, "a", job(sparsity=0.3)))
    assert record.verdict is Verdict.CLOSE
    attention, neurons = record.removed
    assert len(attention) == len(neurons) == 6
    layers = read_state(tmp_path / "a").layers
    others = [x for x in layers if x.block == 2 and x.kind.startswith("mlp")]
    share = sum(x.removed for x in others) / sum(x.weights for x in others)
    assert neurons[2] == pytest.approx(share)
    assert 0 < share < 1
    worse = read_record(write_run(tmp_path, "b", factor=1.3))
    assert worse.verdict is Verdict.DIFFERENT
    failed = read_record(write_run(tmp_path, "c", ending="failed"))
    assert (failed.verdict, failed.file_bytes) == (None, 0)
    assert failed.removed
    without = replace(read_state(tmp_path / "a"), history=())
    assert removed_by_block(without) == ()


def test_read_runs_ignores_other_folders(tmp_path):
    write_run(tmp_path, "run")
    write_run(tmp_path, ".hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "export").mkdir()  # with a copy of the config
    shutil.copy(tmp_path / "run" / "run.toml", tmp_path / "export")
    write_export(tmp_path / "export")
    folders = [str(tmp_path / "run")]
    assert [record.folder for record in read_runs(tmp_path, {})] == folders
    assert [entry.folder for entry in list_runs(str(tmp_path)).runs] == folders
    with pytest.raises(RunFolderError, match="There is no run"):
        list(RunWatch(RunFolder(tmp_path / "export")).events())
    assert read_runs(tmp_path / "nowhere", {}) == ()


def test_read_runs_reads_only_changed_runs_again(tmp_path, monkeypatch):
    first, second, _ = write_three(tmp_path)
    records = {record.folder: record for record in read_runs(tmp_path, {})}
    read = []
    original = reading.read_record
    monkeypatch.setattr(
        reading, "read_record", lambda folder: read.append(folder) or original(folder)
    )
    write_text(RunFolder(second).name_path, "the good one")
    again = read_runs(tmp_path, records)
    assert read == [second]
    assert [record.folder for record in again][-1] == str(first)  # the oldest


def test_name_is_tidied_and_an_empty_one_restores_the_default(tmp_path):
    folder = write_run(tmp_path)
    path = RunFolder(folder).name_path
    write_text(path, "  the\n good   one ")
    assert read_name(folder) == "the good one"
    assert run_text.title(read_record(folder)) == "the good one"
    write_text(path, tidy_name(" "))
    assert run_text.title(read_record(folder)).startswith("Bundled demo · 8.4\xa0MB")
    write_text(path, "")  # no name to remove
    write_text(path, "x" * 500)
    assert len(read_name(folder)) == reading.MAX_NAME_LENGTH


def test_moved_folder_has_updated_paths(tmp_path):
    folder = write_run(tmp_path)
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    run = read_state(moved)
    assert run.folder == str(moved)
    assert run.exported.folder == str(moved / "export")


def test_deleted_run_loses_its_tick(tmp_path):
    first, second, third = map(str, write_three(tmp_path))
    state = runs_state.with_records(RunsState(), read_runs(tmp_path, {}))
    for folder in (third, first, second, third):
        state = runs_state.with_tick(state, folder, is_on=True)
    assert state.ticked == (first, second, third)  # in the order of their last ticks
    shutil.rmtree(second)
    state = runs_state.with_records(state, read_runs(tmp_path, {}))
    assert state.ticked == (first, third)


@pytest.mark.parametrize("ending", ENDINGS)
def test_run_with_saved_progress_can_be_resumed_unless_it_is_complete(tmp_path, ending):
    folder = write_run(tmp_path, ending=ending)
    before = read_record(folder)
    assert not before.can_resume
    state = write_saved_state(folder) / "state.json"
    assert not reading._is_up_to_date(before, folder)
    record = read_record(folder)
    assert record.saved_bytes == state.stat().st_size
    assert record.can_resume == (ending != "finished")
    assert dict(run_text.facts(record)).get("Saved progress") == (
        f"{numbers.size(record.saved_bytes)} on the disk. It goes on after shot 1 of 3."
        if record.can_resume
        else None
    )


def test_latest_interrupted_run_is_offered_until_it_is_dismissed(tmp_path):
    folders = [
        write_run(tmp_path, name, ending=ending, hour=hour)
        for hour, (name, ending) in enumerate(
            [("a", "killed"), ("b", "killed"), ("c", "cancelled"), ("d", "killed")]
        )
    ]
    for folder in folders[:3]:
        write_saved_state(folder)
    state = runs_state.with_records(RunsState(), read_runs(tmp_path, {}))
    assert state.to_resume.folder == str(folders[1])
    assert run_text.offer_to_resume(state.to_resume).endswith(
        "was interrupted and can be resumed. It goes on after shot 1 of 3."
    )
    state = replace(state, dismissed=(str(folders[1]),))
    assert state.to_resume.folder == str(folders[0])
    both = (*state.dismissed, str(folders[0]))
    assert replace(state, dismissed=both).to_resume is None


def test_log_of_two_processes_is_one_run(tmp_path):
    folder = write_run(tmp_path, ending="killed")
    later = BEGAN + 5000
    events = [RunResumed(1, 6.0), shot_finished(2, 3, 0.3), Cancelled()]
    for n, event in enumerate(events):
        RunFolder(folder).append(Envelope("run-7", later + n, event))
    state = read_state(folder)
    assert state.status is Status.CANCELLED
    assert [shot.shot for shot in state.history] == [1, 2]
    assert read_record(folder).seconds == pytest.approx(8.0)
