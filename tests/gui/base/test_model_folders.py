"""A dialog that opens a model starts where models lie."""

import pytest

from surgeon_gui.base.lm_studio import start_folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    hub = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
    for name in hub:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


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
