"""Texts are split into windows that never overlap."""

import json
import re

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    MoreText,
)
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration import later_windows, long_texts
from surgeon_engine.calibration import windows as windows_module
from surgeon_engine.calibration.fenced import preview_text
from surgeon_engine.calibration.left_out import left_out
from surgeon_engine.calibration.windows import Vocabulary, draw_windows
from tests.helpers.tiny_models import (
    VOCABULARY,
    byte_tokenizer,
    save_tiny_model,
    tokenizer_with_beginning,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def config(**settings) -> CalibrationConfig:
    small = {"windows": 4, "validation_windows": 3, "window_length": 8}
    return CalibrationConfig(**(small | settings))


def load(tokenizer=None, epochs=0, judging=0, **settings):
    vocabulary = Vocabulary(VOCABULARY, longest_window=64)
    tokenizer = tokenizer or byte_tokenizer()
    return draw_windows(config(**settings), tokenizer, vocabulary, epochs, judging)[1]


def error_of(**settings) -> str:
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
    assert windows.statistics.tokens == 161  # the end-of-text token included


def test_same_seed_draws_the_same_windows(text):
    first, again = load(text=str(text)), load(text=str(text))
    assert torch.equal(first.calibration, again.calibration)
    other = load(text=str(text), seed=1)
    assert not torch.equal(first.calibration, other.calibration)


def test_repetitive_text_shares_nothing_between_the_parts(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i % 9:08d}" for i in range(40)))
    windows = load(text=str(path))
    assert not as_set(windows.calibration) & as_set(windows.validation)
    assert windows.statistics.shared_windows > 0


def test_text_of_equal_windows_cannot_be_held_out(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 200)
    message = error_of(text=str(tmp_path / "a.txt"))
    assert "are in the calibration text too; 0 remain" in message


def test_documents_are_counted_once(tmp_path):
    lines = [json.dumps({"text": f"{i % 12:08d}" * 2}) for i in range(24)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = load(text=str(tmp_path / "a.jsonl")).statistics
    assert (found.documents, found.repeated_documents) == (24, 12)
    assert "Repeated documents left out: 12" in left_out(found)
    assert found.short_documents == 0
    (tmp_path / "b.jsonl").write_text("\n".join(lines[:6]))
    other = load(
        text=str(tmp_path / "a.jsonl"), validation_text=BUILTIN_TEXT
    ).statistics
    assert other.repeated_documents == 12
    assert "0 tokens" in error_of(
        text=str(tmp_path / "a.jsonl"), validation_text=str(tmp_path / "b.jsonl")
    )


def test_validation_text_may_be_another_text(text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("X" * 100)
    windows = load(text=str(text), validation_text=str(other))
    (letter,) = byte_tokenizer()("X").input_ids
    assert windows.validation.unique().tolist() == [letter]
    assert letter not in windows.calibration


def test_documents_end_with_end_of_text_token(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "abcdefg"}\n{"text": "hijklmnopqrstuv"}\n')
    windows = load(text=str(path), windows=2, validation_windows=1)
    tokens = torch.cat([windows.calibration, windows.validation]).flatten().tolist()
    assert sorted(tokens).count(0) == 2


def test_windows_without_beginning_are_cut_from_the_running_tokens(text):
    tokenizer = byte_tokenizer()
    tokens = torch.tensor([*tokenizer(text.read_text()).input_ids, 0])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    windows = load(text=str(text))
    assert torch.equal(windows.calibration, tokens[:160].view(20, 8)[order[:4]])
    assert windows.beginning == ""


@pytest.mark.parametrize("names", [("<bos>",), ("<bos>", "<sop>")])
def test_windows_begin_as_the_tokenizer_wants(text, names):
    tokenizer = tokenizer_with_beginning(*names)
    ids, k = tokenizer.convert_tokens_to_ids(list(names)), len(names)
    windows = load(tokenizer, text=str(text))
    both = torch.cat([windows.calibration, windows.validation])
    assert both.shape == (7, 8)
    assert both[:, :k].tolist() == [ids] * 7
    assert not torch.isin(both[:, k:], torch.tensor(ids)).any()
    running = tokenizer.decode(tokenizer(text.read_text()).input_ids[k:])
    positions = [running.find(tokenizer.decode(window[k:])) for window in both]
    assert all(each >= 0 and each % (8 - k) == 0 for each in positions)
    assert windows.beginning.split() == list(names)
    assert windows.statistics.tokens == 161 + 161 // (8 - k) * k
    assert windows.statistics.short_documents == 0


def letters(path, letter) -> str:
    """Write a text whose windows differ from the main text."""
    path.write_text("".join(f"{i:07d}{letter}" for i in range(20)))
    return str(path)


def test_later_epochs_have_the_windows_that_are_left(text, monkeypatch):
    windows = load(text=str(text), epochs=100)
    assert list(map(len, windows.later)) == [4, 3, 3, 3]  # 13 of 20 are left
    parts = (windows.calibration, windows.validation, *windows.later)
    assert len(set().union(*map(as_set, parts))) == sum(map(len, parts)) == 20
    assert list(map(len, load(text=str(text), epochs=2).later)) == [2] * 4
    assert load(text=str(text)).later == ()
    monkeypatch.setattr(later_windows, "_MOST_TOKENS", 4 * 8 * 2 + 3 * 8)
    assert list(map(len, load(text=str(text), epochs=100).later)) == [1] * 4


def share_texts(tmp_path, *shares):
    """Return further texts of capital letters, one letter in each."""
    return tuple(
        MoreText(letters(tmp_path / f"{letter}.txt", letter), share)
        for letter, share in zip("ABC", shares, strict=False)
    )


def test_further_texts_take_their_shares_of_the_windows(text, tmp_path):
    more = share_texts(tmp_path, 0.25, 0.5)
    windows = load(text=str(text), windows=8, more_texts=more)
    alone = load(text=str(text), windows=8)
    decoded = [byte_tokenizer().decode(window) for window in windows.calibration]
    kinds = "".join(
        next((letter for letter in "AB" if letter in window), "-") for window in decoded
    )
    assert {kind: kinds.count(kind) for kind in "-AB"} == {"-": 2, "A": 2, "B": 4}
    assert kinds not in ("--AABBBB", "".join(sorted(kinds)))  # shuffled
    assert torch.equal(
        load(text=str(text), windows=8, more_texts=more).calibration,
        windows.calibration,
    )
    assert as_set(windows.calibration) & as_set(alone.calibration)
    later = load(text=str(text), windows=8, more_texts=more, epochs=100).later
    counts: dict[str, list[int]] = {"-": [], "A": [], "B": []}
    for kind, window, others in zip(kinds, windows.calibration, later, strict=True):
        known = [byte_tokenizer().decode(x) for x in (window, *others)]
        assert all("A" in x for x in known) == (kind == "A")
        assert all("B" in x for x in known) == (kind == "B")
        counts[kind].append(len(set(known)))
    assert {x: sorted(y) for x, y in counts.items()} == {
        "-": [8, 9], "A": [10, 10], "B": [5, 5, 5, 5]
    }  # fmt: skip
    assert windows.text == alone.text == str(text)


@pytest.mark.slow
def test_further_texts_do_not_change_what_is_measured(text, tmp_path):
    alone = load(text=str(text), windows=2)
    more = share_texts(tmp_path, 0.5)
    mixed = load(text=str(text), windows=4, more_texts=more)
    assert torch.equal(mixed.validation, alone.validation)
    other = load(text=str(text), windows=2, validation_text=BUILTIN_TEXT)
    more = (*more, MoreText(BUILTIN_TEXT, 0.25))
    mixed = load(
        text=str(text), windows=4, validation_text=BUILTIN_TEXT, more_texts=more
    )
    assert torch.equal(mixed.validation, other.validation)


def test_further_texts_judge_by_windows_that_nothing_is_fitted_to(text, tmp_path):
    a, b = share_texts(tmp_path, 0.25, 0.5)
    more = (a, b, MoreText(BUILTIN_TEXT, 0.125))
    shown = load(text=str(text), windows=8, more_texts=more, epochs=100, judging=3)
    assert [each.name for each in shown.judging] == [
        str(text), a.text, b.text, BUILTIN_TEXT
    ]  # fmt: skip
    assert [len(each.windows) for each in shown.judging] == [3, 3, 3, 3]
    fitted = as_set(torch.cat([shown.calibration, *shown.later]))
    for each in shown.judging:
        assert not fitted & as_set(each.windows)
    builtin = load(text=BUILTIN_TEXT, validation_windows=3).validation
    assert torch.equal(shown.others[-1].windows, builtin)
    assert len(load(text=str(text), windows=8, more_texts=more).judging) == 1
    (tmp_path / "A.txt").write_text("A" * 15)
    shown = load(text=str(text), windows=8, more_texts=(a,), judging=3)
    assert shown.others == () and "A.txt" in str(left_out(shown.statistics))


def test_window_of_a_further_text_is_not_held_out(text, tmp_path):
    tokenizer = byte_tokenizer()
    alone = load(text=str(text))
    copied = "".join(map(tokenizer.decode, alone.validation)).replace(" ", "")
    (tmp_path / "copy.txt").write_text(copied)
    more = (MoreText(str(tmp_path / "copy.txt"), 0.5),)
    mixed = load(text=str(text), windows=6, more_texts=more)
    assert (len(mixed.calibration), len(mixed.validation)) == (6, 3)
    assert not as_set(mixed.calibration) & as_set(mixed.validation)
    assert mixed.statistics.shared_windows > 0


def test_short_further_text_raises_with_its_name(text, tmp_path):
    (tmp_path / "short.txt").write_text("x" * 9)
    more = (MoreText(str(tmp_path / "short.txt"), 0.5),)
    assert error_of(text=str(text), more_texts=more) == (
        f"The text {tmp_path / 'short.txt'} has 10 tokens: enough for 1 windows of 8, "
        "but 2 are needed."
    )


def test_copy_of_a_text_has_no_new_documents(text, tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    message = error_of(text=str(text), more_texts=(MoreText(str(copy), 0.5),))
    assert message.startswith(f"The text {copy} has 0 tokens: ")
    assert "1 of 1 documents are duplicates" in message


def test_text_is_named_once(text, tmp_path):
    (tmp_path / "b.txt").write_text("b")
    other = MoreText(str(tmp_path / "b.txt"))
    for more in ((MoreText(str(text)),), (other, other)):
        config = CalibrationConfig(str(text), more_texts=more)
        assert [setting for setting, _ in config.contradictions()] == ["more_texts"]
    parts = (MoreText(str(text), column="a"), MoreText(str(text), column="b"))
    assert not [*CalibrationConfig(str(text), more_texts=parts).contradictions()]


def test_share_of_less_than_a_window_is_none(text, tmp_path):
    more = share_texts(tmp_path, 0.01)
    windows = load(text=str(text), more_texts=more)
    assert as_set(windows.calibration) == as_set(load(text=str(text)).calibration)


def test_token_file_is_not_mixed(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 8), np.int32))
    with pytest.raises(ConfigError, match="All windows of"):
        load(
            text=str(tmp_path / "a.npy"),
            validation_text=BUILTIN_TEXT,
            more_texts=share_texts(tmp_path, 0.5),
        )


def test_preview_shows_each_text(text, tmp_path):
    folder = save_tiny_model(tmp_path / "tiny")
    more = share_texts(tmp_path, 0.25, 0.5)
    shown = preview_text(
        ModelConfig(source=str(folder)),
        config(text=str(text), windows=8, more_texts=more),
    )
    assert (shown.calibration_windows, shown.calibration_tokens) == (2, 64)
    assert len(shown.calibration) == 2
    assert [(each.text, each.windows) for each in shown.more_texts] == [
        (more[0].text, 2),
        (more[1].text, 4),
    ]
    assert all("A" in window for window in shown.more_texts[0].shown)


def test_token_files_have_no_beginning(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 8), np.int32))
    np.save(tmp_path / "b.npy", np.ones((3, 8), np.int32))
    windows = load(
        tokenizer_with_beginning("<bos>"),
        text=str(tmp_path / "a.npy"),
        validation_text=str(tmp_path / "b.npy"),
    )
    assert windows.validation.unique().tolist() == [1]
    assert windows.beginning == ""


