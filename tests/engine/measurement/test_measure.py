"""Speed and memory of models: their turns, their figures, their processes."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks import export_speed
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    Rate,
    rate_of,
    speedups,
    summarize,
)
from surgeon_engine.base.errors import ConfigError, EvaluationError, ModelError
from surgeon_engine.export.transformers.files import CompactWriter
from surgeon_engine.measurement import benchmark_process, measure
from surgeon_engine.model.load import load_model
from tests.helpers.gguf_files import pruned, tiny_llama, written
from tests.helpers.pruned_models import save_checkpoint, without
from tests.helpers.tiny_models import VOCABULARY, save_tiny_model, tiny_model

WINDOW = 64  # the longest of the tiny models
QUICK = BenchmarkSettings(rounds=2, warm_ups=1, generated_tokens=4, device=Device.CPU)
# Answers like a benchmark process, with the name of the model as the seconds, and logs
# the calls.
FAKE = """
import json, sys
from tests.helpers.configs import pruning_config
for line in sys.stdin:
    call = json.loads(line)
    kind, arguments = call["function"], call["arguments"]
    if kind == "load":
        name = arguments[0]["source"]
        if name == "garbled":
            print("loading ...")
        elif name == "dead":
            sys.exit("Traceback\\nOSError: no such disk.")
        elif name == "missing":
            print('{"type": "Refused", "kind": "ModelError", "message": "No model.",'
                ' "hint": "Another."}', flush=True)
        value = {"name": name, "vocabulary": 50, "file_bytes": 4000,
            "parameters": 1000, "longest_window": 40, "bytes_in_use": 10**8,
            "threads": 2, "device": "CPU"}
    elif kind == "finish":
        value = {"bytes_in_use": 10**8, "zeros": 0}
    else:
        with open(sys.argv[1], "a") as log:
            log.write(json.dumps([name, kind, arguments]) + "\\n")
        value = float(name)
    print(json.dumps({"type": "Returned", "value": value}), flush=True)
