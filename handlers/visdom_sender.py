"""Keep a Visdom server in step with windows, from a thread of its own."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

from handlers.visdom_windows import Window, safe_name

_LOGGER = logging.getLogger(__name__)
_TIMEOUT_S = 10.0  # only the sender's own thread waits
_LONGEST_BACK_OFF_S = 10.0
_LONGEST_PAUSE_S = 30.0
_CORE_SHARE = 0.05
_NOBODY = "nobody is there"


def checked_url(url: str) -> str:
    """Return the URL of a server; raise ``ValueError`` if it is none, or holds what must stay secret."""
    if "@" in url:
        raise ValueError("a server's URL must hold no user name or password")
    try:
        parts = urlsplit(url)
        port_is_one = parts.port != 0
    except ValueError:
        port_is_one = False
    if not port_is_one or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"a server's URL must be like http://localhost:8097, got {url}")
    return url.rstrip("/")


class _Refused(Exception):
    """A server is there and does not take what it is sent."""


class VisdomSender:
    """Send each window that has changed, whole, once in ``period_s`` seconds.

    ``update()`` is called in the sender's thread before each round and returns the windows by environment
    and id. The one sent last is looked for on the server before the next round: where it is missing or not
    as it was sent, the server is a new one, and gets everything. Whatever a server does or fails to do is
    logged once and tried again, after longer and longer pauses (10 s at most); nothing is ever raised. A
    window that fails to say what it holds is logged once, and left out until it changes. Rounds come less
    often where they would take more than a twentieth of a core.

    ``url`` is ``http://host:port``; name and password are for servers that ask for a log-in. Proxies of
    the environment are not used. With ``optional``, a server that never was there is not reported.
    """

    def __init__(
        self,
        url: str,
        update: Callable[[], Mapping[tuple[str, str], Window]],
        *,
        optional: bool = False,
        username: str | None = None,
        password: str | None = None,
        period_s: float = 1.0,
    ) -> None:
        self.url, self.update = checked_url(url), update
        self.username, self.password, self.period_s = username, password, period_s
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor())
        self._sent: dict[tuple[str, str], Any] = {}
        self._failed: set[tuple[str, str]] = set()
        self._probe: tuple[str, str] | None = None  # the address of a window, and its hash
        # What was said last; that an optional server is not there need not be said.
        self._trouble: str | None = _NOBODY if optional else None
        self._closing = threading.Event()
        self._abandoned: set[threading.Event] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send, unless it has begun."""
        if self._thread is None or self._closing.is_set():
            self._closing = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=[self._closing], name="visdom", daemon=True
            )
            self._thread.start()

    def close(self, deadline_s: float = 3.0) -> None:
        """Send what has changed and end; give up after ``deadline_s`` seconds."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join(deadline_s)
            if self._thread.is_alive():
                self._abandoned.add(self._closing)

    def _run(self, closing: threading.Event) -> None:
        back_off_s, retry_at = self.period_s, 0.0
        pause_s = self.period_s / 10  # lets the thread that waits for this one's start go on at once
        while closing not in self._abandoned:
            last = closing.wait(pause_s)
            cpu_s = time.thread_time()
            try:
                windows = self.update()
                if windows and (last or time.monotonic() >= retry_at):
                    self._send_changed(windows)
                    self._report(None)
                    back_off_s = self.period_s
            except (OSError, HTTPException, _Refused) as error:
                if closing not in self._abandoned:
                    self._report(_words(error))
                self._sent.clear()
                self._probe = None
                retry_at = time.monotonic() + back_off_s
                back_off_s = min(2 * back_off_s, _LONGEST_BACK_OFF_S)
            except Exception:  # a defect, which is not the training's concern
                _LOGGER.exception("the Visdom board has failed, and goes on with what comes")
            if last:
                return
            cpu_s = time.thread_time() - cpu_s
            pause_s = min(max(self.period_s, cpu_s / _CORE_SHARE), _LONGEST_PAUSE_S)

    def _report(self, trouble: str | None) -> None:
        if trouble is None and self._trouble is not None:
            _LOGGER.info("Visdom at %s takes the board", self.url)
        if trouble is not None and trouble != self._trouble:
            _LOGGER.warning("Visdom at %s: %s; the board goes on when it can", self.url, trouble)
        self._trouble = trouble

    def _send_changed(self, windows: Mapping[tuple[str, str], Window]) -> None:
        if self._probe is not None and self._hash(self._probe[0]) != self._probe[1]:
            self._sent.clear()
            self._probe = None
        address = None
        for key, window in windows.items():
            version = window.version
            if self._sent.get(key) == version:
                continue
            content = self._content(key, window)
            if content is not None:
                environment, name = map(safe_name, key)
                address = json.dumps({"eid": environment, "win": name})
                answer = self._post("events", f"{address[:-1]}, {content}}}")
                if answer != name:
                    raise _Refused(f"it answers {answer[:60]!r}; is that a Visdom server?")
            self._sent[key] = version
        if address is not None:
            self._probe = (address, self._hash(address))

    def _content(self, key: tuple[str, str], window: Window) -> str | None:
        try:
            return window.content()
        except Exception:  # a defect of one window, which is not the others' concern
            if key not in self._failed:
                self._failed.add(key)
                _LOGGER.exception("the window %r of %r cannot be shown", key[1], key[0])
            return None

    def _hash(self, address: str) -> str:
        """Return the server's hash of a window: another one after every time that it was sent."""
        return self._post("win_hash", address, missing="")

    def _post(self, endpoint: str, body: str, *, missing: str | None = None) -> str:
        status, answer = self._request(endpoint, body)
        if status == 400:  # what Visdom answers to who is not logged in
            self._log_in()
            status, answer = self._request(endpoint, body)
        if status == 500 and missing is not None:  # it does not know the environment
            return missing
        if status != 200:
            raise _Refused(f"it answers with status {status}" + (f" ({answer})" if answer else ""))
        return answer

    def _log_in(self) -> None:
        if self.username is None or self.password is None:
            raise _Refused("it asks for a log-in")
        digest = hashlib.sha256(self.password.encode()).hexdigest()
        status, _ = self._request("", json.dumps({"username": self.username, "password": digest}))
        if status != 200:
            raise _Refused("it refuses the user name or password")

    def _request(self, endpoint: str, body: str) -> tuple[int, str]:
        try:
            with self._opener.open(f"{self.url}/{endpoint}", body.encode(), timeout=_TIMEOUT_S) as answer:
                return answer.status, answer.read(10_000).decode(errors="replace")
        except HTTPError as error:
            with error:
                is_plain = error.headers.get_content_type() == "text/plain"
                reason = error.read(300).decode(errors="replace") if is_plain else ""
                return error.code, " ".join(reason.split())


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return _NOBODY if isinstance(reason, ConnectionError) else str(reason) or type(reason).__name__
