"""An sshd on the loopback interface, with keys and settings of its own.

The programs in `bin` are ssh, scp and sftp with these settings. They know the hosts

    loopback    the sshd
    changed     the same, with another key than the known one
    unknown     the same, with a key that is not known
    denied      the same, with a key of the user that it does not accept
    refused     a port on which nothing listens
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
PROGRAMS = ("ssh", "scp", "sftp")
NEEDS_SSHD = pytest.mark.skipif(
    SSHD is None or not all(map(shutil.which, PROGRAMS)),
    reason="OpenSSH's sshd and client are not installed",
)
_PRIVILEGE_FOLDER = Path("/run/sshd")  # without which sshd does not start as root
_HOSTS = ("loopback", "changed", "unknown", "denied", "refused")


class LoopbackSsh:
    """Run an sshd with its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name in ("host_key", "other_host_key", "key", "other_key"):
            self._make_key(name)
        key = (folder / "key.pub").read_text()
        (folder / "authorized_keys").write_text(key)
        self.port = _free_port()
        self._write_client_files()
        lines = (
            f"HostKey {folder / 'host_key'}",
            f"AuthorizedKeysFile {folder / 'authorized_keys'}",
            f"PidFile {folder / 'sshd.pid'}",
            "ListenAddress 127.0.0.1",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "Subsystem sftp internal-sftp",
        )
        (folder / "sshd_config").write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            _PRIVILEGE_FOLDER.mkdir(exist_ok=True)
        self._log = (folder / "sshd.log").open("wb")
        self._sshd: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def ssh(self) -> tuple[str, ...]:
        """The ssh with these settings."""
        return (str(self.bin / "ssh"), "-o", "BatchMode=yes")

    def start(self) -> None:
        """Start the sshd and wait until it listens."""
        options = ("-D", "-e", "-f", str(self.folder / "sshd_config"))
        command = (str(SSHD), *options, "-p", str(self.port))
        self._sshd = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._sshd.poll() is None, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    def stop(self) -> None:
        """Stop listening; connections stay."""
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait()
            self._sshd = None

    def cut(self) -> None:
        """Stop listening, and cut all connections as a broken network does."""
        assert self._sshd is not None
        sessions = psutil.Process(self._sshd.pid).children(recursive=True)
        self.stop()
        for each in sessions:
            # Its programs have to find out by themselves.
            if each.is_running() and each.name().startswith("sshd"):
                each.kill()

    def close(self) -> None:
        """Stop, and close the log."""
        self.stop()
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
                f"Port {_free_port() if host == 'refused' else self.port}",
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