@pytest.mark.slow
def test_builtin_text_is_split_by_topic():
    windows = load(text=BUILTIN_TEXT, windows=50, validation_windows=50)
    assert not as_set(windows.calibration) & as_set(windows.validation)


def test_token_files_are_read_unchanged(tmp_path):
    tokens = np.arange(24, dtype=np.int32).reshape(3, 8)
    np.save(tmp_path / "a.npy", tokens)
    np.save(tmp_path / "b.npy", tokens[:1] + 50)
    windows = load(
        text=str(tmp_path / "a.npy"), validation_text=str(tmp_path / "b.npy")
    )
    assert windows.calibration.tolist() == tokens.tolist()
    assert windows.validation.tolist() == (tokens[:1] + 50).tolist()


def test_short_text_raises_with_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 30)
    assert error_of(text=str(tmp_path / "a.txt")) == (
        "The calibration text has 31 tokens: enough for 3 windows of 8, but 4 + 3 "
        "are needed."
    )


def test_copy_of_calibration_text_is_not_held_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{i:08d}" for i in range(40)))
    message = error_of(
        text=str(tmp_path / "a.txt"), validation_text=str(tmp_path / "b.txt")
    )
    assert "has 0 tokens: enough for 0" in message


@pytest.mark.slow
def test_windows_longer_than_the_models_maximum_raise(text):
    message = error_of(text=BUILTIN_TEXT, window_length=65)
    assert "The windows have 65 tokens; the maximum of the model is 64" in message


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (np.full((2, 8), VOCABULARY, np.int32), "token ids from 96 to 96"),
        (np.zeros(8, np.int32), r"holds int32 of shape \(8,\)"),
        (np.zeros((2, 8), np.float32), "holds float32"),
        (np.zeros((2, 1), np.int32), r"holds int32 of shape \(2, 1\)"),
    ],
)
def test_unsuitable_token_files_raise(tmp_path, tokens, sentence):
    path = tmp_path / "a.npy"
    np.save(path, tokens)
    with pytest.raises(CalibrationError, match=sentence):
        load(text=str(path), validation_text=BUILTIN_TEXT)


