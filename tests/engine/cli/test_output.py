"""Lines, tables and progress bars of the command line."""

import io

import msgspec
import pytest
from rich.console import Console

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, TEXT_NAMES
from surgeon_engine.api.messages.benchmark import (
    Measured,
    ModelMeasured,
    conditions,
    rate_of,
)
from surgeon_engine.api.messages.events import Envelope, Level, Logged
from surgeon_engine.api.messages.run import (
    Estimate,
    Evaluation,
    Fidelity,
    Progressed,
    Recovered,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import Downloading
from surgeon_engine.base.formatting import escape_controls
from surgeon_engine.cli.formatting import (
    event_line,
    fidelity_table,
    measurement_table,
)
from surgeon_engine.cli.output import EventDisplay, Output

EVENTS = (
    StageStarted(Stage.CURVATURE, 1),
    Progressed(Stage.CURVATURE, 1, 3, 4),
    Logged(Level.WARNING, "A layer of [red]\x1b[2Jmodel."),
)


@pytest.fixture
def terminal():
    """Return an output that draws on a terminal of 60 columns, held in memory."""
    output = Output()
    output.console = Console(
        file=io.StringIO(), force_terminal=True, width=60, markup=False, emoji=False
    )
    return output


def show(output, *events):
    with EventDisplay(output) as display:
        for event in events:
            display.show(Envelope("run", 0.0, event))
        display._progress.refresh()


def evaluation(*figures):
    found = tuple(
        Fidelity(
            Estimate(nats, nats / 2, nats * 2),
            Estimate(0.714, 0.7, 0.72),
            Estimate(15.0, 14.0, 16.0),
            *(32, 256, text),
        )
        for text, nats in figures
    )
    return Evaluation(2.7, 15.0, 32, 256, "story", fidelity=found)


def test_lines_of_shots_and_recovery_have_the_fidelity_on_each_text():
    measured = evaluation(("story", 0.39), ("code", 0.65))
    shot = ShotFinished(1, 0.3, 0.3, None, 100, measured, (), 2.0)
    fidelity = (
        "KL 0.39 nats (71 % same top token, perplexity 15.00) on story; "
        "0.65 nats (71 % same top token) on code, "
    )
    assert event_line(shot) == f"shot 1: sparsity 30 %, {fidelity}2 s"
    assert fidelity in event_line(Recovered(0.6, 0.3, 2, 4, measured, 2.0))
    plain = msgspec.structs.replace(shot, evaluation=evaluation())
    assert event_line(plain) == "shot 1: sparsity 30 %, perplexity 15.00, 2 s"


def test_fidelity_table_has_a_row_with_intervals_for_each_text(capsys):
    before = evaluation(("story", 0.0), ("code", 0.0))
    after = evaluation(("story", 0.39), ("code", 0.65))
    Output().print_table(fidelity_table(before, after.fidelity))
    titles, *rows = capsys.readouterr().out.splitlines()
    assert "KL to the original" in titles
    assert [row.split()[:4] for row in rows] == [
        ["story", "0.39", "(0.195", "to"],
        ["code", "0.65", "(0.325", "to"],
    ]
    assert "71.4 % (70 % to 72 %)" in rows[0]


def test_control_characters_are_escaped():
    assert escape_controls("a\x1b[31m\r\x07\N{RIGHT-TO-LEFT OVERRIDE}é\nb") == (
        "a\\x1b[31m\\r\\x07\\u202eé\nb"
    )


def test_events_without_terminal_are_plain_lines(capsys):
    show(
        Output(),
        *EVENTS,
        Downloading(done=10**6, total=2 * 10**6, files_done=0, files=1),
    )
    assert capsys.readouterr().out.splitlines() == [
        "  measuring what counts (shot 1)",
        r"warning: A layer of [red]\x1b[2Jmodel.",
        "  1.0 MB of 2.0 MB",
    ]


def test_stage_on_terminal_has_progress_bar(terminal):
    show(terminal, *EVENTS)
    drawn = terminal.console.file.getvalue()
    assert "75 %" in drawn
    assert r"[red]\x1b[2Jmodel." in drawn
    assert "\x1b[2J" not in drawn


def test_download_on_terminal_has_progress_bar(terminal):
    show(terminal, Downloading(done=0, total=0, files_done=0, files=0))
    show(terminal, Downloading(done=10**6, total=4 * 10**6, files_done=0, files=1))
    drawn = terminal.console.file.getvalue()
    assert "list of files" in drawn
    assert "1.0 MB of 4.0 MB" in drawn
    assert "25 %" in drawn


def test_long_line_is_not_wrapped_without_terminal(capsys):
    Output().print_line("word " * 100 + "end")
    assert len(capsys.readouterr().out.splitlines()) == 1


def model(name, seconds=(0.1, 0.1, 0.1), file_bytes=4_000_000_000):
    rate = rate_of(1, seconds)
    prompt = rate_of(10, seconds)
    return ModelMeasured(name, file_bytes, 10**9, prompt, rate, 45 * 10**8, 5 * 10**9)


def printed(measured, capsys):
    output = Output()
    output.print_table(measurement_table(measured))
    output.print_line(conditions(measured))
    return capsys.readouterr().out


def test_measurement_table_is_aligned_and_describes_the_protocol(capsys):
    fast = model("pruned", [1 / rate for rate in (15.0, 15.2, 15.3)], 61_000_000)
    measured = Measured((model("original"), fast), 2, 512, 32, 3, "CPU (2 threads)")
    lines = printed(measured, capsys).splitlines()
    rows, notes = lines[:7], lines[7:]
    assert len({len(row) for row in rows}) == 1
    assert rows[0].split() == ["original", "pruned", "ratio"]
    assert rows[1].split() == ["file", "size", "4.00", "GB", "61.0", "MB", "0.02"]
    assert "10.0 (10.0 to 10.0)" in rows[4]
    assert rows[4].endswith("1.52 (1.50 to 1.53)")
    assert notes == [
        "Medians of 3 rounds, alternating between the models, and their range. Device: "
        "CPU (2 threads), float32. Tokens of a prompt: 512; generated: 32."
    ]


def test_measurement_table_of_one_model_has_no_ratio(capsys):
    measured = Measured((model("model"),), 2, 512, 32, 3, "CPU (2 threads)")
    assert "  ratio" not in printed(measured, capsys)


def test_one_round_has_no_median(capsys):
    measured = Measured((model("model"),), 2, 512, 1, 1, "CPU")
    lines = printed(measured, capsys).splitlines()
    device = "Device: CPU, float32. Tokens of a prompt: 512; generated: 1."
    assert lines[-1] == f"One round. {device}"


def test_built_in_text_has_its_name(capsys):
    measured = evaluation((BUILTIN_TEXT, 0.39))
    shot = ShotFinished(1, 0.3, 0.3, None, 100, measured, (), 2.0)
    Output().print_table(fidelity_table(measured, measured.fidelity))
    for text in (event_line(shot), capsys.readouterr().out):
        assert TEXT_NAMES[BUILTIN_TEXT] in text
        assert BUILTIN_TEXT not in text


def test_stage_that_comes_twice_in_a_row_is_one_line(capsys):
    first, other = StageStarted(Stage.SAMPLING, 0), StageStarted(Stage.BASELINE, 0)
    progress = Progressed(Stage.SAMPLING, 0, 1, 1)
    note = Logged(Level.INFO, "The text was written before.")
    show(Output(), first, progress, note, first, other, first)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [event_line(each) for each in (first, note, other, first)]
