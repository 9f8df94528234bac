"""Other computers, as OpenSSH knows them, and what its errors mean.

All keys and settings come from the user's own OpenSSH. Nothing is asked: a password
or an unknown key ends the connection with a sentence.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from importlib.metadata import version

from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.json_process import ProcessExit
from surgeon_engine.base.sentences import say, say_all

DEFAULT_COMMAND = "surgeon"
# Nothing is asked in a terminal; a dead connection is noticed within a minute.
SSH_OPTIONS = (
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=15",
    "-o", "ServerAliveInterval=15",
    "-o", "ServerAliveCountMax=3",
)  # fmt: skip
_SSH_FAILED = 255
_NOT_FOUND = (126, 127)
# A name of a host, or an IPv6 address with or without brackets, which is checked below.
_HOST = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?"
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|(\[)?(?P<ipv6>[0-9A-Fa-f:.]+)"
    r"(?:%[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?(1)\]))"
)
_MAX_HOST_LENGTH = 255
_MAX_COMMAND_LENGTH = 1_000
_MAX_SHOWN = 80  # characters


class ConnectionFailed(EngineError):
    """Another computer cannot be reached, or its engine cannot be used."""


@dataclass(frozen=True, slots=True)
class Computer:
    """Another computer, as OpenSSH names it."""

    host: str  # such as user@host, or an entry of ~/.ssh/config
    command: str = DEFAULT_COMMAND  # starts Surgeon there

    @property
    def ssh_name(self) -> str:
        """The host for ssh, which takes an IPv6 address without brackets."""
        return self.host.replace("[", "").replace("]", "")

    @property
    def sftp_name(self) -> str:
        """The host for sftp, which takes what follows a colon as a path."""
        user, at, address = self.ssh_name.rpartition("@")
        return f"{user}{at}[{address}]" if ":" in address else self.host

    def check(self) -> None:
        """Check the host and the command.

        Raises:
            ConnectionFailed: One of them is none.
        """
        host = self.host
        if not _is_host(host) or len(host) > _MAX_HOST_LENGTH:
            raise ConnectionFailed(
                "“{host}” is no name of a computer."
                if host.strip()
                else "The name of the computer is missing.",
                "Enter user@host, or a Host of ~/.ssh/config. For another port, add "
                "the computer to ~/.ssh/config.",
                host=printable(host),
            )
        command = self.command
        is_long = len(command) > _MAX_COMMAND_LENGTH
        if not command.strip() or not command.isprintable() or is_long:
            raise ConnectionFailed(
                "“{command}” is no command.",
                "Enter the command that starts Surgeon there, such as surgeon or "
                "~/surgeon/.venv/bin/surgeon.",
                command=printable(command),
            )


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or found["ipv6"] is None:
        return found is not None
    try:
        ipaddress.IPv6Address(found["ipv6"])
    except ValueError:
        return False
    return True


def printable(text: str) -> str:
    """Return a text without control characters, cut to a readable length."""
    shown = "".join(x if x.isprintable() else "�" for x in text)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"


def last_line(output: str) -> str:
    """Return the last line of an output that is not empty, as `printable`."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


class FinalFailure(ConnectionFailed):
    """A failure that another attempt does not change."""


def version_problem(theirs: str, host: str) -> ConnectionFailed | None:
    """Return why an engine of another version cannot be used; None if it can."""
    ours = version("surgeon")
    if _release(ours) == _release(theirs):
        return None
    return ConnectionFailed(
        "{host} has Surgeon {theirs}, and this computer {ours}. They must have the "
        "same version.",
        "Install the same version on both. An engine that still runs there ends when "
        "it has no more work.",
        host=host,
        theirs=printable(theirs),
        ours=ours,
    )


def _release(text: str) -> tuple[str, ...]:
    return tuple(text.split(".")[:2])


def is_of_ssh(process_exit: ProcessExit) -> bool:
    """Return whether ssh has ended by itself, and not with its command."""
    return process_exit.code < 0 or process_exit.code == _SSH_FAILED


