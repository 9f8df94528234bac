"""Older versions of transformers load and train compact checkpoints.

Each version is installed into a folder of its own, from the package index.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Structure
from tests.helpers.runs import Recorder, job

pytestmark = [pytest.mark.runtimes, pytest.mark.usefixtures("quick_runs")]

VERSIONS = {
    "4.57.6": ("tokenizers>=0.22,<0.23.1", "huggingface-hub>=0.34,<1.0"),
    "4.51.3": ("tokenizers>=0.21,<0.22", "huggingface-hub>=0.30,<1.0"),
}
SCRIPT = """
import sys
import torch, transformers
assert transformers.__version__ == sys.argv[1], transformers.__version__
model = transformers.AutoModelForCausalLM.from_pretrained(
    sys.argv[2], trust_remote_code=True, torch_dtype=torch.float32
)
tokens = torch.arange(3, 15)[None]
logits = model(tokens).logits
logits.square().sum().backward()
assert all(p.grad is not None for p in model.parameters())
torch.save(logits.detach(), sys.argv[3])
"""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request, tmp_path_factory):
    """Install a version; return its number and folder."""
    folder = tmp_path_factory.mktemp("transformers")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    needed = VERSIONS[request.param]
    command += [str(folder), f"transformers=={request.param}", *needed]
    found = subprocess.run(command, capture_output=True, text=True, timeout=200)
    if found.returncode:
        pytest.skip(f"cannot be installed: {found.stderr[-200:]}")
    return request.param, folder


@pytest.mark.parametrize(
    "structure", [Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS]
)
def test_compact_checkpoint_is_loaded_and_trained(tmp_path, version, structure):
    config = job(
        tmp_path,
        "llama",
        method="magnitude",
        structure=structure,
        export=ExportConfig(format=Format.COMPACT),
    )
    Recorder().run(config, tmp_path / "run")
    expected = logits_by(transformers.__version__, None, tmp_path)
    found = logits_by(*version, tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def logits_by(number: str, folder: Path | None, tmp_path: Path) -> torch.Tensor:
    """Return what the exported model computes in a version of transformers."""
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / number)}
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    export, result = tmp_path / "run" / "export", tmp_path / f"{number}.pt"
    command = [sys.executable, "-c", SCRIPT, number, str(export), str(result)]
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return torch.load(result)
