"""A server of files on 127.0.0.1 that can misbehave in the ways of the network."""

import hashlib
import http.server
import threading

import pytest


class Server:
    """Serves `files` by path; `faults` are (path, fault) pairs that are used up one by one."""

    def __init__(self):
        self.files, self.redirects, self.stated = {}, {}, {}
        self.faults, self.asked = [], []
        self.ranges = True
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def put(self, path, content):
        self.files[path] = content
        return hashlib.sha256(content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.owner, self.path
        server.asked.append((path, self.headers.get("Range")))
        fault = server.faults.pop(0) if server.faults else None
        if fault == "stall":
            return server.released.wait(5)
        if isinstance(fault, int):
            return self.send_error(fault)
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            if path in server.stated:
                self.send_header("X-Linked-Etag", f'"{server.stated[path]}"')
            return self.end_headers()
        if path not in server.files:
            return self.send_error(404)
        content, start = server.files[path], 0
        if server.ranges and (given := self.headers.get("Range")):
            start = int(given.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        # "cut": the first half of what was asked for, then nothing more.
        end = start + (len(content) - start) // 2 if fault == "cut" else len(content)
        self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, no waits between tries, and a cache of its own."""
    from segalias_jax.torch_weights import fetching

    server = Server()
    server.released = threading.Event()
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    for name in ("SEGALIAS_OFFLINE", "SEGALIAS_MIRRORS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SEGALIAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield server
    server.released.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def mirror(server, monkeypatch):
    """The server in place of all that the zoo names: `path(address)` is where a file is there."""
    hosts = ("https://download.pytorch.org", "https://huggingface.co", "https://github.com")
    pairs = (f"{host}={server.address}/{host.removeprefix('https://')}" for host in hosts)
    monkeypatch.setenv("SEGALIAS_MIRRORS", " ".join(pairs))
    return lambda address: address.removeprefix("https:/")
