"""The commands surgeon judge and surgeon compare."""

import shutil
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.messages.judgment import DraftJudged, Judged, JudgeSettings
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import JUDGMENT
from surgeon_engine.cli.main import main
from surgeon_engine.judging import judge as judging
from tests.helpers.fake_runs import write_run
from tests.helpers.judgments import judgment, probe


@pytest.fixture
def asked(monkeypatch):
    """Let nothing be judged; return the arguments."""
    calls = []

    def judge(target, original, settings, _):
        calls.append((target, original, settings))
        return Judged(judgment(), "somewhere/judgment.json")

    monkeypatch.setattr(judging, "judge", judge)
    return calls


def test_judge_passes_its_options_and_prints_the_figures(asked, capsys):
    assert main(["judge", "run", "demo", "--quick", "--task", "boolq"]) == 0
    assert asked == [("run", "demo", JudgeSettings(tasks=("boolq",), quick=True))]
    out = capsys.readouterr().out
    assert "  0.02  " in out
    assert "0.02 (" not in out  # an interval without width is none
    assert "+0.010 (+0.005 to +0.015)  worse" in out
    (row,) = [x for x in out.splitlines() if x.startswith("arithmetic")]
    assert row.split("  ")[-1] == "worse"
    assert "20 of 30" in row
    assert "12 of 30" in row
    assert "Answers that differ: 0 of 1" in out
    assert "verdict: noticeably different" in out
    assert "somewhere/judgment.json" in out


def test_bits_and_the_use_as_a_draft_model_are_printed(monkeypatch, capsys):
    found = judgment()
    (text,) = found.texts
    bits = [Estimate(x, x - 0.01, x + 0.01) for x in (1.25, 1.125)]
    measured = msgspec.structs.replace(
        text.fidelity, bits_per_byte=bits[0], original_bits=bits[1]
    )

    def printed(speed=35.0, **changes):
        fidelity = msgspec.structs.replace(measured, **changes)
        texts = (msgspec.structs.replace(text, fidelity=fidelity),)
        draft = DraftJudged(4, 200, 150, 20.0, speed)
        whole = msgspec.structs.replace(found, texts=texts, draft=draft)
        monkeypatch.setattr(judging, "judge", lambda *_: Judged(whole, ""))
        assert main(["judge", "run", "demo", "--draft"]) == 0
        return capsys.readouterr().out

    out = printed()
    measured_row, row = [x for x in out.splitlines() if x.startswith("story")]
    assert measured_row.split()[-5:] == ["1.250", "(1.240", "to", "1.260)", "1.125"]
    acceptance = (1 + 0.93) / 2
    expected = [(1 - acceptance ** (x + 1)) / (1 - acceptance) for x in (2, 4, 8)]
    assert row.split()[-3:] == [f"{x:.2f}" for x in expected]
    assert "20.0 tokens per second alone, 35.0 with the file" in out
    assert "drafts of 4 tokens, 75 % accepted" in out
    assert "llama.cpp gave no times" in printed(speed=0.0)
    rows = printed(text="builtin").splitlines()
    assert sum(row.startswith("Built-in text ") for row in rows) == 2
    fewer = printed(compared=0.75)
    assert "at 75 % of the tokens" in fewer
    assert "as a draft model" not in fewer


def test_compare_shows_runs_and_the_probes_of_those_that_are_judged(tmp_path, capsys):
    paths = [write_run(tmp_path, name) for name in ("one", "two", "three")]
    for path, probes in zip(paths, ([probe()], [probe(lost=1, p=1.0)]), strict=False):
        data = sealed_json(judgment(probes), JUDGMENT)
        (path / "judgment.json").write_bytes(data)
    assert main(["compare", *map(str, paths)]) == 0
    whole, probes = capsys.readouterr().out.split("\n\n")
    assert [x.split()[0] for x in whole.splitlines()[1:]] == ["one", "two", "three"]
    titles, row, verdicts = probes.splitlines()
    assert titles.split() == ["probe", "original", "one", "two"]
    cells = [x.strip() for x in row.split("  ") if x]
    assert cells == ["arithmetic", "20 of 30", "12 of 30, worse", "19 of 30"]
    assert "noticeably different" in verdicts
    assert "nearly the same" in verdicts


def test_compare_says_if_figures_are_of_other_texts_or_originals(
    tmp_path, capsys, monkeypatch
):
    paths = [write_run(tmp_path, name) for name in ("one", "two")]
    for path, items in zip(paths, (30, 9), strict=True):
        found = msgspec.structs.replace(probe(), items=items)
        data = sealed_json(judgment([found]), JUDGMENT)
        (path / "judgment.json").write_bytes(data)
    read = RunFolder.read_report

    def printed(**changes):
        def changed(run):
            report = read(run)
            is_second = run.path.name == "two"
            return msgspec.structs.replace(report, **changes) if is_second else report

        monkeypatch.setattr(RunFolder, "read_report", changed)
        assert main(["compare", *map(str, paths)]) == 0
        return " ".join(capsys.readouterr().out.split())

    report = read(RunFolder(paths[1]))
    assert "20 of 30; 20 of 9" in printed()  # the original's answers
    assert "These runs" not in printed()
    shorter = msgspec.structs.replace(report.baseline, window_length=8)
    assert "perplexities and fidelities cannot be compared" in printed(baseline=shorter)
    config = replace(report.config, model=ModelConfig("other"))
    assert "These runs" not in printed(config=config)  # a copy, by its loss
    other = msgspec.structs.replace(report.baseline, loss=report.baseline.loss + 0.1)
    found = printed(config=config, baseline=other)
    assert "compare each file with its own original" in found
    first, *others = report.baseline.fidelity
    others = [msgspec.structs.replace(x, text="other") for x in (others or [first])]
    further = msgspec.structs.replace(report.baseline, fidelity=(first, *others))
    assert "on different further texts" in printed(baseline=further)


def test_compare_tells_runs_of_the_same_name_apart(tmp_path, capsys):
    paths = [write_run(tmp_path / parent, "same") for parent in "ab"]
    again = f"{tmp_path}/a/../b/same/"  # is shown once
    assert main(["compare", *map(str, paths), again]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(map(str, paths))


def test_export_that_was_deleted_is_missing(tmp_path, capsys):
    paths = [write_run(tmp_path, name) for name in ("one", "two")]
    assert main(["compare", *map(str, paths)]) == 0
    assert "no longer in" not in capsys.readouterr().out
    (first := paths[0] / "export" / "model.safetensors").write_bytes(b"weights")
    write_marker(first.parent)
    first.unlink()
    assert main(["inspect", str(paths[0])]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{first.parent} has lost {first.name}"
    shutil.rmtree(paths[1] / "export")
    assert main(["compare", *map(str, paths)]) == 0
    gone = f"The export of two is no longer in {paths[1] / 'export'}"
    assert gone in capsys.readouterr().out.splitlines()
    assert main(["inspect", str(paths[1])]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == gone


def test_compare_names_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 1
    assert "is not the folder of a finished run" in capsys.readouterr().err
