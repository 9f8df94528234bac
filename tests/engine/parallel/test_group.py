"""A run in several processes: its events, its end, and nothing left of it."""

import signal
import subprocess
import sys

import psutil
import pytest

from surgeon_engine import server
from surgeon_engine.api.config.pruning import Fisher, Method
from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.commands import (
    Cancel,
    Pause,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.api.messages.run import (
    Estimate,
    Paused,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base import process_lock
from surgeon_engine.base.errors import ConfigError, ProcessError, RunCancelled
from surgeon_engine.cli.main import main
from surgeon_engine.parallel import group as group_module
from surgeon_engine.parallel.agent import reason
from surgeon_engine.parallel.group import RunFailed, gpus_for, work_in_group
from surgeon_engine.runtime import devices
from tests.helpers.fake_runs import write_run
from tests.helpers.runs import Recorder, job

EXPECTED = Estimate(0.2, 0.1, 0.4)
CPU = ModelConfig(device=Device.CPU)


class Group(Recorder):
    """Runs in two processes of this machine."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def start(self, config, stop_after=0):
        folder = str(self.folder)
        command = StartRun(
            run="test",
            config=config,
            folder=folder,
            stop_after=stop_after,
            expected=EXPECTED,
        )
        work_in_group(command, 2, self.context, CPU)

    def resume(self):
        command = ResumeRun(run="test", folder=str(self.folder))
        work_in_group(command, 2, self.context, CPU)

    def end(self, kind, config):
        """Start a run that ends with an error, and return it."""
        with pytest.raises(kind) as found:
            self.start(config)
        return found.value


def workers():
    """Return the processes that share a run."""
    found = psutil.Process().children(recursive=True)
    return [each for each in found if _is_worker(each)]


def _is_worker(process):
    try:
        return "surgeon_engine.parallel.worker" in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture
def group(tmp_path):
    """Return a group, and check that none of its processes is left."""
    yield Group(tmp_path / "run")
    left = [x for x in psutil.Process().children(recursive=True) if x.is_running()]
    _, alive = psutil.wait_procs(left, timeout=5)
    assert not [x for x in alive if _is_worker(x)]


def is_in_second_shot(event):
    """Return whether the first shot is done and saved."""
    return isinstance(event, StageStarted) and event.shot == 2


def config_of(folder, shots=2, windows=8, **settings):
    given = {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED, "shots": shots}
    return job(folder, windows=windows, **given | settings)


@pytest.mark.runtimes
def test_run_in_two_processes(group, tmp_path):
    config = config_of(tmp_path, shots=3)

    def pause(event):
        if isinstance(event, ShotFinished) and event.shot == 1:
            group.context.handle(Pause(run="test"))
        if isinstance(event, Paused):
            group.context.handle(Resume(run="test"))

    group.react = pause
    group.start(config, stop_after=2)
    (started,) = group.of(RunStarted)
    assert started.device.startswith("2 x ")
    assert started.expected == EXPECTED
    assert len(group.of(Paused)) == 1
    assert len(group.of(ShotFinished)) == 2
    assert group.of(RunFinished)[0].stopped_early
    assert RunFolder(group.folder).read_report().device.startswith("2 x ")
    group.resume()
    assert group.of(RunResumed)[0].shots == 2
    assert not group.of(RunFinished)[1].stopped_early


@pytest.mark.runtimes
def test_killed_process_ends_the_run_with_a_sentence(group, tmp_path):
    def kill(event):
        if is_in_second_shot(event):
            found = next(x for x in workers() if x.environ()["RANK"] == "1")
            found.send_signal(signal.SIGKILL)

    group.react = kill
    error = group.end(ProcessError, config_of(tmp_path, shots=40))
    assert error.message == (
        "Process 2 of the run was killed by the system, probably because memory ran "
        "out."
    )
    assert "resume the run" in error.hint
    assert group.context.saver.holds_state
    assert not workers()
    again = Group(group.folder)
    again.send_at(lambda event: isinstance(event, ShotFinished), StopAndKeep)
    again.resume()
    assert RunFolder(group.folder).read_report().stopped_early


@pytest.mark.runtimes
def test_cancel_ends_all_processes_at_once(group, tmp_path):
    unfinished = []

    def cancel(event):
        if is_in_second_shot(event):
            listening = [
                connection.laddr.ip
                for process in workers()
                for each in (process, process.parent())
                for connection in each.net_connections()
                if connection.status == psutil.CONN_LISTEN
            ]
            assert set(listening) <= {"127.0.0.1", "::1"}
            worker = workers()[0]
            place = process_lock.process_tag().rpartition("-")[2]
            tag = f"{worker.pid}-{int(process_lock._created(worker))}-{place}"
            unfinished.append(group.folder / f".export.{tag}-partial")
            unfinished[0].mkdir()
            group.context.handle(Cancel(run="test"))

    group.react = cancel
    group.end(RunCancelled, config_of(tmp_path, shots=40))
    assert not workers()
    assert not unfinished[0].exists()
    assert group.context.saver.holds_state
    assert group.context.log is not None  # which then says that it was cancelled


@pytest.mark.runtimes
def test_error_in_the_processes_is_sent_once(group, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # used by the processes
    group.end(RunFailed, config_of(tmp_path, windows=3))
    (failed,) = group.of(Failed)
    assert failed.message == (
        "2 GPUs need at least 4 calibration windows, and there are 3."
    )
    assert not list(tmp_path.glob("torchelastic*"))


@pytest.mark.runtimes
def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from surgeon_engine.api.config.toml import read_config\n"
        "from tests.engine.parallel.test_group import Group\n"
        "group = Group(Path(sys.argv[2]))\n"
        "group.react = lambda event: print(type(event).__name__, flush=True)\n"
        "group.start(read_config(Path(sys.argv[1])))\n"
    )
    file = tmp_path / "job.toml"
    file.write_text(config_to_toml(config_of(tmp_path, shots=40)))
    command = [sys.executable, "-c", script, str(file), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        for line in starter.stdout:
            if line.strip() == "ShotFinished":
                break
        found = psutil.Process(starter.pid).children(recursive=True)
        assert len(found) >= 3  # the agent and two workers
        starter.kill()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive


@pytest.mark.runtimes
def test_torchrun_shares_a_run(tmp_path):
    file = tmp_path / "job.toml"
    file.write_text(config_to_toml(config_of(tmp_path)))
    where = ["--run-dir", str(tmp_path), "--name"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]

    command = [sys.executable, "-m", *torchrun, "surgeon_engine", "run", str(file)]
    done = subprocess.run(
        [*command, *where, "two"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shot 2: ") == 1  # the second process is silent
    report = RunFolder(tmp_path / "two").read_report()
    assert report.device.startswith("2 x ")


def test_gpus_of_a_job_are_those_that_there_are(monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 2)
    for gpus, count in ((0, 2), (1, 1), (2, 2)):
        assert gpus_for(ModelConfig(gpus=gpus), is_new=True) == count
    assert gpus_for(ModelConfig(gpus=3), is_new=False) == 2
    assert gpus_for(ModelConfig(gpus=3, device=Device.CPU), is_new=True) == 1
    with pytest.raises(ConfigError, match="asks for 3 GPUs, and this machine has 2"):
        gpus_for(ModelConfig(gpus=3), is_new=True)
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    assert gpus_for(ModelConfig(gpus=0), is_new=True) == 1
    with pytest.raises(ConfigError, match="has no GPU"):
        gpus_for(ModelConfig(gpus=2), is_new=True)


def test_process_that_has_ended_first_is_named():
    killed, terminated, lost = -signal.SIGKILL, -signal.SIGTERM, 1
    for codes, message in (
        ({0: terminated, 1: killed}, "Process 2 of the run was killed by the system"),
        ({0: lost, 1: killed}, "Process 2 of the run was killed by the system"),
        ({0: lost, 1: -11}, "Process 2 of the run crashed (signal 11"),
        ({0: terminated, 2: lost}, "Process 3 of the run exited unexpectedly (exit"),
    ):
        assert reason(codes).message.startswith(message)


@pytest.mark.runtimes
def test_command_line_starts_a_process_for_each_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "gpu_count", lambda: 2)  # they compute on the CPU
    file = tmp_path / "job.toml"
    file.write_text(config_to_toml(config_of(tmp_path)))
    where = ["--run-dir", str(tmp_path), "--name", "run", "--gpus", "all"]
    assert main(["run", str(file), *where]) == 0
    assert "shot 2: " in capsys.readouterr().out
    run = RunFolder(tmp_path / "run")
    assert run.read_report().device.startswith("2 x ")
    assert run.read_config().model.gpus == 2
    file.write_text(config_to_toml(config_of(tmp_path, windows=3)))
    where[3] = "again"
    assert main(["run", str(file), *where]) == 1
    assert "2 GPUs need at least 4 calibration windows" in capsys.readouterr().err


def test_engine_does_not_repeat_the_failure_of_its_processes(tmp_path, monkeypatch):
    def fail(command, context):
        context.pass_on(Envelope(command.run, 0.0, Failed("Made up.")))
        raise RunFailed(Failed("Made up."))

    monkeypatch.setattr(server, "work_on_run", fail)
    envelopes = []
    engine = server.Engine(envelopes.append)
    engine.handle(StartRun(run="test", config=config_of(tmp_path), folder=""))
    engine._queue.put(None)
    engine.serve()
    assert [each.event for each in envelopes if each.run] == [Failed("Made up.")]


class PausedProcess:
    """Processes of a run that were paused while they checked its job."""

    ended = False

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def send(self, message):
        pass

    def receive(self, timeout):
        return Envelope("test", 0.0, Paused())


def test_cancelled_start_leaves_an_earlier_run_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(group_module, "JsonProcess", PausedProcess)
    run = RunFolder(write_run(tmp_path, "run"))
    before = run.events_path.read_bytes()
    group = Group(run.path)
    group.react = lambda _: group.context.handle(Cancel(run="test"))
    with pytest.raises(RunCancelled):
        group.start(config_of(tmp_path))
    assert run.config_path.exists()
    assert run.events_path.read_bytes() == before
