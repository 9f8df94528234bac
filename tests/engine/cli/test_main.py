"""The command line: commands, exit codes and error messages."""

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from unittest.mock import ANY

import pytest
import torch

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml, read_config
from surgeon_engine.api.export_marker import differences
from surgeon_engine.api.messages.run import ShotFinished, StageStarted
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EvaluationError, ExportError, RunCancelled
from surgeon_engine.cli import runs, watching
from surgeon_engine.cli.main import main
from surgeon_engine.cli.output import EventDisplay
from surgeon_engine.run import pipeline
from surgeon_engine.runtime.saver import Saver
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.exports import write_export
from tests.helpers.fake_runs import write_run, write_saved_state
from tests.helpers.locks import write_lock
from tests.helpers.runs import skip_verification
from tests.helpers.tiny_models import save_tiny_model

JOB = """
version = 1
[model]
source = "model"
[calibration]
windows = 4
validation_windows = 2
window_length = 32
[pruning]
sparsity = 0.4
shots = 3
"""


# The same with a text that is read quickly, and without a recovery.
REST = """
[evaluation]
windows = 0
[recovery]
level = "off"
"""
QUICK_JOB = JOB.replace("[pruning]", 'text = "text.txt"\n[pruning]') + REST


@pytest.fixture
def quick_job(job):
    (job.parent / "text.txt").write_text("A few words, and some more. " * 40)
    job.write_text(QUICK_JOB)
    return job


@pytest.fixture
def job(tmp_path):
    save_tiny_model(tmp_path / "model")
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    return path


