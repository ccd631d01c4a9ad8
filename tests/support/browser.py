"""Chromium without a screen, driven through chromedriver's WebDriver protocol (W3C)."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1500,1200"
)


class Browser:
    """One page."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _call(self, path: str, content: dict | None = None, *, method: str = "POST"):
        body = None if content is None else json.dumps(content).encode()
        with urlopen(Request(f"{self.url}{path}", body, method=method), timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("/url", {"url": url})

    def evaluate(self, expression: str):
        """Return what a JavaScript expression comes to."""
        return self._call("/execute/sync", {"script": f"return ({expression});", "args": []})

    def enter_frame(self, number: int) -> None:
        """Look, from now on, into a frame of the page."""
        self._call("/frame", {"id": number})

    def wait_for(self, expression: str, *, timeout_s: float = 30.0):
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{expression} is still {value!r}; console: {self.console()}")

    def console(self) -> list[str]:
        """Return the errors of the page's console since the last time."""
        lines = self._call("/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] == "SEVERE"]

    def screenshot(self, path: str | Path) -> None:
        """Write the page as it looks to a PNG."""
        Path(path).write_bytes(base64.b64decode(self._call("/screenshot", method="GET")))

    def close(self) -> None:
        """Close the page and its browser."""
        self._call("", method="DELETE")


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Browser]:
    """Run a browser with a profile of its own, with ``flags`` besides the usual ones."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            for line in driver.stdout:
                if "started successfully" in line:
                    break
            options = {"binary": CHROMIUM, "args": [*_FLAGS.split(), *flags, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            start = Browser(f"http://127.0.0.1:{port}/session")
            session = start._call("", {"capabilities": {"alwaysMatch": wanted}})
            browser = Browser(f"{start.url}/{session['sessionId']}")
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
