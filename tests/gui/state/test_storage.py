"""The sizes of the caches, and what may be deleted from them."""

import pytest

from surgeon_engine.base.files import measurements_folder, own_samples_folder
from surgeon_gui.state import storage
from surgeon_gui.state.sources.samples import samples_folder
from surgeon_gui.state.storage import StoredKind

OWN_CACHES = ("Text by the models themselves", "Measurements of the models")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Fill the caches: two models and a dataset of the Hub, a sample, own text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    hub = tmp_path / "huggingface" / "hub"
    for name, size in (
        ("models--org--small", 1_000),
        ("models--org--large", 2_000),
        ("datasets--org--texts", 300),
        (".locks", 10),
    ):
        (hub / name / "blobs").mkdir(parents=True)
        (hub / name / "blobs" / "1").write_bytes(bytes(size))
    snapshot = hub / "models--org--small" / "snapshots"
    snapshot.mkdir()
    (snapshot / "model.safetensors").symlink_to("../blobs/1")
    for folder, name, size in (
        (samples_folder(), "SmolLM2.gguf", 50),
        (own_samples_folder(), f"{32 * 'a'}.npy", 40),
        (measurements_folder(), f"{32 * 'b'}.gates-1-2.safetensors", 30),
    ):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(bytes(size))
    return hub


def test_items_have_names_and_sizes_and_links_count_once():
    found = [(item.kind, item.name, item.bytes) for item in storage.read_storage()]
    assert found == [
        (StoredKind.HUB_MODEL, "org/large", 2_000),
        (StoredKind.HUB_MODEL, "org/small", 1_000),
        (StoredKind.HUB_DATASET, "org/texts", 300),
        (StoredKind.SAMPLE, "SmolLM2", 50),
        (StoredKind.OWN_TEXT, "Text by the models themselves", 40),
        (StoredKind.MEASUREMENTS, "Measurements of the models", 30),
    ]


def test_missing_caches_are_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    assert storage.read_storage() == ()


def test_question_has_the_name_the_size_and_what_else_may_need_it():
    large = storage.read_storage()[0]
    question, details = storage.delete_question(large)
    assert question == "Delete org/large (2.0\xa0kB)?"
    assert str(large.path) in details
    assert "another one may need the model" in details


@pytest.mark.parametrize("index", range(6))
def test_one_item_is_deleted_and_the_others_are_kept(index):
    items = storage.read_storage()
    assert storage.delete(items[index]) == ""
    assert storage.read_storage() == items[:index] + items[index + 1 :]


def test_models_and_texts_of_a_task_cannot_be_deleted():
    items = {item.name: item for item in storage.read_storage()}
    sample = items["SmolLM2"]
    sources = ("hf://org/large@main", "hf://datasets/org/texts", str(sample.path))
    used = storage.paths_of_sources(sources)
    for name, item in items.items():
        is_used = name in ("org/large", "org/texts", "SmolLM2")
        assert bool(storage.delete_obstacle(item, used, is_busy=False)) is is_used
    for name in OWN_CACHES:
        assert storage.delete_obstacle(items[name], used, is_busy=True)


@pytest.mark.parametrize("name", OWN_CACHES)
def test_only_files_of_surgeon_are_deleted(name):
    item = next(item for item in storage.read_storage() if item.name == name)
    (item.path / "thesis.txt").touch()
    assert storage.delete(item) == ""
    assert [path.name for path in item.path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", OWN_CACHES)
def test_linked_cache_is_not_cleared(name, tmp_path):
    mine = tmp_path / "mine"
    item = next(item for item in storage.read_storage() if item.name == name)
    item.path.rename(mine)
    item.path.symlink_to(mine)
    assert "is a link" in storage.delete(item)
    assert list(mine.iterdir())


def test_failed_deletion_is_reported(monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storage.shutil, "rmtree", fail)
    assert storage.delete(storage.read_storage()[0]) == "Permission denied"
