"""The file of the settings is checked before Qt opens it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("options", [(), ("--reset-settings",)])
def test_settings_that_are_a_pipe_end_in_a_sentence(tmp_path, options):
    folder = tmp_path / "Surgeon"
    folder.mkdir()
    os.mkfifo(folder / "Surgeon.conf")
    environment = os.environ | {
        "XDG_CONFIG_HOME": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "surgeon_gui", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Surgeon.conf" in ended.stderr
    assert "not a regular file" in ended.stderr
    assert "Traceback" not in ended.stderr