def problem_of(process_exit: ProcessExit, computer: Computer) -> ConnectionFailed:
    """Return what the end of an ssh process means, and what to try."""
    host, output = computer.ssh_name, process_exit.details  # as terminals take it
    last = last_line(output)
    if process_exit.code in _NOT_FOUND:
        return FinalFailure(
            "There is no Surgeon on {host}: the command “{command}” was not found.",
            "Install it there, or add the computer again with the path of the "
            "command, such as ~/surgeon/.venv/bin/surgeon. To try: ssh {host} "
            "{command} --version",
            host=host,
            command=computer.command,
        )
    if process_exit.invalid_line:
        return not_an_engine(computer, process_exit.invalid_line)
    if process_exit.misbehavior:
        return FinalFailure(
            "The connection with {host} was closed: the program there {reason:clause}.",
            _try_surgeon(computer),
            host=host,
            reason=process_exit.misbehavior,
        )
    code = process_exit.code
    if code == _SSH_FAILED:
        return _ssh_problem(output, last, host)
    if code <= 0:
        return ConnectionFailed(
            "The connection with {host} has ended.", _try_ssh(host), host=host
        )
    return ConnectionFailed(
        "Surgeon on {host} has ended (exit code {code}): {last:clause}."
        if last
        else "Surgeon on {host} has ended (exit code {code}).",
        _try_surgeon(computer),
        host=host,
        code=code,
        last=last,
    )


def _try_surgeon(computer: Computer) -> str:
    return say(
        "Check it in a terminal: ssh {host} {command} --version",
        host=computer.ssh_name,
        command=computer.command,
    )


def _try_ssh(host: str) -> str:
    return say("Check in a terminal that this works: ssh {host}", host=host)


def not_an_engine(computer: Computer, wrote: str) -> FinalFailure:
    """Return the error of a command that writes other lines than Surgeon."""
    host, command = computer.ssh_name, computer.command
    return FinalFailure(
        "The command “{command}” on {host} is not Surgeon: it wrote “{wrote}”.",
        _try_surgeon(computer),
        command=command,
        host=host,
        wrote=printable(wrote),
    )


def _ssh_problem(output: str, last: str, host: str) -> ConnectionFailed:
    text = output.lower()
    in_terminal = _try_ssh(host)
    if "identification has changed" in text:
        return FinalFailure(
            "The key of {host} has changed: it may be another computer that answers "
            "under this name, and nothing was sent to it.",
            "If the computer was installed again, remove its old key with ssh-keygen "
            "-R {name}, then connect once in a terminal: ssh {host}",
            host=host,
            name=host.rpartition("@")[2],
        )
    if "host key verification failed" in text:
        return FinalFailure(
            "{host} is not known yet: its key has not been confirmed.",
            "Connect once in a terminal and compare the key: ssh {host}",
            host=host,
        )
    if "permission denied" in text or "too many authentication failures" in text:
        return FinalFailure(
            "{host} does not accept your keys. Surgeon asks for no password.",
            say_all(
                say(
                    "Add a key with ssh-copy-id {host}, or load it with ssh-add.",
                    host=host,
                ),
                in_terminal,
            ),
            host=host,
        )
    if "could not resolve" in text or "name or service not known" in text:
        return ConnectionFailed(
            "There is no computer called {host}.",
            say_all(say("Check the name and the network."), in_terminal),
            host=host,
        )
    silent = say("{host} does not respond.", host=host)
    no_way = say("There is no way to {host} in this network.", host=host)
    for phrase, message in (
        ("connection refused", say("{host} refuses connections by ssh.", host=host)),
        ("timed out", silent),
        ("timeout, server", say("{host} does not respond any more.", host=host)),
        ("no route to host", no_way),
        ("network is unreachable", no_way),
    ):
        if phrase in text:
            is_on = say("Check that it is on and runs sshd.")
            return ConnectionFailed(message, say_all(is_on, in_terminal))
    return ConnectionFailed(
        "The connection with {host} was lost: {last:clause}."
        if last
        else "The connection with {host} was lost.",
        in_terminal,
        host=host,
        last=last,
    )
