"""The libraries print no progress, only warnings."""

import os
import subprocess
import sys

import pytest

LOADING = """
import surgeon_engine
import logging
from transformers.modeling_gguf_pytorch_utils import tqdm
from transformers.utils.logging import get_logger, tqdm as library_tqdm
list(tqdm(range(3), desc="GGUF tensors"))
list(library_tqdm(range(3), desc="weights"))
get_logger("transformers.modeling_utils").warning("LOAD REPORT of tensors")
get_logger("transformers.modeling_utils").warning("a warning that matters")
"""


@pytest.mark.fresh_process
def test_libraries_print_warnings_but_no_progress_bars():
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stderr.splitlines()
    assert line.endswith("a warning that matters")
    assert not done.stdout
