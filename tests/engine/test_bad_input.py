"""Jobs, destinations, texts and chats that are wrong, and the sentences that say so."""

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, ExportError
from surgeon_engine.base.files import expand_path
from surgeon_engine.calibration import chats, long_texts, tables
from surgeon_engine.calibration import windows as windows_module
from surgeon_engine.calibration.windows import Vocabulary, draw_windows
from surgeon_engine.export.destination import check_destination
from surgeon_engine.generation.generated_text import encode_prompt
from surgeon_engine.model import chat_template
from tests.helpers.runs import Recorder
from tests.helpers.tiny_models import byte_tokenizer

DEEP = 100_000


JOBS = {
    "nested lists": ("x = " + "[" * 10_000, "nested too deeply"),
    "nested tables": ("[" + ".".join("a" * 10_000) + "]\n", "The job"),
    "500 lists": ("[model]\nsource = " + "[" * 500 + "]" * 500, ""),
    "a list of tables": ("[[pruning]]", "pruning"),
    "a date": ("[model]\nsource = 1979-05-27T07:32:00Z", "model.source"),
    "a million letters": (f"[model]\nsource = '{'x' * 1_000_000}'", "source"),
    "4,000 digits": ("[calibration]\nwindows = " + "9" * 4_000, "windows is"),
    "5,000 digits": ("[calibration]\nwindows = " + "9" * 5_000, "The job"),
    "dots after quotes": ('x = {a = """b""""", ' + "a." * 2_000 + "a = 1}", "dots"),
    "quotes without an end": ('x = "' + '\\"' * 200_000, "The job"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", JOBS)
def test_bad_job_ends_in_a_sentence(kind):
    text, sentence = JOBS[kind]
    with pytest.raises(EngineError) as error:
        config_from_toml(f"version = 1\n{text}")
    assert sentence in error.value.message


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("/", "is the root of a disk"),
        ("x" * 300, "has 300 bytes; at most 200 are possible"),
        ("\N{PILE OF POO}" * 60, "has 240 bytes"),
        ("~nobody-at-all/x", "no user nobody-at-all"),
    ],
)
def test_bad_destination_ends_in_a_sentence(tmp_path, folder, sentence, replace):
    is_whole = folder.startswith(("/", "~"))
    destination = expand_path(folder) if is_whole else tmp_path / folder
    with pytest.raises(ExportError, match=sentence) as error:
        run, context = RunFolder(tmp_path), Recorder().context
        check_destination(destination, run, (), context, replace=replace)
    assert error.value.hint


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def npy_of(shape: str) -> bytes:
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}"
    return npy(text.encode().ljust(117) + b"\n")


