"""An SSH server for tests, on the loopback interface alone.

    python ssh_server.py PORT HOST_KEY AUTHORIZED_KEYS

It runs commands in the user's shell, and serves sftp. SIGUSR1 makes it stop listening;
connections stay.
"""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE

import asyncssh


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command; its input ends with the connection, as with OpenSSH."""
    assert process.command is not None
    child = await asyncio.create_subprocess_shell(
        process.command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    assert child.stdin is not None
    feed = asyncio.ensure_future(_feed(process.stdin, child.stdin))
    # The end of one output would close the channel to the other one.
    await process.redirect(None, child.stdout, child.stderr, send_eof=False)
    code = await child.wait()
    feed.cancel()
    process.exit(code)


async def _feed(
    source: asyncssh.SSHReader[bytes], program: asyncio.StreamWriter
) -> None:
    """Pass the input on until it ends, or the program no longer reads."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(1 << 16):
            program.write(data)
            await program.drain()
    program.close()


async def _serve(port: int, host_key: str, authorized_keys: str) -> None:
    listener = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        process_factory=_run,
        sftp_factory=True,
        encoding=None,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, listener.close)
    await asyncio.Event().wait()  # until it is killed


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
