"""A fake Hugging Face Hub on the loopback that can be slow and simulate errors.

It implements the part of the API that downloads and searches need: the files of a
model, their hashes, ranges of their bytes, and lists of models.
"""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

COMMIT = "5eed" * 10
TOKEN = "hf_made_up"
_CHUNK = 16 * 1024


class FakeHub:
    """A server. Used as a context manager, it runs until the end of the context."""

    def __init__(self):
        self.models: dict[str, dict[str, bytes]] = {}
        self.revisions = ("main", COMMIT)
        self.status = 0  # HTTP error of every response; 0 for none
        self.error_code = ""
        self.gated_files = False  # metadata is public, files are gated
        self.pause = 0.0  # seconds between the chunks of a large file
        self.breaks_after = 0  # close the connection once after so many bytes; 0: never
        self.stalls_after = 0  # stall once after so many bytes; 0: never
        self.stalls = ""  # name of a file, or "api", that never arrives
        self.damages = ""  # name of a file that arrives damaged
        self.describes = lambda found: found  # changes the description of a model
        self.found = []  # response to a search: entries, or bytes
        self.searches: list[dict[str, list[str]]] = []  # parameters of the searches
        self.redirects: dict[str, str] = {}  # other addresses by file name
        self.endless = ""  # name of a file, or "api", whose bytes do not end
        self.headers: dict[str, str] = {}  # sent with every file
        self.knows_ranges = True
        self.sent: dict[str, int] = {}  # bytes sent by file name
        self.tokens: set[str] = set()  # access tokens received
        self.stalled = threading.Event()
        self.going_on = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()
        return self

    def __exit__(self, *_):
        self.going_on.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def used_hub(monkeypatch, home):
    """Let this process and its children use a fake Hub, with a cache in a folder."""
    from huggingface_hub import constants

    with FakeHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(home))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._respond(is_head=True)

    def do_GET(self):
        self._respond(is_head=False)

    def log_message(self, *_):
        pass

    def _respond(self, *, is_head):
        path, _, query = self.path.partition("?")
        hub, path = self.hub, unquote(path)
        if authorization := self.headers.get("Authorization"):
            hub.tokens.add(authorization.removeprefix("Bearer "))
        if hub.status:
            self._send_error(hub.status, hub.error_code)
        elif path == "/api/models":
            hub.searches.append(parse_qs(query))
            self._send_json(hub.found)
        elif path.startswith("/api/models/"):
            repo, _, revision = path[len("/api/models/") :].partition("/revision/")
            self._describe(repo, revision or "main")
        else:
            repo, _, rest = path[1:].partition("/resolve/")
            _, _, name = rest.partition("/")
            if name and name == hub.stalls:
                hub.going_on.wait(30)
            self._send_file(repo, name, is_head=is_head)

    def _describe(self, repo, revision):
        if repo not in self.hub.models:
            return self._send_error(404, "RepoNotFound")
        if revision not in self.hub.revisions:
            return self._send_error(404, "RevisionNotFound")
        siblings = []
        for name, data in self.hub.models[repo].items():
            entry = {"rfilename": name, "size": len(data), "blobId": _git_hash(data)}
            if _is_large(name):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 1}
            siblings.append(entry)
        found = {"id": repo, "sha": COMMIT, "siblings": siblings}
        self._send_json(self.hub.describes(found))

    def _send_json(self, found):
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        if self.hub.stalls == "api":
            return self.hub.going_on.wait(30)
        if self.hub.endless == "api":
            return self._send_forever(200)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, repo, name, *, is_head):
        if self.hub.gated_files:
            return self._send_error(403, "GatedRepo")
        data = self.hub.models.get(repo, {}).get(name)
        if data is None:
            return self._send_error(404, "EntryNotFound")
        if location := self.hub.redirects.get(name):
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if name == self.hub.endless:
            return self._send_forever(200)
        start, range_ = 0, self.headers.get("Range", "")
        if not self.hub.knows_ranges:
            range_ = ""
        if range_:
            start = int(range_.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if range_ else 200)
        digest = hashlib.sha256(data).hexdigest() if _is_large(name) else ""
        known = {"ETag": f'"{digest or _git_hash(data)}"', "X-Repo-Commit": COMMIT}
        for header, value in (known | self.hub.headers).items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(data) - start))
        if range_:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"
            )
        self.end_headers()
        if not is_head:
            self._send_bytes(name, data, start)

    def _send_bytes(self, name, data, start):
        hub = self.hub
        if name == hub.damages:
            data = bytes(len(data))
        for offset in range(start, len(data), _CHUNK):
            if _is_large(name):
                time.sleep(hub.pause)
                if hub.breaks_after and offset >= hub.breaks_after:
                    hub.breaks_after = 0
                    self.close_connection = True
                    return
                if hub.stalls_after and offset >= hub.stalls_after:
                    hub.stalls_after = 0
                    hub.stalled.set()
                    hub.going_on.wait(30)
                    self.close_connection = True
                    return
            part = data[offset : offset + _CHUNK]
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                return  # the client has disconnected
            hub.sent[name] = hub.sent.get(name, 0) + len(part)

    def _send_forever(self, status):
        self.send_response(status)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            return  # the client has had enough

    def _send_error(self, status, code):
        if self.hub.endless == "error":
            return self._send_forever(status)
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _is_large(name):
    return name.endswith(".safetensors")


def _git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