TEXTS = {
    "later.jsonl": (
        b'\n{"text":' + b"[" * DEEP,
        "later.jsonl cannot be read: line 2 is not a JSON object",
    ),
    "deep.jsonl": (
        b'{"text":' + b"[" * DEEP,
        "deep.jsonl cannot be read: line 1 is not a JSON object",
    ),
    "null.jsonl": (b"null\n" * 200, "line 1 is not a JSON object"),
    "number.jsonl": (b"1\n", "line 1 is not a JSON object"),
    "tail.jsonl": (
        b'{"messages": [{"role": "user", "content": "a"}]}\n' * 300 + b'{"mess',
        "line 301 is not a JSON object",
    ),
    "keys.jsonl": (
        json.dumps(dict.fromkeys(map(str, range(6_000)), "a")).encode(),
        "it has 6,000 columns",
    ),
    "wide.csv": (b",".join([b"a"] * 6_000) + b"\n1", "it has 6,000 columns"),
    "open.csv": (b'text\n"a\nb\n', "unexpected end of data"),
    "ragged.csv": (b"text,n\na\nb,c,d\n", "line 3 has 3 fields"),
    "broken.parquet": (b"PAR1" + bytes(90) + b"PAR1", "broken.parquet cannot be"),
    "many.npy": (npy_of("(100000001, 1)"), "not a NumPy file of numbers"),
    "huge.npy": (npy_of("(1000000000000, 256)"), "not a NumPy file of numbers"),
    "large.npy": (npy_of("(1000000000, 16)"), "not a NumPy file of numbers"),
    "nested.npy": (npy(b"(" * 60_000), "not a NumPy file of numbers"),
    "minus.npy": (npy(b"-" * 9_000 + b"1"), "not a NumPy file of numbers"),
    "open.npy": (npy(b"{'descr': '''"), "not a NumPy file of numbers"),
    "short.npy": (b"\x93NUMPY", "not a NumPy file of numbers"),
    "pickle.npy": (b"\x80\x04.", "not a NumPy file of numbers"),
    "zip.npy": (b"PK\3\4 not a zip", "not a NumPy file of numbers"),
    "empty.npy": (b"", "empty.npy is empty."),
    "empty.txt": (b"", "empty.txt is empty."),
    "blank.txt": (b" \n\n ", "holds no text"),
    "zip.txt": (b"PK\3\4\0\0more", "zip.txt is not UTF-8 text (at byte"),
    "latin.txt": (b"caf\xe9 in latin-1", "latin.txt is not UTF-8 text (at byte"),
    "a.docx": (b"hello", "a.docx is of an unknown kind"),
    "cut.jsonl": (b'{"text": "a"}\n{"text": ', "cut.jsonl cannot be read"),
    "content.jsonl": (b'{"content": 1}\n', "No column of content.jsonl holds text"),
    "none.jsonl": (b'{"text": "a"}\n{"text": null}\n', "enough for 0 windows"),
    "blank.jsonl": (b"\n \n", "blank.jsonl"),
    "rows.csv": (b"text,stars\n", "rows.csv"),
    "stars.csv": (b"stars\n1\n2\n", "No column of stars.csv holds text"),
}


def read(path: Path, tokenizer=None):
    settings = CalibrationConfig(
        text=str(path), windows=2, validation_windows=2, window_length=16
    )
    if path.suffix == ".npy":
        good = path.with_name("validation.npy")
        np.save(good, np.ones((2, 16), dtype=np.int64))
        settings = CalibrationConfig(
            text=str(path), validation_text=str(good), window_length=16
        )
    tokenizer = tokenizer or byte_tokenizer()
    return draw_windows(settings, tokenizer, Vocabulary(300, 0))[1]


@pytest.mark.parametrize("name", TEXTS)
def test_bad_text_ends_in_a_sentence(tmp_path, name):
    data, sentence = TEXTS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EngineError) as error:
        read(tmp_path / name)
    assert sentence in error.value.message
    assert error.value.hint


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
@pytest.mark.parametrize("name", ["pipe.npy", "pipe.txt", "pipe.csv"])
def test_text_that_is_no_file_ends_in_a_sentence(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(EngineError, match="is a pipe or a device"):
        read(tmp_path / name)


def test_long_text_is_tokenized_in_pieces(tmp_path, monkeypatch):
    """Whole lines and words give the same tokens; only a long word is cut."""
    lines = "".join(f"line {n} of a text\n" for n in range(300))
    words = "some words in one long line " * 100
    path = tmp_path / "long.txt"
    path.write_text(f"{lines}{words}{'x' * 5_000}")
    tokenizer = Spy()
    whole = read(path, tokenizer)
    assert len(tokenizer.lengths) == 1
    monkeypatch.setattr(windows_module, "_PIECE", 1_000)
    tokenizer = Spy()
    pieces = read(path, tokenizer)
    assert max(tokenizer.lengths) <= 1_000
    assert sum(tokenizer.lengths) == len(path.read_text())
    assert torch.equal(whole.calibration, pieces.calibration)


class Spy:
    """A tokenizer that remembers the lengths of its texts."""

    def __init__(self):
        self._tokenizer = byte_tokenizer()
        self.lengths = []

    def __call__(self, text, **options):
        if len(text) > 1:  # not the ones that show how texts begin
            self.lengths.append(len(text))
        return self._tokenizer(text, **options)

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


def test_tokenizer_that_panics_ends_in_a_sentence(tmp_path):
    class PanicException(BaseException):
        """As raised by a library in Rust."""

    class Panicking(Spy):
        def __call__(self, text, **options):
            if len(text) == 1:
                return super().__call__(text, **options)
            raise PanicException("Onig: Regex search error: retry-limit-in-match over")

    path = tmp_path / "some.txt"
    path.write_text("some text " * 100)
    with pytest.raises(EngineError, match="fails on this text: Onig: Regex search"):
        read(path, Panicking())


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet", "a.npy"])
def test_sparse_text_ends_in_a_sentence(tmp_path, name, monkeypatch):
    monkeypatch.setattr(long_texts, "MAX_CHARACTERS", 1_000)
    with (tmp_path / name).open("wb") as file:
        file.truncate(40 * 10**9)
    with pytest.raises(EngineError):
        read(tmp_path / name)


def test_parquet_with_other_bytes_than_text_ends_in_a_sentence(tmp_path):
    offsets = pyarrow.py_buffer(struct.pack("<ii", 0, 2))
    buffers = [None, offsets, pyarrow.py_buffer(b"\xff\xfe")]
    column = pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers)
    table = pyarrow.table({"text": column})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(EngineError, match="cannot be read: 'utf-8'"):
        read(tmp_path / "a.parquet")


