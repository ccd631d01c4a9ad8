"""Forged requests, as no browser would let a page make them all, to a real board."""

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from ignite_pipeline.board import origin
from ignite_pipeline.board.origin import OTHER_HOST, OTHER_ORIGIN, refusals
from tests.support.visdom_process import VisdomProcess

PANE = {"win": "w", "eid": "forged", "data": [{"type": "text", "content": "<script>"}], "opts": {}}
FOLLOWED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = VisdomProcess(tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def start(tmp_path):
    """Start a server of the test's own."""
    servers = []

    def start(**options):
        servers.append(VisdomProcess(tmp_path / "home", **options))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def ask(server, method, path, body="", *, lines=(), version="1.1", **headers):
    """Return the status of what the server answers, its headers and its content."""
    headers = {"Host": f"localhost:{server.port}", "Content-Length": len(body), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None] + [
        *lines
    ]
    text = "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "Connection: close", "", body])
    with socket.create_connection((server.host.replace("0.0.0.0", "127.0.0.1"), server.port), 10) as client:
        client.sendall(text.encode("latin1"))
        with client.makefile("rb") as answer:
            head = []
            while line := answer.readline().strip():
                head.append(line.decode())
            status = int(head[0].split()[1])
            if status == 101:
                client.shutdown(socket.SHUT_WR)
            content = answer.read()  # until the server closes the connection
    return status, dict(line.split(": ", 1) for line in head[1:]), content.decode(errors="replace")


def shake_hands(server, path, **headers):
    """Return the status of what the server answers to a browser's websocket."""
    key = base64.b64encode(bytes(16)).decode()
    lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    return ask(server, "GET", path, lines=[*lines, f"Sec-WebSocket-Key: {key}"], **headers)[0]


@pytest.mark.parametrize(
    ("listening_on", "host", "refused"),
    [
        *(
            ("127.0.0.1", host, False)
            for host in (
                *("localhost:8097", "localhost", "LOCALHOST:1", "127.0.0.1:8097", "127.0.0.2", "[::1]:65535"),
            )
        ),
        *(
            ("127.0.0.1", host, True)
            for host in (
                *("evil.test", "evil.test:8097", "localhost.evil.test", "x.localhost", "localhost.", "here"),
                *("192.0.2.1:8097", "[2001:db8::1]:8097", "", ":8097", "localhost:", "localhost:http", "::1"),
                *("localhost:123456", "localhost:-1", "me@localhost", "evil.test@localhost", "[localhost]"),
                *("localhost,evil.test", "localhost/", "[::1", "::1]", "2130706433", "0x7f.1", "127.1", "²"),
                *(
                    "localhost:8097:8097",
                    " localhost",
                    "localhost\n",
                    "locaļhost",
                    "%6cocalhost",
                    "[::1%25lo]",
                ),
            )
        ),
        *(
            ("0.0.0.0", host, False)
            for host in ("here:1", "HERE", "here.lab.test", "192.0.2.1:8097", "[2001:db8::1]", "localhost")
        ),
        *(("0.0.0.0", host, True) for host in ("evil.test", "here.evil.test", "here.lab.test.evil.test", "")),
        ("board.lab.test", "Board.lab.test:8097", False),
        ("board.lab.test", "other.lab.test:8097", True),
        ("::1", "localhost:8097", False),
        ("::1", "192.0.2.1", True),
        ("::", "192.0.2.1", False),
    ],
)
def test_the_board_goes_by_its_own_names_only(monkeypatch, listening_on, host, refused):
    monkeypatch.setattr(origin.socket, "gethostname", lambda: "Here")
    monkeypatch.setattr(origin.socket, "getfqdn", lambda: "here.lab.test")
    assert refusals(listening_on)("GET", {"Host": host}) == (OTHER_HOST if refused else None)


def test_a_request_without_a_host_is_refused():
    assert refusals("127.0.0.1")("GET", {}) == OTHER_HOST


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("POST", {}, False),
        ("POST", {"Origin": "http://localhost:8097"}, False),
        ("GET", {"Origin": "http://localhost:8097", "Sec-Fetch-Site": "same-origin"}, False),
        *(
            (method, {"Origin": page}, True)
            for method in ("GET", "POST", "OPTIONS")
            for page in (
                *("null", "", "http://localhost", "http://localhost:80971", "http://127.0.0.1:8097"),
                *("https://localhost:8097", "http://localhost:8097.evil.test", "http://localhost:8097/"),
                *("file://", "http://a@localhost:8097", "http://localhost:8097, http://localhost:8097"),
            )
        ),
        *(
            ("GET", {"Sec-Fetch-Site": site}, site not in ("none", "same-origin"))
            for site in ("none", "same-origin")
        ),
        *(("GET", {"Sec-Fetch-Site": site}, True) for site in ("cross-site", "same-site", "", "what-comes")),
        ("GET", {"Sec-Fetch-Site": "cross-site", **FOLLOWED}, False),
        ("GET", {"Sec-Fetch-Site": "same-site", **FOLLOWED}, False),
        ("POST", {"Sec-Fetch-Site": "cross-site", **FOLLOWED}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", **FOLLOWED, "Sec-Fetch-Dest": "iframe"}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", **FOLLOWED, "Sec-Fetch-Dest": "object"}, True),
        (
            "GET",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            True,
        ),
        ("GET", {"Sec-Fetch-Site": "cross-site", **FOLLOWED, "Origin": "http://evil.test"}, True),
    ],
)
def test_the_board_answers_its_own_pages_and_who_follows_a_link(method, headers, refused):
    refusal = refusals("127.0.0.1")
    assert refusal(method, {"Host": "localhost:8097", **headers}) == (OTHER_ORIGIN if refused else None)


