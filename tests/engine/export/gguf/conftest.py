"""The programs that run GGUF files, as fixtures."""

import pytest

from tests.helpers.gguf_files import INSTALLED, RUNTIMES


@pytest.fixture(params=[pytest.param(x, marks=pytest.mark.runtimes) for x in RUNTIMES])
def runtime(request):
    if request.param not in INSTALLED:
        pytest.skip(f"{request.param} is not installed")
    return request.param