def test_token_file_needs_a_validation_text(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 8), np.int32))
    with pytest.raises(ConfigError, match="needs a validation text of its own"):
        load(text=str(tmp_path / "a.npy"))


def test_one_file_under_two_names_is_one_text(text):
    other = text.parent / "x" / ".." / text.name
    (text.parent / "x").mkdir()
    windows = load(text=str(text), validation_text=str(other))
    assert not as_set(windows.calibration) & as_set(windows.validation)
    np.save(text.parent / "a.npy", np.zeros((2, 8), np.int32))
    tokens = str(text.parent / "a.npy")
    with pytest.raises(ConfigError, match="needs a validation text of its own"):
        load(text=tokens, validation_text=tokens)


def test_brackets_in_names_are_literal(text):
    other = text.rename(text.with_name("notes [2024].txt"))
    assert load(text=str(other)).calibration.shape == (4, 8)


def test_missing_file_raises(tmp_path):
    for path in ("~nobody-of-that-name/a.txt", str(tmp_path / "none.txt")):
        assert "There is no text file at" in error_of(text=path)


def test_text_on_the_web_has_to_be_downloaded(tmp_path):
    for text in ("https://example.com/a.txt", f"{tmp_path}/http:/example.com/a.txt"):
        with pytest.raises(CalibrationError) as raised:
            load(text=text)
        assert "Download" in raised.value.hint