@pytest.mark.slow
def test_beginning_of_a_long_table_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MAX_ROWS", 2_000)
    rows = [{"text": f"row {n} with some words\nin two lines"} for n in range(9_000)]
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        if name == "a.jsonl":
            (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        elif name == "a.csv":
            lines = (f'"{row["text"]}"' for row in rows)
            (tmp_path / name).write_text("\n".join(("text", *lines)))
        else:
            table = pyarrow.Table.from_pylist(rows)
            pyarrow.parquet.write_table(table, tmp_path / name)
        found = read(tmp_path / name).statistics
        assert found.documents == 2_000
        left = sum(len(row["text"]) for row in rows[2_000:])
        assert found.unread_characters == pytest.approx(left, rel=0.05)


def test_beginning_of_a_long_text_is_read(tmp_path, monkeypatch):
    for module in (long_texts, tables):
        monkeypatch.setattr(module, "MAX_CHARACTERS", 5_000)
    lines = "".join(f'{{"text": "line {n} of a text"}}\n' for n in range(900))
    for name in ("a.txt", "a.jsonl", "a.csv"):
        (tmp_path / name).write_text(lines.replace(",", ""))
        found = read(tmp_path / name).statistics
        assert found.unread_characters == len(lines) - 5_000


def test_tokens_in_front_of_texts_may_fill_no_window(tmp_path, monkeypatch):
    monkeypatch.setattr(windows_module, "beginning_of_texts", lambda _: [0] * 16)
    (tmp_path / "a.txt").write_text("some words " * 100)
    with pytest.raises(EngineError, match="puts 16 tokens in front"):
        read(tmp_path / "a.txt")


ENDLESS = (
    "{% for a in range(90000) %}{% for b in range(90000) %}{{ a }}"
    "{% endfor %}{% endfor %}{{ messages[0].content }}"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (ENDLESS, "it takes more than 0.2 seconds"),
        ("{{ range(10**9) | list }}", "Range too big"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[9].content }}", "has no element 9"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_bad_chat_template_ends_in_a_sentence(template, reason, monkeypatch):
    monkeypatch.setattr(chat_template, "_SECONDS", 0.2)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    if template == ENDLESS:
        with pytest.raises(TimeoutError):
            chat_template.opening_of_chats(tokenizer)
    else:
        assert chat_template.opening_of_chats(tokenizer) == []
    ours = (
        r"the chats in the column “x” of a.jsonl \(|chat of the column “x” of a.jsonl:"
    )
    with pytest.raises(EngineError, match=ours) as error:
        chats.render_chats(
            "x", "a.jsonl", [[{"role": "user", "content": "Hi"}]], tokenizer
        )
    assert reason in error.value.message
    with pytest.raises(EngineError, match="The chat template of the original") as error:
        encode_prompt(tokenizer, "Hi", as_chat=True)
    assert reason in error.value.message
    assert sys.gettrace() is None
