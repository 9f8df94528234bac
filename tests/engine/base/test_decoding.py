"""Values are decoded in any thread."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import surgeon_engine
import surgeon_gui
from surgeon_engine.base.decoding import clean_json

MANY_THREADS = """
import sys, threading
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.base.decoding import decode_json
from surgeon_engine.api.messages.events import Envelope

sys.setswitchinterval(1e-6)
begin = threading.Barrier(4)

def read_jobs():
    begin.wait()
    for _ in range(20):
        config_from_toml('version = 1\\n[model]\\nsource = "demo"\\n')

def read_events():
    line = b'{"run": "", "at": 0, "event": {"type": "Resumed"}}'
    begin.wait()
    for _ in range(20):
        decode_json(line, Envelope)

threads = [threading.Thread(target=x) for x in 2 * (read_jobs, read_events)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


@pytest.mark.slow
def test_first_values_may_be_decoded_in_many_threads():
    """Msgspec alone crashes."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_THREADS], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_long_text_of_another_computer_is_cut():
    assert clean_json(b'["%s"]' % (b"x" * 100_001)) == b'["%s"]' % (b"x" * 100_000)


def test_nothing_else_decodes():
    direct = re.compile(r"msgspec\.(convert|json\.Decoder|json\.decode)\(")
    roots = (Path(package.__file__).parent for package in (surgeon_engine, surgeon_gui))
    found = [
        f"{path.name}: {line.strip()}"
        for root in roots
        for path in root.rglob("*.py")
        if path.name != "decoding.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if direct.search(line) and "msgspec.Raw" not in line
    ]
    assert found == []