"""


@pytest.fixture
def requests(monkeypatch, tmp_path):
    """Fake the processes; return a function that lists their requests."""
    log = tmp_path / "log"
    log.touch()
    command = (sys.executable, "-c", FAKE, str(log))
    monkeypatch.setattr(measure, "COMMAND", command)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture(autouse=True)
def check_no_process_remains():
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """Write a tiny model, and a compact one without half of its neurons."""
    folder = tmp_path_factory.mktemp("models")
    original = save_tiny_model(folder / "original", "llama")
    loaded = load_model(ModelConfig(str(original), device=Device.CPU))
    half = without(
        loaded.model, lambda x: torch.arange(x.candidates) % 2 == 1, Structure.NEURONS
    )
    compact = save_checkpoint(loaded, folder / "compact", half, CompactWriter())
    return str(original), str(compact)


def nothing():
    pass


def model(name="model", rounds=(10.0, 10.0, 10.0), **other) -> ModelMeasured:
    """Return the figures of a model that reads ten times as fast as it generates."""
    generation = rate_of(1, [1 / rate for rate in rounds])
    prompt = rate_of(10, [1 / rate for rate in rounds])
    fields = {"prompt": prompt, "generation": generation}
    fields |= {"file_bytes": 4_000_000_000, "parameters": 1_000_000_000}
    fields |= {"loaded_bytes": 4_500_000_000, "peak_bytes": 5_000_000_000}
    return ModelMeasured(name=name, **fields | other)


def measured(*models) -> Measured:
    rounds = len(models[0].generation.rounds)
    return Measured(models, 2, 512, 32, rounds, "CPU (2 threads)")


@pytest.mark.slow
def test_models_take_turns_in_alternating_order(requests):
    settings = BenchmarkSettings(rounds=2, warm_ups=1)
    steps = []
    measure.measure(("1", "2"), settings, nothing, lambda: steps.append(1))
    order = [(name, kind) for name, kind, _ in requests()]
    assert order == [
        (name, kind)
        for names in ("21", "12", "21")  # the first round is a warm-up
        for kind in ("read", "generate")
        for name in names
    ]
    assert len(steps) == settings.turns(2) == len(order)


@pytest.mark.slow
def test_models_do_the_same_work_within_the_shorter_window(requests):
    measure.measure(("1", "2"), BenchmarkSettings(rounds=2), nothing)
    ours, theirs = (
        [(kind, details) for name, kind, details in requests() if name == model]
        for model in "12"
    )
    assert ours == theirs
    for _, (*tokens, vocabulary, _) in ours:
        assert (sum(tokens), vocabulary) == (40, 50)


@pytest.mark.slow
def test_rates_are_tokens_per_second_without_warm_ups(requests):
    found = measure.measure(("2", "0.5"), BenchmarkSettings(rounds=3), nothing)
    slow, fast = found.models
    assert slow.prompt == Rate(20.0, 20.0, 20.0, (20.0,) * 3)
    assert fast.generation.median == pytest.approx(24 / 0.5)
    assert (found.prompt_tokens, found.generated_tokens, found.rounds) == (40, 24, 3)
    assert speedups(found).prompt.median == speedups(found).generation.high == 4.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dead", "dead cannot be used: OSError: no such disk."),
        (
            "garbled",
            "garbled cannot be used: its process wrote a line that is not a valid "
            'message: "loading ...".',
        ),
    ],
)
def test_process_that_fails_raises(requests, name, sentence):
    with pytest.raises(EvaluationError) as caught:
        measure.measure(("1", name), QUICK, nothing)
    assert caught.value.message == sentence
    assert caught.value.hint


def test_exception_of_check_kills_the_processes(requests):
    calls = iter(range(5))
    with pytest.raises(StopIteration):
        measure.measure(("1", "2"), QUICK, lambda: next(calls))


@pytest.mark.parametrize("count", [0, 3])
def test_number_of_models_other_than_one_or_two_raises(count):
    with pytest.raises(ConfigError, match="One or two models"):
        measure.measure(["demo"] * count, QUICK, nothing)


@pytest.mark.runtimes
def test_figures_of_real_processes_are_consistent(folders):
    ballast = torch.ones(700_000_000, dtype=torch.uint8)  # memory that is not theirs
    found = measure.measure(folders, QUICK, nothing)
    original, compact = found.models
    assert (original.name, compact.name) == ("original", "compact")
    assert original.parameters - compact.parameters == 2 * 3 * 16 * 12
    assert (found.prompt_tokens, found.generated_tokens) == (WINDOW, 4)
    for each, folder in zip(found.models, folders, strict=True):
        weights = Path(folder) / "model.safetensors"
        assert each.file_bytes == weights.stat().st_size
        assert each.zeros == 0
        assert 0 < max(each.loaded_bytes, each.peak_bytes) < len(ballast)
        for rate in (each.prompt, each.generation):
            assert len(rate.rounds) == 2
            assert 0 < rate.low <= rate.median <= rate.high


@pytest.mark.slow
def test_missing_model_raises_and_leaves_no_process(requests):
    with pytest.raises(ModelError, match="No model") as caught:
        measure.measure(("1", "missing"), QUICK, nothing)
    assert caught.value.hint == "Another."


@pytest.mark.slow
def test_worker_answers_each_call(folders):
    worker = benchmark_process.BenchmarkWorker()
    _, compact = folders
    loaded = worker.load(ModelConfig(compact, device=Device.CPU), 0, WINDOW)
    assert (loaded.vocabulary, loaded.longest_window) == (VOCABULARY, WINDOW)
    assert worker.read(8, VOCABULARY, 0) > 0
    assert worker.generate(4, 2, VOCABULARY, 0) > 0
    assert worker.finish().bytes_in_use > 0


def test_damaged_compact_checkpoint_raises(folders, tmp_path):
    _, compact = folders
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(compact) / name).read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("PrunedLlama", "PrunedX"))
    with pytest.raises(ModelError, match="has no X"):
        benchmark_process.load(ModelConfig(str(tmp_path), device=Device.CPU))


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "bloom", "gemma3"])
def test_generated_tokens_equal_those_of_transformers(family):
    model = tiny_model(family)
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(1, VOCABULARY, (1, 12), generator=generator)
    ours, seconds = benchmark_process.generate_tokens(model, prompt, 6)
    settings = {"max_new_tokens": 7, "do_sample": False, "eos_token_id": None}
    settings["attention_mask"] = torch.ones_like(prompt)
    theirs = model.generate(prompt, **settings)
    assert seconds > 0
    assert torch.equal(ours, theirs[:, 12:])


def test_zeros_are_counted():
    model = tiny_model("llama")
    model.lm_head.weight[:2] = 0
    assert benchmark_process.count_zeros(model) == 2 * 16


def test_range_of_many_rounds_excludes_the_extremes():
    few = rate_of(10, [10.0, 1.0, 5.0])
    assert few == Rate(2.0, 1.0, 10.0, (1.0, 10.0, 2.0))
    many = rate_of(1, [1.0, 1.0, 0.5, 1.0, 0.5, 0.1, 100.0])
    assert (many.median, many.low, many.high) == (1.0, 1.0, 2.0)


def test_speedups_compare_each_round():
    first = model(rounds=(10.0, 5.0, 20.0))
    second = model(rounds=(15.0, 7.5, 30.0))
    ratio = speedups(measured(first, second)).generation
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    unknown = model(generation=Rate(10.0, 9.0, 12.0))  # the widest range
    ratio = speedups(measured(unknown, unknown)).generation
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.75, 12 / 9)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (
            model(rounds=(15.0, 15.3, 15.2), peak_bytes=4_390_000_000),
            "Generation is 1.52 times as fast (15.2 against 10.0 tokens/s), prompts "
            "1.52 times as fast; memory 610.0 MB less.",
        ),
        (
            model(rounds=(5.0, 5.0, 5.0), peak_bytes=6_000_000_000),
            "Generation is slower, 0.50 times as fast (5.0 against 10.0 tokens/s), "
            "prompts are slower, 0.50 times as fast; memory 1.00 GB more.",
        ),
        (
            model(rounds=(15.0, 15.0, 15.0), prompt=model().prompt),
            "Generation is 1.50 times as fast (15.0 against 10.0 tokens/s), prompts "
            "are not measurably faster; memory the same.",
        ),
        (
            model(rounds=(15.0, 15.0, 15.0), generation=model().generation),
            "Generation is not measurably faster (10.0 against 10.0 tokens/s), "
            "prompts 1.50 times as fast; memory the same.",
        ),
        (
            model(prompt=rate_of(10, [0.2, 0.2, 0.2])),
            "Generation is not measurably faster (10.0 against 10.0 tokens/s), "
            "prompts are slower, 0.50 times as fast; memory the same.",
        ),
        (
            model(rounds=(9.0, 12.0, 13.0), parameters=900_000_000),
            "It is not measurably faster here: generation 1.20 times (0.90 to 1.30), "
            "prompts 1.20 times (0.90 to 1.30); memory the same.",
        ),
        (
            model(rounds=(10.1, 10.2, 10.2)),  # as equal models may differ
            "It is not measurably faster here: generation 1.02 times (1.01 to 1.02), "
            "prompts 1.02 times (1.01 to 1.02); memory the same.",
        ),
        (
            model(rounds=(9.0, 12.0, 13.0), zeros=400_000_000),
            "Not faster: removed weights are stored as zeros in full-size matrices.",
        ),
    ],
)
def test_two_models_are_compared_in_a_sentence(second, sentence):
    assert summarize(measured(model(), second)) == sentence


def test_medians_that_disagree_with_the_ratio_are_explained():
    first = model(generation=Rate(210, 100, 400, (400.0, 100.0, 210.0)))
    second = model("Pruned", generation=Rate(500, 130, 635, (500.0, 130.0, 635.0)))
    sentence = summarize(measured(first, second))
    assert "1.30 times as fast (500 against 210 tokens/s over all rounds" in sentence
    assert "measure again on an idle machine" in sentence


def test_one_model_is_described_in_a_sentence():
    assert summarize(measured(model("Demo"))) == (
        "Demo generates 10.0 tokens/s and reads prompts at 100 tokens/s here; memory "
        "5.00 GB."
    )


def test_embedding_counts_as_weights_read_only_if_it_is_the_head():
    untied, tied = tiny_model("llama"), tiny_model("gpt2")
    every = sum(parameter.numel() for parameter in untied.parameters())
    assert (
        export_speed.count_work(untied).per_generated_token == every - VOCABULARY * 16
    )
    positions = WINDOW * 16
    every = sum(parameter.numel() for parameter in tied.parameters())
    assert export_speed.count_work(tied).per_generated_token == every - positions
    assert export_speed.count_work(tied).head == VOCABULARY * 16


@pytest.mark.slow
def test_benchmark_compares_the_measurement_with_the_ideal(
    folders, tmp_path, monkeypatch, capsys
):
    found = measured(model(), model(rounds=(15.0, 15.2, 15.3)))
    monkeypatch.setattr(export_speed, "measure", lambda *_: found)
    original, compact = folders
    out = tmp_path / "table.md"
    arguments = [f"--original={original}", "--pruned", compact, f"--out={out}"]
    assert export_speed.main(arguments) == 0
    written = out.read_text()
    assert written == capsys.readouterr().out
    models = [benchmark_process.load(ModelConfig(folder)) for folder in folders]
    work = [export_speed.count_work(each) for each in models]
    ideal = work[0].per_generated_token / work[1].per_generated_token
    lines = written.splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert f"| 1.52 (1.50 to 1.53) | {ideal:.2f} | {152 / ideal:.0f} % |" in lines[3]


@pytest.mark.slow
def test_benchmark_profiles_generation(folders, capsys):
    original, compact = folders
    arguments = [f"--original={original}", "--pruned", compact, "--profile"]
    assert export_speed.main([*arguments, "--prompt=32"]) == 0
    assert capsys.readouterr().out.count("One generated token") == 2


def test_benchmark_reports_a_missing_model(tmp_path, capsys):
    arguments = ["--original", str(tmp_path / "none"), "--pruned", "x"]
    assert export_speed.main(arguments) == 1
    assert "There is no model at" in capsys.readouterr().err


# GGUF files


@pytest.mark.runtimes
@pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")
def test_gguf_files_run_in_llama_cpp(tmp_path):
    model = tiny_llama()
    written(pruned(model), tmp_path)
    file = tmp_path / "model.gguf"
    # The folder of an export and its file are the same model.
    found = measure.measure((str(file), str(tmp_path)), QUICK, nothing)
    assert found.dtype is None
    assert "llama.cpp" in str(found.device)
    for each in found.models:
        assert each.parameters == sum(x.numel() for x in model.parameters())
        assert each.file_bytes == file.stat().st_size
        assert each.prompt.low > each.generation.high > 0


@pytest.mark.parametrize(
    ("names", "is_installed", "expected"),
    [
        (("a.gguf", "b"), True, measure.GGUF_COMMAND),
        (("A.GGUF", "b"), True, measure.GGUF_COMMAND),
        (("a.gguf",), False, measure.COMMAND),
        (("a.gguf", "c"), True, measure.COMMAND),  # c is for transformers
    ],
)
def test_llama_cpp_measures_only_gguf_files(
    names, is_installed, expected, tmp_path, monkeypatch
):
    for folder in ("b", "c"):
        (tmp_path / folder).mkdir()
    for name in ("a.gguf", "A.GGUF", "b/model.gguf"):
        (tmp_path / name).touch()
    commands = []

    def client(_source, command, *_):
        commands.append(command)
        raise StopIteration

    monkeypatch.setattr(measure, "ModelProcess", client)
    monkeypatch.setattr(measure, "is_installed", lambda: is_installed)
    with pytest.raises(StopIteration):
        measure.measure([str(tmp_path / x) for x in names], QUICK, nothing)
    assert commands == [expected]
