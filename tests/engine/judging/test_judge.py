"""A file is judged against its original, from a command to the saved result."""

import dataclasses
import itertools
from contextlib import contextmanager

import pytest
import torch

from surgeon_engine import server
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.export_marker import differences
from surgeon_engine.api.messages.commands import Cancel, Judge, StopAndKeep
from surgeon_engine.api.messages.judgment import Judged, JudgeSettings, Outcome, Probe
from surgeon_engine.api.messages.requests import ends
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.verdict import Verdict, judged_verdict
from surgeon_engine.base.errors import (
    CalibrationError,
    ConfigError,
    ModelError,
    RunCancelled,
)
from surgeon_engine.evaluation.evaluate import References
from surgeon_engine.judging import conversation, measuring
from surgeon_engine.judging import judge as judging
from surgeon_engine.judging.items import all_items
from surgeon_engine.judging.judge import judge
from surgeon_engine.judging.likelihood import continuations_of
from surgeon_engine.judging.llama_process import Answered
from surgeon_engine.judging.measuring import Yardstick, measure_file
from surgeon_engine.judging.target import target_of
from tests.engine.export.gguf.test_gguf_runtime import ragged, with_large_weights
from tests.helpers.fake_runs import write_run
from tests.helpers.gguf_files import byte_pairs, needs_llama, pruned, written
from tests.helpers.gguf_models import GGUF_FAMILIES
from tests.helpers.judgments import judgment
from tests.helpers.runs import Recorder
from tests.helpers.smaller_vocabularies import demo, demo_with, kept_of_demo, save
from tests.helpers.tiny_models import save_tiny_model, tiny_model

SETTINGS = JudgeSettings(quick=True, device=Device.CPU)
SHORT = CalibrationConfig(windows=8, validation_windows=4, window_length=128)


@pytest.fixture
def few(monkeypatch):
    """Let models be asked two items of each kind, with short answers and windows."""

    def chosen(own, window, *, quick):
        found = {}
        for item in all_items(own, window, quick=quick):
            found.setdefault((item.probe, item.is_own), []).append(item)
        return [
            dataclasses.replace(item, tokens=4)
            for items in found.values()
            for item in items[:2]
        ]

    monkeypatch.setattr(judging, "all_items", chosen)
    monkeypatch.setattr(measuring, "_QUICK_WINDOWS", 4)
    monkeypatch.setattr(measuring, "_LENGTH", SHORT.window_length)


class Echo:
    """Answers with the number of the prompt's tokens."""

    program = "echo"
    at_once = 3

    def answer(self, prompts, limit):
        return [Answered(str(len(x)), is_complete=limit > 0) for x in prompts]


@pytest.fixture
def echo(monkeypatch):
    """Let models answer at once."""

    @contextmanager
    def answering(*_):
        yield Echo()

    monkeypatch.setattr(conversation, "answering", answering)


def run_of_demo(folder, **export):
    """Return the folder of a run that removes a third of the demo."""
    config = RunConfig(
        model=ModelConfig(DEMO, device=Device.CPU),
        calibration=SHORT,
        pruning=PruningConfig(sparsity=0.3, shots=1),
        recovery=RecoveryConfig(level=Recovery.OFF),
        export=ExportConfig(**export),
    )
    Recorder().run(config, folder / "run")
    return folder / "run"


def judged(target, original="", settings=SETTINGS, recorder=None):
    context = (recorder or Recorder()).context
    return judge(str(target), original, settings, context)


