"""Visdom servers that tests start, kill and start again; and servers that are not well."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.support.runs import SCRIPTS

SERVE = """
import sys, threading, os
from pathlib import Path
from importlib.util import find_spec
from ignite_pipeline.board import server as visdom_server
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
static = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(find_spec("visdom").origin).parent / "static"
visdom_server.serve(static, [int(sys.argv[1])], lambda port: None, host=sys.argv[2])
"""

ANSWER = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, status, delay_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(delay_s)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    def handle_error(self, *args):
        pass  # the client has gone

server = Server(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class VisdomProcess:
    """A real Visdom server on a port of its own, begun when `start` is called."""

    def __init__(
        self, home: Path, *, port: int | None = None, host: str = "127.0.0.1", **environment: str
    ) -> None:
        self.port, self.host = port or unused_port(), host
        self.log = Path(home) / "visdom.log"
        self.url = f"http://localhost:{self.port}"
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home),
            "PYTHONPATH": str(SCRIPTS),
            **environment,
        }
        self._opener = build_opener(HTTPCookieProcessor())
        self._process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, *static: Path) -> None:
        command = [sys.executable, "-c", SERVE, str(self.port), self.host, *map(str, static)]
        self.log.parent.mkdir(exist_ok=True)
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        address = "localhost" if self.host in ("127.0.0.1", "0.0.0.0") else self.host
        for _ in range(600):
            try:
                socket.create_connection((address, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the Visdom server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def log_in(self, username: str, password: str) -> bool:
        digest = hashlib.sha256(password.encode()).hexdigest()
        return self.post("", {"username": username, "password": digest}) == ""

    def post(self, endpoint: str, content: dict) -> str:
        request = Request(f"{self.url}/{endpoint}", json.dumps(content).encode())
        with self._opener.open(request, timeout=10) as answer:
            return answer.read().decode()

    def windows(self, environment: str) -> dict[str, dict]:
        """Return what the server holds: window by id; none where it does not know the environment."""
        try:
            return json.loads(self.post("win_data", {"eid": environment, "win": None}))
        except OSError:
            return {}

    def wait_for(self, environment: str, window: str) -> dict:
        for _ in range(600):
            if found := self.windows(environment).get(window):
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{window} is not there, only {list(self.windows(environment))}")


@contextmanager
def hung_server() -> Iterator[str]:
    """Accept and never answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def answering_server(status: int, *, delay_s: float = 0.0) -> Iterator[str]:
    """Answer everything with ``status``, after ``delay_s`` seconds, from a process of its own."""
    port = unused_port()
    command = [sys.executable, "-c", ANSWER, *map(str, (port, status, delay_s))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
