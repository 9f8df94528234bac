"""A server on the loopback interface, with OpenSSH's client and keys of its own.

The programs in `bin` are ssh and sftp with these settings. They know the hosts

    loopback    the server (`ssh_server.py`)
    changed     the same, with another key than the known one
    unknown     the same, with a key that is not known
    denied      the same, with a key of the user that it does not accept
    refused     a port on which nothing listens
"""

import getpass
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAMS = ("ssh", "sftp")
_SERVER = Path(__file__).with_name("ssh_server.py")
NEEDS_SSH = pytest.mark.skipif(
    not all(map(shutil.which, (*PROGRAMS, "ssh-keygen"))),
    reason="OpenSSH's client is not installed",
)
_HOSTS = ("loopback", "changed", "unknown", "denied", "refused")


class LoopbackSsh:
    """Run a server with its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name in ("host_key", "other_host_key", "key", "other_key"):
            self._make_key(name)
        key = (folder / "key.pub").read_text()
        (folder / "authorized_keys").write_text(key)
        self.port = free_port()
        self._write_client_files()
        self._log = (folder / "server.log").open("wb")
        self._server: subprocess.Popen[bytes] | None = None
        self._stopped: list[subprocess.Popen[bytes]] = []  # may have connections
        self.start()

    @property
    def ssh(self) -> tuple[str, ...]:
        """The ssh with these settings."""
        return (str(self.bin / "ssh"), "-o", "BatchMode=yes")

    def start(self) -> None:
        """Start the server and wait until it listens."""
        keys = (self.folder / "host_key", self.folder / "authorized_keys")
        command = (sys.executable, str(_SERVER), str(self.port))
        self._server = subprocess.Popen(
            (*command, *map(str, keys)), stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            log = self.folder / "server.log"
            assert self._server.poll() is None, log.read_text()
            time.sleep(0.02)
        raise AssertionError("the server does not listen")

    def stop(self) -> None:
        """Stop listening; connections stay."""
        if self._server is not None:
            self._server.send_signal(signal.SIGUSR1)
            self._stopped.append(self._server)
            self._server = None

    def cut(self) -> None:
        """Stop listening, and cut all connections as a broken network does.

        The programs at their other ends have to find out by themselves.
        """
        self.stop()
        for server in self._stopped:
            server.kill()
            server.wait()
        self._stopped.clear()

    def close(self) -> None:
        """Stop, and close the log."""
        self.cut()
        self._log.close()

    def _make_key(self, name: str) -> None:
        path = self.folder / name
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
        subprocess.run(command, check=True)

    def _write_client_files(self) -> None:
        folder = self.folder
        for name, key in (("known", "host_key"), ("changed", "other_host_key")):
            kind, value, *_ = (folder / f"{key}.pub").read_text().split()
            line = f"[127.0.0.1]:{self.port} {kind} {value}\n"
            (folder / f"{name}_hosts").write_text(line)
        (folder / "no_hosts").write_text("")
        text = ""
        for host in _HOSTS:
            known = {"changed": "changed_hosts", "unknown": "no_hosts"}
            key = "other_key" if host == "denied" else "key"
            lines = (
                f"Host {host}",
                "HostName 127.0.0.1",
                f"Port {free_port() if host == 'refused' else self.port}",
                f"User {getpass.getuser()}",
                f"IdentityFile {folder / key}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {folder / known.get(host, 'known_hosts')}",
                "GlobalKnownHostsFile /dev/null",
                "StrictHostKeyChecking yes",
            )
            text += "\n    ".join(lines) + "\n"
        (folder / "config").write_text(text)
        for program in PROGRAMS:
            path = self.bin / program
            real = shutil.which(program)
            path.write_text(f'#!/bin/sh\nexec {real} -F {folder / "config"} "$@"\n')
            path.chmod(0o755)


def free_port() -> int:
    """Return the number of a port that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
