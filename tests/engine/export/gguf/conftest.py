"""The programs that run GGUF files, as fixtures."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

RUNTIMES = ("llama_cpp", "xllamacpp")
INSTALLED = [name for name in RUNTIMES if find_spec(name)]


@pytest.fixture(params=[pytest.param(x, marks=pytest.mark.runtimes) for x in RUNTIMES])
def runtime(request):
    if request.param not in INSTALLED:
        pytest.skip(f"{request.param} is not installed")
    return request.param
