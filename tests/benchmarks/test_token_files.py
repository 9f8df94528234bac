"""Scripts of benchmarks: token files, quantized files, two hosts in one folder."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from benchmarks import quantized, token_files, two_hosts
from surgeon_engine.api.config.export import FileDtype

DEMO = Path(__file__).parents[2] / "resources" / "demo"
TEXT = "A list is a sequence.\r\nIt can be changed; a tuple cannot.\n" * 20


@pytest.fixture
def cut(tmp_path):
    """Make a function that runs the script; it returns the exit code and windows."""
    text, out = tmp_path / "text.txt", tmp_path / "tokens.npy"
    text.write_bytes(TEXT.encode())

    def run(*options: str):
        code = token_files.main([str(DEMO), str(text), str(out), *options])
        return code, np.load(out) if out.exists() else None

    return run


def all_tokens():
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    return tokenizer(TEXT, add_special_tokens=False)["input_ids"]


def test_windows_follow_each_other_and_the_rest_is_dropped(cut):
    tokens = all_tokens()
    code, windows = cut("--length", "16")
    assert code == 0
    assert windows.dtype == np.int32
    assert windows.flatten().tolist() == tokens[: len(tokens) // 16 * 16]
    assert cut("--length", "16", "--windows", "2")[1].tolist() == windows[:2].tolist()


def test_windows_begin_at_the_given_starts(cut):
    tokens = all_tokens()
    last = len(tokens) - 8
    _, windows = cut("--length", "8", "--starts", "5", "0", str(last))
    assert windows.tolist() == [tokens[5:13], tokens[:8], tokens[last:]]


@pytest.mark.parametrize("options", [("--windows", "1000"), ("--starts", "99999")])
def test_too_little_text_fails_and_writes_nothing(cut, capsys, options):
    assert cut(*options) == (1, None)
    assert "too few for these windows" in capsys.readouterr().err


@pytest.mark.runtimes
@pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")
def test_table_has_a_row_for_each_way(monkeypatch, capsys):
    ways = ("plain", "importances", "A fed forward")
    monkeypatch.setattr(quantized, "_FORMATS", {FileDtype.Q4_0: ways})
    assert quantized.main(["--windows", "2", "--judging", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if "q4_0" in line]
    assert tuple(row[1] for row in rows) == ways
    assert {row[2] for row in rows} == {"5.08"}
    plain, weighted, _ = (float(row[3]) for row in rows)
    assert 0 < weighted != plain > 0


def _has_namespaces() -> bool:
    try:
        command = (*two_hosts._UNSHARE, "true")
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not _has_namespaces(), reason="needs root and unshare")
def test_two_hosts_start_resume_and_clean_up_in_one_folder():
    script = Path(two_hosts.__file__)
    command = [sys.executable, str(script), "--rounds", "5", "--runs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'started': 5" in done.stdout
