"""Texts become windows that never overlap; what cannot be read is refused in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.calibration.windows import Vocabulary, load_windows, preview_text
from tests.helpers.tiny_models import VOCABULARY, byte_tokenizer, save_tiny_model

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def config(**settings) -> CalibrationConfig:
    small = {"windows": 4, "validation_windows": 3, "window_length": 8}
    return CalibrationConfig(**(small | settings))


def load(tokenizer=None, **settings):
    vocabulary = Vocabulary(VOCABULARY, longest_window=64)
    return load_windows(config(**settings), tokenizer or byte_tokenizer(), vocabulary)


def refused(**settings) -> str:
    with pytest.raises(CalibrationError) as error:
        load(**settings)
    assert error.value.hint
    return error.value.message


@pytest.fixture
def text(tmp_path):
    """Every window of eight letters occurs once."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i:07d}{LETTERS[i % 26]}" for i in range(20)))
    return path


def as_set(windows) -> set[tuple[int, ...]]:
    return {tuple(window) for window in windows.tolist()}


def test_windows_of_a_file_do_not_overlap(text):
    windows = load(text=str(text))
    assert windows.calibration.shape == (4, 8)
    assert windows.validation.shape == (3, 8)
    both = as_set(windows.calibration) | as_set(windows.validation)
    assert len(both) == 7
    assert windows.found.tokens == 161  # the end-of-text token included


def test_the_same_seed_draws_the_same_windows(text):
    first, again = load(text=str(text)), load(text=str(text))
    assert torch.equal(first.calibration, again.calibration)
    other = load(text=str(text), seed=1)
    assert not torch.equal(first.calibration, other.calibration)


def test_a_text_that_repeats_itself_shares_nothing_between_the_parts(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i % 9:08d}" for i in range(40)))
    windows = load(text=str(path))
    assert not as_set(windows.calibration) & as_set(windows.validation)
    assert windows.found.shared_windows > 0


def test_a_text_that_says_only_one_thing_cannot_be_held_out(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 200)
    message = refused(text=str(tmp_path / "a.txt"))
    assert "are in the calibration text too; 0 are left" in message


