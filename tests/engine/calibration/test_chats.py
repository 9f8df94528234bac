"""Chats are rendered by the template of the model; rows without a chat are counted."""

import json

import pyarrow
import pyarrow.parquet
import pytest
import torch

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration import long_texts, tables
from surgeon_engine.calibration.fenced import preview_text
from surgeon_engine.calibration.left_out import left_out
from surgeon_engine.calibration.texts import described_text
from surgeon_engine.calibration.windows import Vocabulary, draw_windows
from surgeon_engine.model.chat_template import opening_of_chats
from tests.helpers.tiny_models import (
    VOCABULARY,
    byte_tokenizer,
    save_tiny_model,
    tokenizer_with_beginning,
)

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role not in ('user', 'assistant') %}{{ raise_exception('Unknown role') }}"
    "{% endif %}{{ m.role }}: {{ m.content }}|{% endfor %}"
)


def chat(number: int) -> list[dict[str, str]]:
    """Return a chat that occurs once."""
    return [
        {"role": "user", "content": f"Question {number}?"},
        {"role": "assistant", "content": f"Answer {number}."},
    ]


def shared(number: int) -> list[dict[str, str]]:
    """Return the same chat with the names of other datasets."""
    names = {"user": "human", "assistant": "gpt"}
    return [{"from": names[m["role"]], "value": m["content"]} for m in chat(number)]


def write(path, rows):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def tokenizer_of(template=TEMPLATE):
    tokenizer = tokenizer_with_beginning("<bos>")
    tokenizer.chat_template = template
    return tokenizer


def load(path, tokenizer=None, **settings):
    small = {"windows": 4, "validation_windows": 3, "window_length": 16}
    config = CalibrationConfig(text=str(path), **(small | settings))
    vocabulary = Vocabulary(VOCABULARY, 64)
    return draw_windows(config, tokenizer or tokenizer_of(), vocabulary)[1]


def error_of(path, tokenizer=None, **settings) -> str:
    with pytest.raises(CalibrationError) as error:
        load(path, tokenizer, **settings)
    assert error.value.hint
    return error.value.message


def running_text(windows, tokenizer) -> str:
    """Return the windows without their beginnings, as one text."""
    both = torch.cat([windows.calibration, windows.validation])
    return "".join(tokenizer.decode(window[1:]) for window in both)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("column", "make"), [("messages", chat), ("conversations", shared)]
)
def test_chats_are_rendered_by_the_template(tmp_path, ending, column, make):
    rows = [{"id": "a long name", column: make(i)} for i in range(20)]
    windows = load(write(tmp_path / f"a{ending}", rows))
    assert windows.statistics.column == column
    assert (windows.statistics.chats, windows.statistics.skipped_chats) == (20, 0)
    plain = [{"text": as_text(chat(i))} for i in range(20)]
    expected = load(write(tmp_path / "plain.jsonl", plain))
    assert torch.equal(windows.calibration, expected.calibration)
    assert torch.equal(windows.validation, expected.validation)


def as_text(messages) -> str:
    return "".join(f"{m['role']}: {m['content']}|" for m in messages)


def test_beginning_that_the_template_writes_is_not_doubled(tmp_path):
    tokenizer = tokenizer_of()
    path = write(tmp_path / "a.jsonl", [{"messages": chat(i)} for i in range(20)])
    windows = load(path, tokenizer)
    both = torch.cat([windows.calibration, windows.validation])
    begins = both == tokenizer.bos_token_id
    assert begins[:, 0].all()
    assert not begins[:, 1:].any()


def test_end_that_the_template_writes_is_not_doubled(tmp_path):
    template = TEMPLATE + "{{ eos_token }} "
    tokenizer = tokenizer_of(template)
    path = write(tmp_path / "a.jsonl", [{"messages": chat(i)} for i in range(20)])
    windows = load(path, tokenizer)
    text = running_text(windows, tokenizer)
    assert "<end> <unknown>" in text  # the space after it
    assert "<unknown> <end>" not in text


def test_beginning_of_a_long_table_of_chats_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_CHARACTERS", 50_000)
    rows = [{"messages": chat(number)} for number in range(1_500)]
    windows = load(write(tmp_path / "a.parquet", rows))
    assert windows.statistics.chats == 1_000
    left = long_texts.size_of([row["messages"] for row in rows[1_000:]])
    assert windows.statistics.unread_characters == pytest.approx(left, rel=0.1)


