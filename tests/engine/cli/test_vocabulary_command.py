"""surgeon vocabulary: effects of fewer tokens on languages and texts."""

import re

import pytest

from surgeon_engine.cli import runs
from surgeon_engine.cli.main import main


@pytest.mark.slow
def test_preview_names_tokens_scripts_and_texts(capsys):
    assert main(["vocabulary", "demo", "--tokens", "1500", "--keep", "Greek"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1,500 of 2,048 tokens are kept; at least ")
    scripts = {line.split()[0]: line.split()[1:3] for line in lines}
    assert scripts["Latin"][0] == "1,668"
    removed = sum(int(scripts[name][1]) for name in ("Latin", "Common"))
    assert removed == 548
    assert any(re.match(r"Built-in text +8,192 ", line) for line in lines)


@pytest.mark.slow
def test_without_a_number_a_typical_one_is_shown(capsys):
    assert main(["vocabulary", "demo"]) == 0
    assert "this one is typical" in capsys.readouterr().out


def test_short_text_has_fewer_windows(capsys, tmp_path, monkeypatch):
    path = tmp_path / "short.txt"
    path.write_text(" ".join(f"Sentence {n} is like no other." for n in range(400)))
    assert main(["vocabulary", "demo", "--text", str(path)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    count = int(re.search(r"short: (\d+) windows of 256 tokens", first)[1])
    assert 4 < count < 96
    assert f"{count // 3 * 256:,}" in next(x for x in lines if x.startswith(str(path)))
    commands: list = []
    monkeypatch.setattr(
        runs, "_work_on", lambda command, _=None: commands.append(command)
    )
    assert main(["quantize", "demo", "--text", str(path)]) == 0
    found = commands[0].config.calibration
    assert found.windows + found.validation_windows == count
    path.write_text("Too short.")
    assert main(["vocabulary", "demo", "--text", str(path)]) == 1
    assert "but 3 + 1 are needed" in capsys.readouterr().err


def test_unknown_language_is_an_error(capsys):
    assert main(["vocabulary", "demo", "--keep", "Klingon"]) == 1
    assert "Klingon” is no script" in capsys.readouterr().err
