"""Two hosts that share a folder of runs do not disturb each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import two_hosts


def _has_namespaces() -> bool:
    try:
        command = (*two_hosts._UNSHARE, "true")
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not _has_namespaces(), reason="needs root and unshare")
def test_two_hosts_start_resume_and_clean_up_in_one_folder():
    script = Path(two_hosts.__file__)
    command = [sys.executable, str(script), "--rounds", "5", "--runs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'started': 5" in done.stdout