def run(*arguments, capsys):
    """Run a command in this process; return its exit code, output and errors."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.runtimes
@pytest.mark.fresh_process
def test_run_stops_after_the_requested_shot(job, tmp_path, capsys):
    code, out, _ = run(
        "run", job, "--run-dir", tmp_path / "runs", "--name", "first",
        "--stop-after", 2, capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert "shot 2: sparsity" in out
    assert "shot 3" not in out
    assert "exported and verified" in out
    titles, first, second, verdict = out.splitlines()[-4:]
    assert titles.startswith("text") and "same top token" in titles
    assert first.startswith("Built-in text")
    assert second.startswith("text by the model itself")
    assert verdict.startswith("verdict: ")
    assert (tmp_path / "runs" / "first" / "export" / "model.safetensors").is_file()


def test_run_invalid_job_prints_message(tmp_path, capsys):
    job = tmp_path / "job.toml"
    job.write_text("version = 1\n[pruning]\nsparsity = 2.0\n")
    code, out, err = run("run", job, capsys=capsys)
    assert code == 1
    assert "sparsity is 2.0, and must be at least 0 and at most 0.95." in err
    assert "Traceback" not in out + err


def test_inspect_describes_demo(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "demo")
    monkeypatch.chdir(tmp_path)  # a run there has the model's name
    code, out, _ = run("inspect", "demo", capsys=capsys)
    assert code == 0
    assert "LlamaForCausalLM" in out
    assert "mlp.down_proj" in out
    assert "heads_and_neurons" in out
    assert not any(line != line.rstrip() for line in out.splitlines())


def test_inspect_folder_without_model_fails(tmp_path, capsys):
    code, _, err = run("inspect", tmp_path, capsys=capsys)
    assert code == 1
    assert "has no config.json" in err


def test_inspect_describes_what_runs_have_made(tmp_path, capsys):
    made = write_run(tmp_path, "mine")
    moved = made.rename(tmp_path / "moved")
    code, out, _ = run("inspect", moved, capsys=capsys)
    assert code == 0
    assert "is the folder of a run of" in out
    assert f"Its result is compact, in {moved / 'export'}\n" in out
    killed = write_run(tmp_path, "a killed run", ending="killed")
    code, _, err = run("inspect", killed, capsys=capsys)
    assert (code, "is not finished" in err) == (1, True)
    assert "Start the run again" in err
    state = RunFolder(killed).saved_state.state_path
    state.parent.mkdir(exist_ok=True)
    state.touch()
    *_, command = run("inspect", killed, capsys=capsys)[2].rpartition("To go on: ")
    assert shlex.split(command) == ["surgeon", "resume", str(killed)]


def test_character_that_the_locale_lacks_is_escaped(tmp_path, monkeypatch):
    made, out = write_run(tmp_path, "模型"), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="latin-1"))
    assert main(["inspect", str(made)]) == 0
    sys.stdout.flush()
    assert rb"\u6a21\u578b is the folder of a run" in out.getvalue()


def test_inspect_name_with_control_characters_prints_escapes(capsys):
    code, _, err = run("inspect", "/missing/\x1b[31m[bold]model", capsys=capsys)
    assert code == 2
    assert "\x1b" not in err
    assert r"/missing/\x1b[31m[bold]model" in err


@pytest.mark.parametrize(
    "arguments",
    [
        *(("run", "JOB", "--name", x) for x in ("../x", "/x", "", "x" * 300, "a/b")),
        *(
            ("run", "JOB", "--gpus", x)
            for x in ("²", "9" * 5_000, "-1", "0", "", "nan")
        ),
        *((x, "\udcff") for x in ("run", "resume", "inspect", "download", "export")),
        *((x, "/d" * 3_000) for x in ("run", "resume", "export", "estimate")),
        ("run", "JOB", "--run-dir", "a\nb"),
        ("run", "/proc/self/mem"),
        ("inspect", "x" * 100_000),
        ("inspect", "~no one/model"),
        ("inspect", "/proc/self/root/proc/self/mem"),
        ("measure", "\x1b[31m"),
        ("export", "run", "--to", "a\0b"),
        ("export", "run", "--to", "x", "--shard-gigabytes", "nan"),
        ("sweep", "JOB", "--set", "calibration.text=" + "x" * 300),
        ("sweep", "JOB", "--set", "calibration.seed=1,", "--context", "9" * 5_000),
        ("x" * 200_000,),
    ],
    ids=range(31),
)
def test_bad_arguments_end_in_a_sentence(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "JOB").write_text('version = 1\n[model]\nsource = "demo"\n')
    code, _, output = run(*arguments, capsys=capsys)
    assert code in (1, 2)
    assert output.strip()
    assert "\x1b[31m" not in output
    assert len(output) < 2_000
    assert [path.name for path in tmp_path.iterdir()] == ["JOB"]


def test_no_command_shows_help(capsys):
    code, out, _ = run(capsys=capsys)
    assert code == 1
    assert "inspect" in out


@pytest.mark.parametrize("arguments", [("cut",), ("export", "run", "--format", "x")])
def test_invalid_arguments_exit_with_2(arguments, capsys):
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert out == ""
    assert "Usage: surgeon" in err


def test_version_is_printed(capsys):
    assert run("--version", capsys=capsys) == (0, version("surgeon") + "\n", "")


@pytest.mark.slow
def test_module_returns_exit_code():
    command = [sys.executable, "-m", "surgeon_engine", "run", "/missing.toml"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunCancelled])
def test_canceled_run_exits_with_130(tmp_path, capsys, monkeypatch, error):
    """By Ctrl-C, or by `surgeon stop`."""
    folder = RunFolder(tmp_path / "x")

    def interrupted(config, _, context, **__):
        with folder.created(config):
            context.log = folder
            raise error

    monkeypatch.setattr(pipeline, "prune", interrupted)
    job = tmp_path / "job.toml"
    job.write_text(config_to_toml(RunConfig()))
    where = ("--run-dir", tmp_path, "--name", "x")
    code, out, err = run("run", job, *where, capsys=capsys)
    assert (code, out, err) == (130, "", "Canceled.\n")
    code, out, err = run("watch", folder.path, capsys=capsys)
    assert (code, out, err) == (130, "Canceled.\n", "")


def test_watch_of_a_folder_without_a_run_says_what_to_choose(tmp_path, capsys):
    code, _, err = run("watch", tmp_path, capsys=capsys)
    assert code == 1
    assert str(tmp_path) in err
    assert "run.toml" in err


def test_interrupted_watch_says_that_the_run_goes_on(tmp_path, capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.RunWatch, "events", interrupted)
    code, out, err = run("watch", tmp_path, capsys=capsys)
    assert (code, err) == (130, "")
    assert out == f"The run goes on. To cancel it: surgeon stop {tmp_path}\n"


@pytest.mark.parametrize("flag", ["--keep", "--pause", "--continue"])
def test_command_to_a_run_is_confirmed(tmp_path, capsys, flag):
    folder = RunFolder(write_run(tmp_path, ending="killed"))
    with folder.locked():
        code, out, err = run("stop", folder.path, flag, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith("The run ")
    assert folder.commands_path.is_file()


def test_stop_does_not_wait_for_another_computer(tmp_path, capsys, monkeypatch):
    folder = RunFolder(write_run(tmp_path, ending="killed"))
    write_lock(folder.process_path)
    monkeypatch.setattr(watching.RunWatch, "events", lambda _: iter(()))
    code, out, err = run("stop", folder.path, capsys=capsys)
    assert (code, err) == (0, "")
    assert "atlas" in out
    assert f"surgeon resume {folder.path} --take-over" in out
    assert b"Cancel" in folder.commands_path.read_bytes()


@pytest.mark.parametrize("shot", [0, 4])
def test_run_stop_after_missing_shot_fails(job, capsys, shot):
    code, _, err = run("run", job, "--stop-after", shot, capsys=capsys)
    assert code == 1
    assert "Give --stop-after a number from 1 to 3" in err


@pytest.mark.parametrize("flags", [(), ("--replace",)])
def test_job_with_an_occupied_folder_is_refused_before_any_work(
    job, tmp_path, capsys, flags
):
    mine = tmp_path / "documents"
    (mine / "photos").mkdir(parents=True)
    (mine / "photos" / "me.png").touch()
    job.write_text(f'{JOB}[export]\nfolder = "documents"\n')
    runs = tmp_path / "runs"
    code, _, err = run("run", job, "--run-dir", runs, *flags, capsys=capsys)
    assert code == 1
    assert str(mine) in err
    assert ("An export replaces another with --replace." in err) is (not flags)
    assert (mine / "photos" / "me.png").exists()
    assert not runs.exists()
    write_export(write_run(runs) / "export")
    where = ("--run-dir", runs, "--name", "run")
    code, _, err = run("run", job, *where, *flags, capsys=capsys)
    assert code == 1
    assert f"{runs / 'run'} exists already" in err
    assert "--replace is for exports alone." in err


@pytest.mark.slow
def test_run_replaces_an_earlier_export_if_it_may(
    quick_job, tmp_path, capsys, monkeypatch
):
    skip_verification(monkeypatch)
    out, job = write_export(tmp_path / "out"), quick_job
    text = QUICK_JOB.replace("shots = 3", "shots = 1")
    job.write_text(f'{text}[export]\nfolder = "out"\n')
    runs = tmp_path / "runs"
    assert run("run", job, "--run-dir", runs, capsys=capsys)[0] == 1
    assert run("run", job, "--run-dir", runs, "--replace", capsys=capsys)[0] == 0
    assert (out / "run.toml").is_file()
    assert not differences(out).all


@pytest.mark.slow
def test_refused_run_leaves_no_folder(job, tmp_path, capsys):
    (tmp_path / "short.csv").write_text("text\ntoo short\n")
    job.write_text(JOB.replace("[calibration]", '[calibration]\ntext = "short.csv"'))
    code, _, err = run(
        "run", job, "--run-dir", tmp_path / "runs", "--name", "x", capsys=capsys
    )
    assert code == 1
    assert "short" in err
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_failed_run_logs_its_error(quick_job, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise EvaluationError("The loss of the model is not finite.", "Try another.")

    monkeypatch.setattr(pipeline, "evaluate_original", fail)
    code, _, err = run(
        "run", quick_job, "--run-dir", tmp_path / "runs", "--name", "x", capsys=capsys
    )
    assert code == 1
    last = (tmp_path / "runs" / "x" / "events.jsonl").read_text().splitlines()[-1]
    assert '"type":"Failed"' in last
    assert err.splitlines()[0] in last


@pytest.mark.slow
def test_estimate_fails_where_a_run_would(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    path = tmp_path / "job.toml"
    path.write_text(
        'version = 1\n[pruning]\ntarget = "file_size"\nmegabytes = 8\n'
        '[export]\nformat = "masked"\n'
    )
    assert run("estimate", path, capsys=capsys)[0] == 1
    path.write_text(
        'version = 1\n[pruning]\ntarget = "parameters"\nmillion_parameters = 100\n'
    )
    code, _, err = run("estimate", path, capsys=capsys)
    assert code == 1
    assert "parameters" in err
    (tmp_path / "short.txt").write_text("too short")
    chats = '{"messages": [{"role": "user", "content": "Hi"}]}\n'
    (tmp_path / "chats.jsonl").write_text(chats)
    for name, problem in (
        ("missing.txt", "There is no text file at"),
        ("short.txt", "has 9 bytes: too few for 64 + 32 windows of 256 tokens"),
        ("chats.jsonl", "but the model has no chat template to render"),
    ):
        path.write_text(f'version = 1\n[calibration]\ntext = "{name}"\n')
        code, _, err = run("estimate", path, capsys=capsys)
        assert (code, problem in err) == (1, True)
    for settings, problem in (
        ('[evaluation]\ntexts = ["builtin"]\n', "builtin cannot judge as text"),
        ("[calibration]\nwindow_length = 1000\n", "the maximum of the model is 512"),
        ("[model]\ngpus = 64\n", "asks for 64 GPUs"),
        ('[model]\ndevice = "gpu"\n', "has no GPU"),
    ):
        path.write_text(settings)
        code, _, err = run("estimate", path, capsys=capsys)
        assert (code, problem in err) == (1, True)
    path.write_text(
        'version = 1\n[pruning]\nstructure = "rows_and_columns"\n'
        '[export]\nformat = "gguf"\n'
    )
    code, _, err = run("estimate", path, capsys=capsys)
    assert (code, "GGUF for llama.cpp is not possible here" in err) == (1, True)
    model = save_tiny_model(tmp_path / "tiny", "falcon_multi_query")
    path.write_text(
        f'version = 1\n[model]\nsource = "{model}"\n[pruning]\nstructure = "heads"\n'
    )
    code, _, err = run("estimate", path, capsys=capsys)
    assert code == 1
    assert "no heads to remove" in " ".join(err.split())
    assert "neurons, rows_and_columns" in " ".join(err.split())


def test_estimate_refuses_the_destinations_that_a_run_refuses(job, tmp_path, capsys):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").touch()
    file.touch()
    for folder in ("/", tmp_path / "model", full, file, file / "below"):
        job.write_text(f'{JOB}[export]\nfolder = "{folder}"\n')
        refusals = [
            run(command, job, "--run-dir", tmp_path / "runs", capsys=capsys)
            for command in ("run", "estimate")
        ]
        assert refusals[0] == refusals[1]
        assert refusals[0][0] == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_estimate_names_the_recovery_that_is_chosen(tmp_path, capsys):
    path = tmp_path / "job.toml"
    path.write_text("version = 1")
    code, out, _ = run("estimate", path, capsys=capsys)
    assert code == 0
    text = " ".join(out.split())
    assert "Recovery: distillation, all weights" in text
    assert "twice the time" in text
    assert text.startswith("model Demo file")
    assert "file 4.3 MB of 5.7 MB (float16)" in text
    assert "parameters 2,098,829 of 2,828,736" in text
    assert (
        "quality likely close to the original: KL to the original 0.11 nats (0.052 to"
        in text
    )
    path.write_text('version = 1\n[recovery]\nlevel = "refit"\n')
    code, out, _ = run("estimate", path, capsys=capsys)
    assert "Recovery" not in out
    assert "twice the time" not in " ".join(out.split())
    path.write_text('version = 1\n[pruning]\nmethod = "magnitude"\n')
    code, out, _ = run("estimate", path, capsys=capsys)
    assert "unknown: no run by magnitude was measured" in " ".join(out.split())
    assert "likely" not in out


def test_job_with_linked_text_keeps_its_suffix(tmp_path):
    (tmp_path / "blob").write_text("A text.")
    (tmp_path / "train.txt").symlink_to(tmp_path / "blob")
    path = tmp_path / "job.toml"
    path.write_text('version = 1\n[calibration]\ntext = "train.txt"\n')
    assert read_config(path).calibration.text == str(tmp_path / "train.txt")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals")
@pytest.mark.usefixtures("quick_runs")
def test_run_ended_by_a_signal_is_resumed(
    quick_job, tmp_path, capsys, monkeypatch, request
):
    # It may have been inherited as ignored.
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    signaller = Signaller()
    monkeypatch.setattr(runs, "EventDisplay", signaller.display)
    folder = tmp_path / "runs" / "x"
    command = ["run", quick_job, "--run-dir", folder.parent, "--name", "x"]
    code, out, err = run(*command, capsys=capsys)
    assert code == 130
    assert f"To resume it later: surgeon resume {folder}" in out
    assert "Canceled" in err
    last = (folder / "events.jsonl").read_text().splitlines()[-1]
    assert '"type":"Cancelled"' in last
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    signaller.is_armed = False
    code, out, _ = run("resume", folder, capsys=capsys)
    assert code == 0
    assert "resumed after 1 shot, " in out
    assert "shot 1:" not in out
    assert "shot 3: sparsity" in out


def test_failed_run_that_can_go_on_says_how(tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path, ending="failed")
    write_saved_state(folder)
    again = f"To resume it later: surgeon resume {folder}"
    assert again in run("watch", folder, capsys=capsys)[1]

    def fail(_, context):
        state = RunFolder(folder).saved_state
        context.saver = Saver(state, state.read())
        raise ExportError("Made up.")

    monkeypatch.setattr("surgeon_engine.parallel.group.work_on_run", fail)
    code, out, err = run("resume", folder, capsys=capsys)
    assert code == 1 and again in out and "Made up." in err


class Signaller:
    """A display that asks this process to end after the first shot."""

    def __init__(self):
        self.is_armed, self.has_shot = True, False

    def display(self, output):
        display = EventDisplay(output)
        show = display.show

        def show_and_send(envelope):
            show(envelope)
            event = envelope.event
            is_after = self.has_shot and isinstance(event, StageStarted)
            self.has_shot = self.has_shot or isinstance(event, ShotFinished)
            if is_after and self.is_armed:
                os.kill(os.getpid(), signal.SIGTERM)

        display.show = show_and_send
        return display


def test_resume_without_a_saved_state_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("resume", "a/../", capsys=capsys)
    assert code == 1
    assert f"{tmp_path} holds no state of an interrupted run" in err
    path = write_run(tmp_path)
    *_, command = run("resume", path, capsys=capsys)[2].rpartition(
        "To see its result: "
    )
    assert shlex.split(command) == ["surgeon", "inspect", str(path)]
    (path / "report.json").write_text("damaged")
    problem = run("resume", path, capsys=capsys)[2]
    assert problem == run("inspect", path, capsys=capsys)[2]


@pytest.mark.parametrize(
    "command", ["watch", "resume", "stop", "export", "judge", "compare"]
)
def test_commands_on_a_run_say_that_nothing_is_there(command, tmp_path, capsys):
    code, _, err = run(command, tmp_path / "tpyo", capsys=capsys)
    assert code == 1
    assert err.splitlines() == [f"There is nothing at {tmp_path / 'tpyo'}.", ANY]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals")
def test_ignored_hangup_stays_ignored():
    """As `nohup` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), runs._ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_gpus_must_be_a_number_of_gpus_that_there_are(tmp_path, monkeypatch, capsys):
    job = tmp_path / "job.toml"
    job.write_text("version = 1")
    for gpus, message in (
        ("none", "--gpus is “none”, which is no number of GPUs."),
        ("0", "--gpus is “0”, which is no number of GPUs."),
        ("all", "This machine has no GPU that torch can use."),
        ("2", "The job asks for 2 GPUs, and this machine has no GPU that torch"),
    ):
        monkeypatch.setattr("surgeon_engine.runtime.devices.gpu_count", lambda: 0)
        arguments = ["run", str(job), "--gpus", gpus, "--run-dir", str(tmp_path)]
        assert main(arguments) == 1
        captured = capsys.readouterr()
        assert message in captured.err + captured.out
    assert list(tmp_path.iterdir()) == [job]


