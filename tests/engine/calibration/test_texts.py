"""Each kind of text source is read, or raises with a message."""

import csv
import json

import datasets
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration import hub_datasets, tables
from surgeon_engine.calibration.texts import (
    TextSource,
    calibration_source,
    described_text,
    read_documents,
    validation_source,
)
from surgeon_engine.planning.windows import TABLES

STORIES = ['Once upon a time,\n"it" began.', "NA", "Ünïcode, too"]
TABLE = {"id": ["a1", "b2", "c3"], "story": STORIES, "stars": [1, 2, 3]}
DATASET = "hf://datasets/someone/stories"


def write_jsonl(path):
    rows = (
        dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)
    )
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


WRITERS = {
    ".jsonl": write_jsonl,
    ".csv": lambda path: pyarrow.csv.write_csv(pyarrow.table(TABLE), path),
    ".parquet": lambda path: pyarrow.parquet.write_table(pyarrow.table(TABLE), path),
}


@pytest.fixture(params=WRITERS)
def table(request, tmp_path):
    path = tmp_path / f"stories{request.param}"
    WRITERS[request.param](path)
    return path


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Return a dataset in a folder, in place of one on the Hub."""
    for config in ("long", "short"):
        (tmp_path / "data" / config).mkdir(parents=True)
        for split, rows in (("train", 30), ("validation", 10)):
            lines = [{"text": f"{config} {split} {i}", "n": i} for i in range(rows)]
            path = tmp_path / "data" / config / f"{split}.jsonl"
            path.write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "data" / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {config}\n  data_files:\n"
            + "".join(
                f"  - split: {split}\n    path: {config}/{split}.jsonl\n"
                for split in ("train", "validation")
            )
            for config in ("long", "short")
        )
        + "---\n"
    )
    monkeypatch.setattr(hub_datasets, "_location", lambda name: str(tmp_path / "data"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return DATASET


def texts(path, **settings):
    config = CalibrationConfig(text=str(path), **settings)
    return read_documents(calibration_source(config), "calibration").texts


def error_of(path, **settings):
    with pytest.raises(CalibrationError) as error:
        texts(path, **settings)
    assert error.value.hint
    return f"{error.value.message} {error.value.hint}"


def test_default_column_has_the_longest_texts(table):
    assert texts(table) == STORIES


def test_requested_column_is_read(table):
    assert texts(table, column="id") == ["a1", "b2", "c3"]


def test_default_column_is_named_text(tmp_path):
    line = {"text": "short", "comment": "a much longer text"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    assert texts(tmp_path / "a.jsonl") == ["short"]


def test_half_of_a_pair_of_utf_16_becomes_a_question_mark(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"text": "a \ud800 b", "score": NaN}')
    assert texts(tmp_path / "a.jsonl") == ["a ? b"]


def test_missing_column_raises(table):
    message = error_of(table, column="stars")
    assert "has no column “stars” with text. Choose one of these: story, id." in message


@pytest.mark.parametrize(("count", "end"), [(12, "k, l."), (14, "k, l and 2 more.")])
def test_long_list_of_columns_is_cut(tmp_path, count, end):
    path = tmp_path / "wide.jsonl"
    row = {chr(97 + n): (count - n) * "x" for n in range(count)}
    path.write_text(json.dumps(row))
    assert error_of(path, column="stars").endswith(end)


def test_rows_without_a_text_are_counted_and_other_values_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": null}\n{"title": "three"}')
    found = read_documents(TextSource(str(path)), "calibration")
    assert (found.texts, found.without_text) == (["one"], 2)
    rows = ['{"text": "one"}'] * 60
    path.write_text("\n".join([*rows, '{"text": 2}']))
    assert "no text in document 61, but int" in error_of(path)


@pytest.mark.parametrize(
    ("mark", "first"), [(",", "id"), (";", "id, number"), ("\t", "id"), ("|", "")]
)
def test_columns_of_a_csv_file_are_separated_by_the_mark_of_its_first_line(
    mark, first, tmp_path
):
    path = tmp_path / "a.csv"
    rows = (first, "story"), ("1", "Once, upon; a\ttime."), ("2",), ("", ""), ("3", " ")
    # A first line without a name is a header of no usual mark.
    for named in ("", f"sep={mark}\r\n") if first else (f"SEP={mark}\r\n",):
        with path.open("w", newline="") as file:
            file.write(named)
            csv.writer(file, delimiter=mark).writerows(rows)
        assert described_text(CalibrationConfig(text=str(path))).columns == ("story",)
        found = read_documents(TextSource(str(path)), "calibration")
        assert (found.texts, found.column) == (["Once, upon; a\ttime."], "story")
        assert found.without_text == 3


def test_parts_of_a_text_have_different_names():
    source = TextSource("a.csv", "b", config="de", split="train")
    assert source.display_name == "a.csv (de, train, b)"
    assert TextSource("a.csv").display_name == "a.csv"


def test_described_table_lists_its_columns(table):
    described = described_text(CalibrationConfig(text=str(table)))
    assert described.columns == ("story", "id")
    assert described.column == "story"


def test_described_plain_text_has_no_columns(tmp_path):
    (tmp_path / "a.txt").write_text("all of it")
    assert described_text(CalibrationConfig(text=str(tmp_path / "a.txt"))).columns == ()
    assert described_text(CalibrationConfig()).columns == ()


@pytest.mark.parametrize("ending", WRITERS)
def test_damaged_table_raises(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b'"open quote\n{,,\n1,2,3,4')
    assert f"a{ending} cannot be read" in error_of(path)


def test_validation_text_may_have_another_column(table, tmp_path):
    (tmp_path / "other.jsonl").write_text('{"text": "held out"}')
    config = CalibrationConfig(
        text=str(table),
        column="id",
        validation_text=str(tmp_path / "other.jsonl"),
    )
    read = read_documents(validation_source(config), "validation")
    assert read.texts == ["held out"]


def test_first_rows_of_a_data_set_are_read(dataset):
    read = texts(dataset, dataset_config="long", rows=5)
    assert read == [f"long train {i}" for i in range(5)]


def test_another_split_is_held_out(dataset):
    config = CalibrationConfig(
        text=dataset, dataset_config="short", validation_split="validation"
    )
    held_out = validation_source(config)
    assert not held_out.is_same(calibration_source(config))
    read = read_documents(held_out, "validation")
    assert read.texts[0] == "short validation 0"


def test_described_data_set_lists_configs_splits_and_columns(dataset):
    described = described_text(CalibrationConfig(text=dataset))
    assert described.configs == ("long", "short")
    assert described.splits == ("train", "validation")
    assert (described.split, described.column) == ("train", "text")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "several configurations, and none was chosen. Choose one: long, short."),
        ({"dataset_config": "wide"}, "no configuration “wide”"),
        ({"dataset_config": "long", "split": "test"}, "no split “test”"),
        ({"dataset_config": "long", "column": "n"}, "no column “n” with text"),
    ],
)
def test_missing_parts_of_a_data_set_raise(dataset, settings, sentence):
    assert sentence in error_of(dataset, **settings)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionError("no route"), "cannot be reached: ConnectionError"),
        (
            datasets.exceptions.DatasetNotFoundError("no"),
            "does not exist, or is private",
        ),
        (datasets.exceptions.DatasetNotFoundError("a gated dataset"), "is gated"),
        (ValueError("Bad split\nlong story"), "cannot be read: Bad split."),
    ],
)
def test_unavailable_data_set_raises(monkeypatch, error, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "get_dataset_config_names", fail)
    assert sentence in error_of(DATASET)


def test_name_of_data_set_is_not_a_path():
    calibration = CalibrationConfig(
        text=DATASET,
        column="story",
        dataset_config="long",
        split="train",
        validation_split="validation",
        rows=500,
    )
    config = RunConfig(calibration=calibration)
    assert config_from_toml(config_to_toml(config)) == config
    assert hub_name(DATASET).is_dataset


@pytest.mark.parametrize(
    "settings",
    [{"text": "hf://someone/model"}, {"split": "train"}, {"dataset_config": "long"}],
)
def test_inconsistent_settings_raise(settings):
    with pytest.raises(ConfigError):
        CalibrationConfig(**settings)


def test_each_kind_of_table_has_a_reader():
    assert tuple(tables.KINDS) == TABLES