def test_column_called_text_comes_before_chats(tmp_path):
    rows = [{"messages": chat(i), "text": f"{i:032d}"} for i in range(10)]
    path = write(tmp_path / "a.jsonl", rows)
    assert load(path).statistics.column == "text"
    found = load(path, column="messages", windows=1, validation_windows=1).statistics
    assert (found.column, found.chats) == ("messages", 10)
    described = described_text(CalibrationConfig(text=str(path)))
    assert described.columns == ("text", "messages")


def test_column_of_texts_called_messages_holds_no_chats(tmp_path):
    rows = [{"messages": f"{i:032d}"} for i in range(10)]
    found = load(write(tmp_path / "a.jsonl", rows)).statistics
    assert (found.column, found.chats) == ("messages", 0)


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        [{"role": "user", "content": None}],
        [{"role": None, "content": "No role"}],
        [{"role": "poet", "content": "A role that the template refuses"}],
    ],
)
def test_rows_without_a_chat_are_left_out_and_counted(tmp_path, row):
    rows = [{"messages": chat(i)} for i in range(20)]
    found = load(write(tmp_path / "a.jsonl", [*rows, {"messages": row}])).statistics
    assert (found.chats, found.skipped_chats) == (20, 1)
    assert "cannot render a chat: 1." in left_out(found)


def test_table_whose_chats_the_template_refuses_raises(tmp_path):
    rows = [{"messages": [{"role": "poet", "content": "Hi"}]}] * 3
    message = error_of(write(tmp_path / "a.jsonl", rows))
    assert message == (
        "The chat template of the model can render none of the chats in the column "
        "“messages” of a.jsonl (Unknown role)."
    )


def test_model_without_template_cannot_read_chats(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"messages": chat(0)}] * 3)
    assert error_of(path, byte_tokenizer()) == (
        "There are chats in the column “messages” of a.jsonl, but the model has no "
        "chat template to render them."
    )


def test_template_with_a_date_renders_the_same_text_on_every_day(tmp_path):
    template = TEMPLATE + "{{ date_string or strftime_now('%d %b %Y') }}"
    path = write(tmp_path / "a.jsonl", [{"messages": chat(i)} for i in range(20)])
    tokenizer = tokenizer_of(template)
    text = running_text(load(path, tokenizer), tokenizer)
    assert "0 1 <unknown> J a n <unknown> 2 0 2 5" in text


def test_preview_counts_the_chats(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny", tokenizer=tokenizer_of())
    rows = [{"messages": chat(i)} for i in range(20)]
    path = write(tmp_path / "a.jsonl", [*rows, {"messages": []}])
    config = CalibrationConfig(
        text=str(path), windows=4, validation_windows=3, window_length=16
    )
    shown = preview_text(ModelConfig(source=str(folder)), config)
    assert (shown.statistics.chats, shown.statistics.skipped_chats) == (20, 1)
    assert shown.beginning == "<bos>"


def opening(template, tokenizer=None) -> str:
    tokenizer = tokenizer or tokenizer_with_beginning("<bos>")
    tokenizer.chat_template = template
    return "".join(tokenizer.convert_ids_to_tokens(opening_of_chats(tokenizer)))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, ""),
        (TEMPLATE, "<bos>user:"),  # the space belongs to the first word
        ("{% for m in messages %}U{{ m.content | trim }}|{% endfor %}", "<bos>U"),
        ("{{ bos_token }}{{ messages[0].content }}", ""),  # as any other text
        ("{{ raise_exception('No user') }}", ""),
        ("{{ messages[0].text.strip() }}", ""),
        ("{% if %}", ""),
        ("no content", ""),
        ({"tools": "U{{ messages[0].content }}"}, ""),
    ],
)
def test_opening_of_a_chat_ends_before_the_first_word(template, expected):
    assert opening(template) == expected


def test_opening_without_beginning_or_tokenizer():
    assert opening("U:{{ messages[0].content }}", byte_tokenizer()) == "U:"
    assert opening_of_chats(None) == []
