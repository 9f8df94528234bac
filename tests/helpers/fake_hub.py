"""A small Hub on the loopback: models and their files, as slow and broken as wanted.

Speaks as much of the Hub's language as a download needs: what a model is made of,
where a file is and what its hash is, and its bytes, from any place on.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "5eed" * 10
TOKEN = "hf_made_up"
_CHUNK = 16 * 1024


class FakeHub:
    """A server; as a context, it ends with it."""

    def __init__(self):
        self.models: dict[str, dict[str, bytes]] = {}
        self.revisions = ("main", COMMIT)
        self.status = 0  # with which everything is refused; 0: nothing is
        self.error_code = ""
        self.gated_files = False  # the model may be seen, its files may not
        self.pause = 0.0  # seconds between two chunks of a large file
        self.breaks_after = 0  # bytes of a file, once; 0: never
        self.stalls_after = 0  # bytes of a file, once; 0: never
        self.damages = ""  # the name of a file whose bytes arrive wrong
        self.sent: dict[str, int] = {}  # bytes of each file
        self.tokens: set[str] = set()  # that have been shown
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


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(is_head=True)

    def do_GET(self):
        self._answer(is_head=False)

    def log_message(self, *_):
        pass

    def _answer(self, *, is_head):
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        if shown := self.headers.get("Authorization"):
            hub.tokens.add(shown.removeprefix("Bearer "))
        if hub.status:
            self._refuse(hub.status, hub.error_code)
        elif path.startswith("/api/models/"):
            repo, _, revision = path[len("/api/models/") :].partition("/revision/")
            self._describe(repo, revision or "main")
        else:
            repo, _, rest = path[1:].partition("/resolve/")
            _, _, name = rest.partition("/")
            self._send_file(repo, name, is_head=is_head)

    def _describe(self, repo, revision):
        if repo not in self.hub.models:
            return self._refuse(404, "RepoNotFound")
        if revision not in self.hub.revisions:
            return self._refuse(404, "RevisionNotFound")
        siblings = []
        for name, data in self.hub.models[repo].items():
            entry = {"rfilename": name, "size": len(data), "blobId": _git_hash(data)}
            if _is_large(name):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 1}
            siblings.append(entry)
        body = json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, repo, name, *, is_head):
        if self.hub.gated_files:
            return self._refuse(403, "GatedRepo")
        data = self.hub.models.get(repo, {}).get(name)
        if data is None:
            return self._refuse(404, "EntryNotFound")
        start, wanted = 0, self.headers.get("Range", "")
        if wanted:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if wanted else 200)
        digest = hashlib.sha256(data).hexdigest() if _is_large(name) else ""
        self.send_header("ETag", f'"{digest or _git_hash(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
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
        for place in range(start, len(data), _CHUNK):
            if _is_large(name):
                time.sleep(hub.pause)
                if hub.breaks_after and place >= hub.breaks_after:
                    hub.breaks_after = 0
                    self.close_connection = True
                    return
                if hub.stalls_after and place >= hub.stalls_after:
                    hub.stalls_after = 0
                    hub.stalled.set()
                    hub.going_on.wait(30)
                    self.close_connection = True
                    return
            part = data[place : place + _CHUNK]
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                return  # whoever asked is gone
            hub.sent[name] = hub.sent.get(name, 0) + len(part)

    def _refuse(self, status, code):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _is_large(name):
    return name.endswith(".safetensors")


def _git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