def test_resume_takes_a_run_of_another_computer_over(tmp_path, capsys, monkeypatch):
    path = write_run(tmp_path, ending="killed")
    write_saved_state(path)
    lock = RunFolder(path).process_path
    write_lock(lock)
    code, _, err = run("resume", path, capsys=capsys)
    assert code == 1
    assert "atlas" in err and "--take-over" in err
    resumed: list[bool] = []
    monkeypatch.setattr(runs, "_work_on", lambda _: resumed.append(lock.exists()))
    assert run("resume", path, "--take-over", capsys=capsys)[0] == 0
    assert resumed == [False]
    assert run("resume", path, "--take-over", capsys=capsys)[0] == 0


def test_detached_run_stops_after_the_requested_shot(job, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(watching, "start_run", started.append)
    folder = tmp_path / "runs" / "first"
    where = ("--run-dir", str(folder.parent), "--name", folder.name)
    assert main(["run", str(job), *where, "--detach", "--stop-after", "2"]) == 0
    (command,) = started
    assert (command.stop_after, command.detached) == (2, True)
    assert command.folder == str(folder)


@pytest.mark.slow
def test_run_is_watched_and_stopped_from_other_terminals(tmp_path, capsys):
    job = tmp_path / "job.toml"
    calibration = CalibrationConfig(windows=4, validation_windows=2, window_length=64)
    config = surgeon_job(
        calibration=calibration,
        evaluation=EvaluationConfig(windows=0),
        pruning=pruning_config(shots=40, method=Method.MAGNITUDE),
    )
    job.write_text(config_to_toml(config))
    folder = tmp_path / "first"
    arguments = ("--run-dir", str(tmp_path), "--name", "first", "--detach")
    assert main(["run", str(job), *arguments]) == 0
    assert f"surgeon watch {folder}" in capsys.readouterr().out
    watch = threading.Thread(target=main, args=(["watch", str(folder)],))
    watch.start()
    assert main(["stop", str(folder)]) == 0
    watch.join()
    assert "Canceled." in capsys.readouterr().out
    assert main(["watch", str(folder)]) == 130
    assert main(["stop", str(folder)]) == 1
    assert "No process works on" in capsys.readouterr().err