URLS = [
    *(("GET", path) for path in ("/", "/env/main", "/compare/main", "/static/js/main.js", "/favicon.ico")),
    *(
        ("GET", path)
        for path in ("/user/style.css", "/socket_wrap", "/error/x", "/nowhere", "http://localhost/")
    ),
    *(("POST", path) for path in ("/", "/events", "/update", "/close", "/delete_env", "/save", "/win_data")),
    *(("POST", path) for path in ("/env/forged", "/fork_env", "/socket_wrap", "/vis_socket_wrap")),
    *((method, "/events") for method in ("HEAD", "OPTIONS", "PUT", "DELETE")),
]


@pytest.mark.parametrize(("method", "path"), URLS)
@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Host": "evil.test:8097"}, OTHER_HOST),
        ({"Origin": "http://evil.test"}, OTHER_ORIGIN),
        ({"Sec_Fetch_Site": "cross-site"}, OTHER_ORIGIN),
    ],
)
def test_no_url_is_left_out(server, method, path, headers, reason):
    status, answered, content = ask(server, method, path, json.dumps(PANE), **headers)
    assert (status, content) == (403, "" if method == "HEAD" else f"{reason}\n")
    assert answered["Content-Type"] == "text/plain; charset=UTF-8"
    assert "forged" not in json.loads(ask(server, "POST", "/env_state", "{}")[2])


