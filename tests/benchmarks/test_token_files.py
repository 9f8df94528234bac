"""benchmarks/token_files.py cuts a text into the requested windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from benchmarks import token_files

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