def test_preview_shows_first_windows(text, tmp_path):
    folder = save_tiny_model(tmp_path / "tiny")
    shown = preview_text(ModelConfig(source=str(folder)), config(text=str(text)))
    assert len(shown.calibration) == 4
    assert len(shown.validation) == 3
    assert shown.calibration_tokens == 32
    assert shown.validation_tokens == 24
    first = load(text=str(text)).calibration[0]
    assert shown.calibration[0] == byte_tokenizer().decode(first)


def test_random_part_of_a_long_text_is_read(tmp_path, monkeypatch):
    """Windows come from all over the text; only a few times their length is read."""
    monkeypatch.setattr(windows_module, "_SHORT", 1_000)
    monkeypatch.setattr(long_texts, "_PIECE", 100)
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n:07d}\n" for n in range(10_000)))
    windows = load(text=str(text), window_length=24)
    assert 2_500 < windows.statistics.tokens < 4_000
    assert windows.statistics.unread_characters > 76_000
    assert "Characters left out, as a random part" in left_out(windows.statistics)
    both = as_set(windows.calibration) | as_set(windows.validation)
    assert len(both) == 7
    again = load(text=str(text), window_length=24)
    assert torch.equal(windows.calibration, again.calibration)
    texts = [byte_tokenizer().decode(window).replace(" ", "") for window in both]
    lines = [int(n) for found in texts for n in re.findall(r"\d{7}", found)]
    assert max(lines) - min(lines) > 2_000
    other = load(text=str(text), window_length=24, seed=1)
    assert not torch.equal(windows.calibration, other.calibration)


def test_more_of_a_long_text_is_read_where_its_tokens_are_long(tmp_path, monkeypatch):
    monkeypatch.setattr(windows_module, "_SHORT", 100)
    monkeypatch.setattr(windows_module, "_CHARACTERS_PER_TOKEN", 0.1)
    monkeypatch.setattr(long_texts, "_PIECE", 50)
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n:07d}\n" for n in range(100)))
    assert load(text=str(text), windows=20).calibration.shape == (20, 8)
    with pytest.raises(
        CalibrationError, match="has 801 tokens: enough for 100 windows"
    ):
        load(text=str(text), windows=200)


def test_random_part_of_many_chats_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(windows_module, "_SHORT", 2_000)
    path = tmp_path / "chats.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"Hi {n}"}]} for n in range(500)]
    path.write_text("\n".join(map(json.dumps, rows)))
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    found = load(tokenizer, text=str(path)).statistics
    assert 10 < found.chats < 100
    assert (found.documents, found.skipped_chats) == (500, 0)