@pytest.mark.parametrize("path", ["/socket", "/vis_socket"])
def test_a_websocket_is_for_the_boards_own_pages_and_for_programs(server, path):
    assert shake_hands(server, path, Origin="http://evil.test") == 403
    assert shake_hands(server, path, Origin="null") == 403
    assert shake_hands(server, path, Host="evil.test", Origin="http://evil.test") == 403
    assert shake_hands(server, path, Sec_Fetch_Site="same-site") == 403
    assert shake_hands(server, path, Origin=f"http://localhost:{server.port}") == 101
    assert shake_hands(server, path) == 101


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": None},
        {"Host": None, "version": "1.0"},
        {"lines": ["Host: evil.test"]},
        *(
            {"Host": host}
            for host in ("", ":", "@", "a@localhost", "[::1", "[", "localhost:x", "é", "a b", "\0")
        ),
        {"Host": "x" * 10_000},
        {"Origin": "http://[::1"},
        {"lines": ["Origin: http://evil.test", "Origin: http://localhost"]},
    ],
)
def test_odd_headers_are_refused_without_a_traceback(server, headers):
    before = len(server.log.read_text())
    assert ask(server, "POST", "/events", json.dumps(PANE), **headers)[0] in (400, 403)
    assert "Traceback" not in server.log.read_text()[before:]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {}), ("/static/js/main.js", {}), ("/nowhere", {}), ("/", {"Origin": "null"})],
)
def test_no_answer_may_be_framed_by_another_page(server, path, headers):
    answered = ask(server, "GET", path, **headers)[1]
    assert answered["X-Frame-Options"] == "SAMEORIGIN"
    assert answered["Content-Security-Policy"] == "frame-ancestors 'self'"


def test_what_is_refused_or_too_large_is_not_read(server):
    size = {"Content_Length": 2**40}
    assert ask(server, "POST", "/events", Origin="http://evil.test", **size)[0] in (400, 403)
    assert ask(server, "POST", "/events", **size)[0] == 400
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        lines = [f"Host: localhost:{server.port}", "Origin: null", "Content-Length: 1000000"]
        client.sendall("\r\n".join(["POST /events HTTP/1.1", *lines, "", ""]).encode())
        assert client.recv(12) == b"HTTP/1.1 403"  # though not a byte of the body has come


@pytest.mark.parametrize(
    ("listening_on", "hosts"),
    [
        ("127.0.0.1", ["localhost", "127.0.0.1"]),
        ("::1", ["[::1]"]),
        ("0.0.0.0", ["localhost", "127.0.0.1", socket.gethostname()]),
    ],
)
def test_programs_are_answered_by_name_and_by_address(start, listening_on, hosts):
    server = start(host=listening_on)
    for host in hosts:
        url = f"http://{host}:{server.port}/events"
        with urlopen(Request(url, json.dumps(PANE).encode()), timeout=10) as answer:
            assert answer.read() == b"w"
        if shutil.which("curl"):
            command = ["curl", "--silent", "--fail", "--noproxy", "*", "--data", json.dumps(PANE), url]
            assert subprocess.run(command, check=True, capture_output=True).stdout == b"w"
    assert ask(server, "GET", "/", Host=f"evil.test:{server.port}")[0] == 403
    in_network = ask(server, "GET", "/", Host=f"192.0.2.1:{server.port}")[0]
    assert in_network == (200 if listening_on == "0.0.0.0" else 403)


def test_the_client_of_the_visdom_package_is_answered(server):
    code = """
import sys, visdom
client = visdom.Visdom(server="http://localhost", port=int(sys.argv[1]), env="package", raise_exceptions=True)
assert client.check_connection(timeout_seconds=10)
client.text("hello", win="w")
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(server.port)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert server.windows("package")["w"]["content"] == "hello"


def test_a_log_in_is_for_the_boards_own_page(start):
    server = start(VISDOM_USERNAME="ada", VISDOM_PASSWORD="right")
    digest = hashlib.sha256(b"right").hexdigest()
    content, own = json.dumps({"username": "ada", "password": digest}), f"http://localhost:{server.port}"
    assert "Set-Cookie" not in ask(server, "POST", "/", content, Origin="http://evil.test")[1]
    cookie = ask(server, "POST", "/", content, Origin=own)[1]["Set-Cookie"].partition(";")[0]
    pane = json.dumps(PANE)
    assert ask(server, "POST", "/events", pane, Origin=own)[0] == 400
    assert ask(server, "POST", "/events", pane, Origin=own, Cookie=cookie)[2] == "w"
    assert ask(server, "POST", "/events", pane, Origin="http://evil.test", Cookie=cookie)[0] == 403