def test_documents_are_counted_once(tmp_path):
    lines = [json.dumps({"text": f"{i % 12:08d}" * 2}) for i in range(24)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = load(text=str(tmp_path / "a.jsonl")).found
    assert (found.documents, found.repeated_documents) == (24, 12)
    assert "12 documents that occur before" in found.left_out
    assert found.short_documents == 0
    (tmp_path / "b.jsonl").write_text("\n".join(lines[:6]))
    other = load(text=str(tmp_path / "a.jsonl"), validation_text=BUILTIN_TEXT).found
    assert other.repeated_documents == 12
    assert "0 tokens" in refused(
        text=str(tmp_path / "a.jsonl"), validation_text=str(tmp_path / "b.jsonl")
    )


def test_a_text_may_be_validated_on_another(text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("X" * 100)
    windows = load(text=str(text), validation_text=str(other))
    (letter,) = byte_tokenizer()("X").input_ids
    assert windows.validation.unique().tolist() == [letter]
    assert letter not in windows.calibration


def test_documents_are_ended_by_the_end_of_text_token(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "abcdefg"}\n{"text": "hijklmnopqrstuv"}\n')
    windows = load(text=str(path), windows=2, validation_windows=1)
    tokens = torch.cat([windows.calibration, windows.validation]).flatten().tolist()
    assert sorted(tokens).count(0) == 2


def test_the_built_in_text_is_split_by_topic():
    windows = load(text=BUILTIN_TEXT, windows=50, validation_windows=50)
    assert not as_set(windows.calibration) & as_set(windows.validation)


def test_token_files_are_taken_as_they_are(tmp_path):
    tokens = np.arange(24, dtype=np.int32).reshape(3, 8)
    np.save(tmp_path / "a.npy", tokens)
    np.save(tmp_path / "b.npy", tokens[:1] + 50)
    windows = load(
        text=str(tmp_path / "a.npy"), validation_text=str(tmp_path / "b.npy")
    )
    assert windows.calibration.tolist() == tokens.tolist()
    assert windows.validation.tolist() == (tokens[:1] + 50).tolist()


def test_a_missing_file(tmp_path):
    assert "There is no text file at" in refused(text=str(tmp_path / "none.txt"))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.npy"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert refused(text=str(tmp_path / name)) == f"{name} is empty."


def test_a_file_of_blanks(tmp_path):
    (tmp_path / "a.txt").write_text(" \n\n ")
    assert "holds no text" in refused(text=str(tmp_path / "a.txt"))


@pytest.mark.parametrize("data", [b"PK\3\4\0\0more", b"caf\xe9 in latin-1"])
def test_a_binary_file(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    assert "a.txt is not UTF-8 text (at byte" in refused(text=str(tmp_path / "a.txt"))


def test_a_file_of_an_unknown_kind(tmp_path):
    (tmp_path / "a.docx").write_text("hello")
    assert "a.docx is of an unknown kind" in refused(text=str(tmp_path / "a.docx"))


def test_too_little_text_is_refused_with_the_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 30)
    assert refused(text=str(tmp_path / "a.txt")) == (
        "The calibration text has 31 tokens: enough for 3 windows of 8, and 4 + 3 "
        "were asked for."
    )


def test_a_copy_of_the_text_is_no_text_to_judge_by(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{i:08d}" for i in range(40)))
    message = refused(
        text=str(tmp_path / "a.txt"), validation_text=str(tmp_path / "b.txt")
    )
    assert "has 0 tokens, as 1 of 1 documents repeat others: enough for 0" in message


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('{"text": "a"}\n{"text": ', "a.jsonl cannot be read"),
        ('{"content": 1}\n', "No column of a.jsonl holds text"),
        ('{"text": "a"}\n{"text": null}\n', "no text in document 2, but NoneType"),
        ("\n \n", "a.jsonl"),
    ],
)
def test_jsonl_that_is_none(tmp_path, lines, sentence):
    (tmp_path / "a.jsonl").write_text(lines)
    assert sentence in refused(text=str(tmp_path / "a.jsonl"))


def test_windows_longer_than_the_model_takes(text):
    message = refused(text=BUILTIN_TEXT, window_length=65)
    assert "The windows have 65 tokens; the model takes at most 64" in message


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (np.full((2, 8), VOCABULARY, np.int32), "token ids from 96 to 96"),
        (np.zeros(8, np.int32), r"holds int32 of shape \(8,\)"),
        (np.zeros((2, 8), np.float32), "holds float32"),
        (np.zeros((2, 1), np.int32), r"holds int32 of shape \(2, 1\)"),
    ],
)
def test_token_files_that_do_not_fit(tmp_path, tokens, sentence):
    path = tmp_path / "a.npy"
    np.save(path, tokens)
    with pytest.raises(CalibrationError, match=sentence):
        load(text=str(path), validation_text=BUILTIN_TEXT)


def test_a_token_file_needs_a_validation_text(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 8), np.int32))
    assert "all of which are for calibration" in refused(text=str(tmp_path / "a.npy"))


def test_one_file_spelt_in_two_ways_is_one_text(text):
    other = text.parent / "x" / ".." / text.name
    (text.parent / "x").mkdir()
    windows = load(text=str(text), validation_text=str(other))
    assert not as_set(windows.calibration) & as_set(windows.validation)
    np.save(text.parent / "a.npy", np.zeros((2, 8), np.int32))
    tokens = str(text.parent / "a.npy")
    message = refused(text=tokens, validation_text=tokens)
    assert "all of which are for calibration" in message


def test_a_name_with_brackets_is_a_name(text):
    other = text.rename(text.with_name("notes [2024].txt"))
    assert load(text=str(other)).calibration.shape == (4, 8)


def test_a_damaged_token_file(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"PK\3\4 not a zip")
    message = refused(text=str(tmp_path / "a.npy"), validation_text=BUILTIN_TEXT)
    assert "a.npy is not a NumPy file" in message


def test_a_user_nobody_knows_is_no_crash():
    assert "There is no text file" in refused(text="~nobody-of-that-name/a.txt")


def test_a_preview_shows_what_will_be_measured(text, tmp_path):
    folder = save_tiny_model(tmp_path / "tiny")
    shown = preview_text(ModelConfig(source=str(folder)), config(text=str(text)))
    assert len(shown.calibration) == 4
    assert len(shown.validation) == 3
    assert shown.calibration_tokens == 32
    assert shown.validation_tokens == 24
    first = load(text=str(text)).calibration[0]
    assert shown.calibration[0] == byte_tokenizer().decode(first)
