"""Checkpoints are loaded by a Python that has transformers and no Surgeon."""

import itertools
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.compaction.plan import CompactionPlan, KeptGroups
from surgeon_engine.export.transformers.files import CompactWriter
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.source import ModelSource
from tests.helpers.pruned_models import loaded, save_checkpoint
from tests.helpers.runs import Recorder, job

WEIGHTS = "model.safetensors"

pytestmark = [
    pytest.mark.runtimes,
    pytest.mark.usefixtures("quick_runs"),
    pytest.mark.skipif(sys.platform == "win32", reason="bin/python is elsewhere"),
]

_BLOCK_SURGEON = """
import sys

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

try:
    import surgeon_engine
except ImportError:
    pass
else:
    sys.exit("Surgeon is here")
for folder in sys.argv[1:]:
    print(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    body = AutoModel.from_pretrained(folder, trust_remote_code=True)
    ids = AutoTokenizer.from_pretrained(folder)("hello", return_tensors="pt")
    options = dict(ids, max_new_tokens=8, do_sample=False)
    written = model.generate(**options, use_cache=True)
    assert written.tolist() == model.generate(**options, use_cache=False).tolist()
    with torch.no_grad():
        hidden = body(ids.input_ids).last_hidden_state
        states = model(ids.input_ids, output_hidden_states=True).hidden_states
    assert (hidden - states[-1]).abs().max() < 1e-5
    model.save_pretrained(folder + "-saved")
"""
_PEAK = """
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM


def status(name):
    text = Path("/proc/self/status").read_text()
    return int(text.split(name)[1].split()[0]) * 1024


before = status("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
assert sum(float(x.sum()) for x in model.parameters()) != 0  # all of it is read
print(status("VmHWM:") - before)
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """Return a Python with the packages of this one, except editable ones."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def run(python: Path, program: str, *arguments: Path) -> str:
    done = subprocess.run(
        [python, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=python.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_without_surgeon_loads_checkpoints_and_generates(tmp_path, bare_python):
    """One process loads all checkpoints, because it takes seconds to start."""
    folders = []
    for family, structure in itertools.product(
        ["llama", "gpt2", "phi3"],
        [Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS],
    ):
        run_folder = tmp_path / "run"
        config = job(tmp_path, family, structure=structure)
        options = ExportConfig(str(tmp_path / "export"), Format.COMPACT)
        Recorder().run(replace(config, export=options), run_folder)
        shutil.rmtree(run_folder)
        folders.append(tmp_path / f"{family}-{structure}")
        (tmp_path / "export").rename(folders[-1])
    run(bare_python, _BLOCK_SURGEON, *folders)
    for folder in folders:
        saved = load_file(folder.with_name(f"{folder.name}-saved") / WEIGHTS)
        for name, tensor in load_file(folder / WEIGHTS).items():
            assert torch.equal(saved[name], tensor)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_to_load_depends_on_remaining_size(tmp_path, bare_python):
    """An eighth of 200 MB of neurons remains."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=512,
            intermediate_size=8192,
            num_hidden_layers=4,
            num_attention_heads=8,
        )
    )
    model.save_pretrained(tmp_path / "whole")
    groups = groups_of(Coupling.NEURONS, model)
    plan = CompactionPlan(
        tuple(KeptGroups(each, torch.arange(1024)) for each in groups[:3])
    )
    ragged = KeptGroups(groups[3], torch.arange(1000))
    plan = CompactionPlan((*plan.groups, ragged))
    source = ModelSource("whole", tmp_path / "whole")
    small, writer = loaded(model, source=source), CompactWriter()
    save_checkpoint(small, tmp_path / "small", plan, writer)
    sizes = {
        name: (tmp_path / name / "model.safetensors").stat().st_size
        for name in ("whole", "small")
    }
    assert sizes["small"] < sizes["whole"] / 4
    peaks = {name: int(run(bare_python, _PEAK, tmp_path / name)) for name in sizes}
    saved = sizes["whole"] - sizes["small"]  # the code that is loaded is the same
    assert peaks["whole"] - peaks["small"] > 0.9 * saved