@pytest.mark.slow
@pytest.mark.usefixtures("few", "echo")
def test_original_against_itself_differs_nowhere(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Once upon a time\n" + "word " * 900)
    (text := tmp_path / "text.txt").write_text("A short text to judge on. " * 40)
    settings = dataclasses.replace(SETTINGS, prompts=str(prompts), text=str(text))
    recorder = Recorder()
    found = judged(DEMO, DEMO, settings, recorder)
    (warning,) = recorder.warnings()
    assert "1 of your prompts are longer than the window" in warning.message
    result = found.judgment
    assert found.path == ""  # nothing is written beside the demo
    texts, classes = result.texts, result.classes
    figures = [x.figures for x in (*classes, *result.positions)]
    names = ["builtin", str(text), "text by the model itself"]
    assert [x.fidelity.text for x in texts] == names
    assert all(x.divergence.high == x.loss.high == 0 for x in figures)
    assert {x.outcome for x in (*texts, *figures, *result.probes)} == {Outcome.SAME}
    assert all(x.parts_at is None for x in result.prompts)
    assert sum(x.is_own for x in result.prompts) == 1
    assert (result.likelihood.low, result.likelihood.high) == (0, 0)
    assert result.likelihood_outcome is Outcome.SAME
    assert {x.probe for x in result.probes} == set(Probe)
    assert all(x.only_original == x.only_file == 0 for x in result.probes)
    assert judged_verdict(result) is Verdict.NEARLY_SAME


@pytest.mark.runtimes
@pytest.mark.fresh_process
@needs_llama
@pytest.mark.usefixtures("few", "quick_runs")
def test_file_of_a_run_is_judged_and_the_result_is_in_its_folder(tmp_path):
    run = run_of_demo(tmp_path, format=Format.GGUF, dtype=FileDtype.Q4_0)
    found = judged(run)
    assert found.path == str(run / "judgment.json")
    assert RunFolder(run).read_judgment() == found.judgment
    report, result = RunFolder(run).read_report(), found.judgment
    of_file, in_memory = report.fidelity[0], report.evaluation.fidelity[0]
    assert of_file.divergence.value != in_memory.divergence.value
    first, own = result.texts
    nats = first.fidelity.divergence.value
    assert nats == pytest.approx(of_file.divergence.value, rel=0.001)
    assert first.outcome is own.outcome is Outcome.SAME  # so few windows do not tell
    assert result.prompts[0].parts_at is not None
    assert "llama.cpp" in result.file_program
    assert "transformers" in result.original_program
    verdict = judged_verdict(result)
    assert verdict in (Verdict.DIFFERENT, Verdict.BROKEN)
    card = (run / "export" / "README.md").read_text()
    assert card.count("## What was lost") == 1
    assert card.index("## What was lost") < card.index("## Verification")
    assert f"Judged on the file: **{verdict}**" in card
    assert not differences(run / "export").all
    other = target_of(str(run / "export"), "", SETTINGS)
    assert other.gguf == run / "export" / "model.gguf"


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 20])  # while the original answers, or the file
@pytest.mark.usefixtures("few", "echo")
def test_answers_can_be_ended_early(at, monkeypatch):
    recorder, count = Recorder(), itertools.count(1)

    def answer(self, prompts, limit):
        if next(count) == at:
            recorder.context.handle(StopAndKeep(run="test"))
        return [Answered("1", is_complete=True)] * len(prompts)

    monkeypatch.setattr(Echo, "at_once", 1)
    monkeypatch.setattr(Echo, "answer", answer)
    found = judged(DEMO, DEMO, recorder=recorder).judgment
    asked = len(found.prompts) + sum(
        x.items for x in found.probes if x.probe is not Probe.CONTINUATION
    )
    assert asked == {2: 2, 20: 2}[at]


@pytest.mark.usefixtures("few", "echo")
def test_judging_can_be_cancelled():
    other = Recorder()
    other.react = lambda _: other.context.handle(Cancel(run="test"))
    with pytest.raises(RunCancelled):
        judged(DEMO, DEMO, recorder=other)


@pytest.mark.slow
def test_engine_answers_the_command_with_the_judgment(monkeypatch):
    answer = Judged(judgment(), "judgment.json")
    monkeypatch.setattr(server, "judge", lambda *_: answer)
    events = []
    engine = server.Engine(events.append)
    command = Judge(run="a", target="run", original=DEMO, settings=SETTINGS)
    engine.handle(command)
    engine.handle(Judge(run="b", target="run"))
    engine._queue.put(None)
    engine.serve()
    found = [(x.run, x.event) for x in events if isinstance(x.event, Judged)]
    assert found == [("a", answer), ("b", answer)]
    assert ends(command, answer)


def test_file_without_its_original_is_refused(tmp_path):
    folder = save_tiny_model(tmp_path / "model", "llama")
    with pytest.raises(ConfigError, match="its original is unknown"):
        target_of(str(folder), "", SETTINGS)
    found = target_of(str(folder), DEMO, SETTINGS)
    assert found.path == tmp_path / "model.judgment.json"
    assert (found.original.config.source, found.file.config.source) == (
        DEMO,
        str(folder),
    )


