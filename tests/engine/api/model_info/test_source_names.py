"""The folder of the Hub's cache is the one that the Hub's own programs use."""

from pathlib import Path

import pytest

from surgeon_engine.api.model_info.source_names import hub_cache

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/home/me/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/cache", "HF_HOME": "~/hf"}, "/home/me/hf/hub"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "$HOME/old"}, "/home/me/old"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/new"}, "/new"),
    ],
)
def test_hub_cache_is_named_by_the_first_variable_that_is_set(
    monkeypatch, environment, folder
):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in ({"HOME": "/home/me"} | environment).items():
        monkeypatch.setenv(variable, value)
    assert hub_cache() == Path(folder)
