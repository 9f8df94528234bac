"""Do a run in this process, or start several that share it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.commands import ResumeRun, StartRun
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.run import RunFinished, RunStarted
from surgeon_engine.api.run_commands import obeyed_commands
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ProcessError,
    RunCancelled,
)
from surgeon_engine.base.json_process import JsonProcess, module_command
from surgeon_engine.base.sentences import say
from surgeon_engine.run import pipeline
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.failures import failure
from surgeon_engine.runtime.pacing import steady_pace
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.saver import Saver

_POLL_INTERVAL_S = 0.1
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the processes are on one machine
_HINT = say("What was saved is not lost: resume the run, perhaps on fewer GPUs.")


class RunFailed(Exception):
    """Raised for a run in other processes, which have sent the reason."""

    def __init__(self, reason: Failed) -> None:
        super().__init__(reason.message)
        self.reason = reason


@contextmanager
def reported(context: RunContext) -> Iterator[None]:
    """Emit how a run or request ends if it is cancelled or fails."""
    try:
        yield
    except RunCancelled:
        if context.saver.holds_state:
            context.inform("The run can be resumed.")
        context.emit(Cancelled())
    except RunFailed:
        pass  # the processes that share the run have said why
    except Exception as error:  # noqa: BLE001  the process boundary
        context.emit(failure(error))


def work_on_run(
    command: StartRun | ResumeRun,
    context: RunContext,
    commands_from: int | None = None,
) -> None:
    """Do a run, on as many GPUs as its job asks for.

    The commands to the run begin at `commands_from` in the file in its folder; None: at
    its current end.

    Raises:
        EngineError: something that the user can act on.
        RunFailed: the run has failed in other processes, which have sent `Failed`.
        RunCancelled: the user has cancelled.
    """
    model = model_of(command)
    count = (
        1 if ranks.size() > 1 else gpus_for(model, is_new=isinstance(command, StartRun))
    )
    run = RunFolder(Path(command.folder))
    with (
        obeyed_commands(run, context.handle, commands_from)
        if ranks.is_first()
        else nullcontext()
    ):
        if count > 1:
            work_in_group(command, count, context, model)
        else:
            execute(command, context)


def execute(command: StartRun | ResumeRun, context: RunContext) -> None:
    """Do a run in this process, which may be one of several."""
    folder = Path(command.folder)
    how = {"replace": command.replace, "detached": command.detached}
    with steady_pace():
        match command:
            case StartRun(config=config):
                context.stop_after = command.stop_after
                context.expected, context.planned = command.expected, command.planned
                pipeline.prune(config, folder, context, **how)
            case ResumeRun():
                pipeline.resume(folder, context, **how)


def gpus_for(model: ModelConfig, *, is_new: bool) -> int:
    """Return how many GPUs of this machine a run uses, each with a process.

    A run that is not new may go on with fewer than it began with.

    Raises:
        ConfigError: the job asks for more GPUs than there are.
    """
    if model.device is Device.CPU or model.gpus == 1:
        return 1
    there = devices.gpu_count()
    if model.gpus > there and is_new:
        raise ConfigError(
            "The job asks for {gpus} GPUs, and this machine has no GPU that torch can "
            "use."
            if not there
            else "The job asks for {gpus} GPUs, and this machine has {there} GPU that "
            "torch can use."
            if there == 1
            else "The job asks for {gpus} GPUs, and this machine has {there} GPUs that "
            "torch can use.",
            "Set {setting:choice} to 1, or to 0 for all that there are.",
            gpus=model.gpus,
            there=there,
            setting="model.gpus",
        )
    return max(1, min(model.gpus or there, there))


def work_in_group(
    command: StartRun | ResumeRun,
    count: int,
    context: RunContext,
    model: ModelConfig,
) -> None:
    """Do a run in several new processes, and pass its events on.

    All of them end with this call, and with this process.

    Raises:
        ProcessError: one of them has ended.
        RunFailed: the run has failed; `Failed` was sent.
        RunCancelled: the user has cancelled.
    """
    run = RunFolder(Path(command.folder))
    place = "cpu" if model.device is Device.CPU else "gpu"
    process: JsonProcess[Envelope] = JsonProcess(
        module_command("surgeon_engine.parallel.agent", str(count), place),
        json_decoder(Envelope),
        _environment(count),
    )
    last, reason, has_started = None, "", isinstance(command, ResumeRun)
    has_started |= command.detached  # its folder stays in any case
    is_of_another = not has_started and run.config_path.exists()
    try:
        with process:
            process.send(command)
            context.forward(process.send)
            while not process.ended:
                context.raise_if_cancelled()
                match process.receive(_POLL_INTERVAL_S):
                    case Envelope(run="", event=Failed(message=reason)):
                        pass  # why one has ended; the run may have said it
                    case Envelope() as envelope:
                        last = envelope.event
                        has_started |= isinstance(last, RunStarted)
                        context.pass_on(envelope)
            if isinstance(last, RunFinished):
                return
            if isinstance(last, Failed):
                raise RunFailed(last)
            if isinstance(last, Cancelled):
                raise RunFailed(Failed(say("The run was canceled.")))
            ended = process.wait_for_exit().summary
            reason = reason or say(
                "The processes of the run have ended: {ended:clause}.", ended=ended
            )
            raise ProcessError(reason, _HINT)
    except RunFailed:
        raise  # the processes have logged it, if the folder is theirs
    except BaseException as error:
        # The folder is theirs if they have logged an event, and it had no run before.
        if last is not None and not is_of_another:
            is_kept = has_started or isinstance(error, ProcessError)
            _clean_up(run, context, is_kept=is_kept)
        raise


def _clean_up(run: RunFolder, context: RunContext, *, is_kept: bool) -> None:
    """Remove what killed processes have left.

    The folder stays with `is_kept`, as the run had started or nobody knows why it
    ended.
    """
    if not is_kept:
        with suppress(EngineError), run.locked():
            run.discard()
        return
    remove_litter(run.path.parent)
    with suppress(EngineError):
        run.remove_cut_off_line()
        context.log = run
    context.saver = Saver(run.saved_state, Saver.off().saved)


def model_of(command: StartRun | ResumeRun) -> ModelConfig:
    """Return the model of a run; of one that cannot be read, any."""
    if isinstance(command, StartRun):
        return command.config.model
    try:
        return RunFolder(Path(command.folder)).read_config().model
    except EngineError:
        return ModelConfig()  # resuming it raises


def _environment(count: int) -> dict[str, str]:
    found = dict(os.environ)
    # Otherwise torchrun lets each process use one thread.
    threads = max(1, torch.get_num_threads() // count)
    found.setdefault("OMP_NUM_THREADS", str(threads))
    if loopback := _LOOPBACK.get(sys.platform):
        found.setdefault("GLOO_SOCKET_IFNAME", loopback)
    return found