def test_what_is_missing_is_found_before_models_are_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "_ask", lambda *_: pytest.fail("models were asked"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(CalibrationError, match=r"no text file at missing\.txt"):
        judged(DEMO, DEMO, dataclasses.replace(SETTINGS, text="missing.txt"))
    config = RunConfig(evaluation=EvaluationConfig(texts=("/moved.txt",)))
    run = write_run(tmp_path, config=config)
    (run / "export").mkdir(exist_ok=True)
    with pytest.raises(CalibrationError, match=r"no text file at /moved\.txt"):
        judged(run, DEMO)
    (run / "run.toml").write_text("version = 1\n")
    with pytest.raises(ConfigError, match="builtin cannot judge"):
        judged(run, DEMO, dataclasses.replace(SETTINGS, text="builtin"))
    with pytest.raises(ConfigError, match="has no GPU"):
        judged(DEMO, DEMO, dataclasses.replace(SETTINGS, device=Device.GPU))


def test_only_the_own_export_of_a_run_gives_its_judgment(tmp_path):
    run = write_run(tmp_path, "a")
    for name in ("export", "again"):
        (run / name).mkdir(exist_ok=True)
    own, again = run / "judgment.json", run / "again.judgment.json"
    for target, original, path in (
        (run, "", own),
        (run / "export", "", own),
        (run / "again", "", again),
        (run, "other", run / "export.judgment.json"),
    ):
        found = target_of(str(target), original, SETTINGS)
        assert found.path == path
        assert (found.export is None) is bool(original)  # its card stays


@pytest.mark.parametrize("is_there", [True, False])
def test_other_original_does_not_replace_that_of_a_quantized_file(tmp_path, is_there):
    """The norms of the model are in another form in its file, so it keeps its own."""
    model, own, other = GGUF_FAMILIES["gemma2"](), tmp_path / "own", tmp_path / "other"
    model.model.norm.weight.fill_(0.5)
    written(pruned(model), write_run_of(own, tmp_path) / "export", FileDtype.Q8_0)
    for value, folder in ((0.5, own), (0.25, other)):
        if is_there or folder is other:
            model.model.norm.weight.fill_(value)
            model.save_pretrained(folder)
            byte_pairs().save_pretrained(folder)
    found = target_of(str(tmp_path / "run"), str(other), SETTINGS)
    assert found.original.config.source == str(other)
    with found.loaded() as loaded:
        norm = loaded.get_decoder().norm.weight
        assert norm.unique().tolist() == [0.5 if is_there else 0.25]


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ({"hidden_size": 64}, "300 x 128 in the file and 300 x 64"),
        ({"vocab_size": 320}, "300 x 128 in the file and 320 x 128"),
    ],
)
def test_original_of_another_size_is_refused(tmp_path, change, sizes):
    run, other = write_run_of(tmp_path / "moved", tmp_path), tmp_path / "other"
    written(pruned(GGUF_FAMILIES["gemma2"]()), run / "export")
    GGUF_FAMILIES["gemma2"](**change).save_pretrained(other)
    byte_pairs().save_pretrained(other)
    found = target_of(str(run), str(other), SETTINGS)
    with pytest.raises(ModelError, match=f"{sizes} in other"), found.loaded():
        pass


def write_run_of(source, folder):
    """Write a run that has removed nothing, with a folder for its export."""
    config = RunConfig(ModelConfig(str(source)), pruning=PruningConfig(sparsity=0.0))
    run = write_run(folder, config=config)
    (run / "export").mkdir(exist_ok=True)
    return run


def test_model_without_a_tokenizer_is_refused(tmp_path):
    folder = save_tiny_model(tmp_path / "model", "llama")
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(ModelError, match="cannot be asked"):
        judged(DEMO, str(folder))


def test_other_vocabulary_is_refused():
    model = tiny_model("llama")
    nothing = continuations_of(torch.ones(2, 8, dtype=torch.int64), 1)
    head = torch.zeros(7, model.config.hidden_size)
    yardstick = Yardstick(References(()), (), head, nothing, [], rows=7)
    with pytest.raises(ModelError, match="heads of different sizes"):
        measure_file(model, yardstick, Recorder().context)


@pytest.mark.slow
@pytest.mark.usefixtures("few", "echo")
def test_file_with_fewer_tokens_is_judged_where_tokens_end_together(tmp_path):
    original = demo()
    file = save(demo_with(kept_of_demo(original)), tmp_path / "file")
    result = judged(file, DEMO).judgment
    first = result.texts[0]
    found, baseline = first.fidelity, first.baseline
    assert 0.5 < found.compared < 1
    assert found.original_bits == baseline.bits_per_byte
    rise = found.bits_per_byte.value - baseline.bits_per_byte.value
    assert rise > 0
    assert first.loss.low > 0
    assert first.outcome is Outcome.SAME  # these are few windows
    places = sum(
        round(x.fidelity.compared * x.fidelity.windows * (x.fidelity.window_length - 1))
        for x in result.texts
    )
    assert sum(x.figures.tokens for x in result.positions) == places
    assert sum(x.figures.tokens for x in result.classes) == places
    assert result.prompts[0].parts_at is not None  # its prompts have more tokens
    continuation = next(x for x in result.probes if x.probe is Probe.CONTINUATION)
    assert continuation.file > continuation.items / 2


@pytest.mark.usefixtures("few", "echo")
def test_file_with_strange_tokens_is_refused(tmp_path):
    file = save_tiny_model(tmp_path / "file")
    with pytest.raises(ModelError, match="not some of the original's"):
        judged(file, DEMO)


@pytest.mark.slow
@pytest.mark.usefixtures("few", "echo")
def test_folder_with_a_ragged_gguf_file_is_judged(tmp_path):
    model, tokenizer = with_large_weights(max_position_embeddings=256), byte_pairs()
    model.save_pretrained(tmp_path / "original")
    tokenizer.save_pretrained(tmp_path / "original")
    folder = tmp_path / "export"
    written(ragged(model), folder)
    found = judged(folder, str(tmp_path / "original"))
    assert found.path == str(tmp_path / "export.judgment.json")
    assert found.judgment.file == "export"
    first, _ = found.judgment.texts
    assert first.fidelity.divergence.low > 0.1
    same = judged(folder / "model.gguf", str(folder))
    assert same.judgment.texts[0].fidelity.divergence.high == 0
