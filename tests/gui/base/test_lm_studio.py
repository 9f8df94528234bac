"""Where models lie, and files that get to those of LM Studio whole."""

import json
import os
import shutil

import pytest

from surgeon_gui.base import lm_studio
from surgeon_gui.base.lm_studio import Stopped, add_file, models_folder, start_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def models(home):
    folder = home / ".lmstudio" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF of a run")
    return path


def no_link(source, target):
    raise OSError("another disk")


def files_in(folder):
    return sorted(str(x.relative_to(folder)) for x in folder.rglob("*") if x.is_file())


def test_folder_of_models_is_that_of_an_installed_lm_studio(home):
    assert models_folder() is None
    (home / ".cache" / "lm-studio" / "models").mkdir(parents=True)
    assert models_folder() == home / ".cache" / "lm-studio" / "models"
    (home / ".lmstudio" / "models").mkdir(parents=True)
    assert models_folder() == home / ".lmstudio" / "models"


def test_folder_of_models_is_that_of_the_home_that_a_file_names(home, models):
    (home / "elsewhere" / "models").mkdir(parents=True)
    (home / ".lmstudio-home-pointer").write_text(f"{home / 'elsewhere'}\n")
    assert models_folder() == home / "elsewhere" / "models"
    shutil.rmtree(home / "elsewhere")
    assert models_folder() == models


@pytest.mark.parametrize("text", ["{broken", "[]", '{"downloadsFolder": 3}', "{}"])
def test_settings_that_name_no_folder_leave_the_usual_one(models, text):
    (models.parent / "settings.json").write_text(text)
    assert models_folder() == models


def test_folder_of_models_is_that_of_the_settings(models, home):
    (home / "big disk").mkdir()
    settings = json.dumps({"downloadsFolder": str(home / "big disk"), "other": 1})
    (models.parent / "settings.json").write_text(settings)
    assert models_folder() == home / "big disk"


def test_start_is_the_first_of_these_folders_that_exists(home):
    assert start_folder("") == str(home)
    hub = home / ".cache" / "huggingface" / "hub"
    studio = home / ".lmstudio" / "models"
    last = home / "last"
    for folder in (hub, studio, last):
        folder.mkdir(parents=True)
        assert start_folder(str(last)) == str(folder)
    assert start_folder("") == str(studio)
    last.rmdir()
    assert start_folder(str(last)) == str(studio)


def test_file_is_linked_where_lm_studio_looks(models, file):
    place = add_file(file, models, "small")
    assert place == models / "surgeon" / "small" / "small.gguf"
    assert place.samefile(file)
    assert files_in(models) == ["surgeon/small/small.gguf"]


def test_file_is_copied_to_another_disk(models, file, monkeypatch):
    monkeypatch.setattr(os, "link", no_link)
    place = add_file(file, models, "small")
    assert place.read_bytes() == file.read_bytes()
    assert not place.samefile(file)
    assert add_file(file, models, "small") == place  # it is there already
    assert files_in(models) == ["surgeon/small/small.gguf"]


def test_other_file_of_the_same_name_stays(models, file):
    first = add_file(file, models, "small")
    other = file.with_name("other.gguf")
    other.write_bytes(b"GGUF of another run")
    second = add_file(other, models, "small")
    assert second == models / "surgeon" / "small-2" / "small-2.gguf"
    assert first.read_bytes() == file.read_bytes()


def test_file_that_cannot_be_copied_leaves_nothing(models, file, monkeypatch):
    def half(source, is_stopped):
        yield b"GG"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(lm_studio, "_chunks", half)
    with pytest.raises(OSError, match="No space left"):
        add_file(file, models, "small")
    assert list(models.iterdir()) == []


def test_folder_that_cannot_be_made_leaves_nothing(models, file):
    with pytest.raises(OSError, match="too long"):
        add_file(file, models, "x" * 300)
    assert list(models.iterdir()) == []


def test_stopped_copy_leaves_nothing(models, file, monkeypatch):
    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(lm_studio, "_CHUNK_BYTES", 4)
    asked = iter((False, True))
    with pytest.raises(Stopped):
        add_file(file, models, "small", lambda: next(asked))
    assert list(models.iterdir()) == []


def test_stopped_comparison_adds_nothing(models, file, monkeypatch):
    monkeypatch.setattr(os, "link", no_link)
    add_file(file, models, "small")
    with pytest.raises(Stopped):
        add_file(file, models, "small", lambda: True)
    assert files_in(models) == ["surgeon/small/small.gguf"]
