"""Whose requests a board answers: those of its own pages, and of programs that are no browsers.

Any page that is open in a browser can send requests to this machine, and a name of its owner's can be made
to mean this machine. What a browser tells with each request gives both away: the ``Host`` that it was told to
ask for, the ``Origin`` of the page, and ``Sec-Fetch-...`` (https://www.w3.org/TR/fetch-metadata/).
"""

import re
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, OutputTransform, RequestHandler, stream_request_body

OTHER_HOST = (
    "The board does not go by this name: ask for localhost or an address of its machine,"
    " or start it with --host and this name"
)
OTHER_ORIGIN = "The board answers its own pages only, and this is asked by another one: open the board itself"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]{1,5})?")  # in lower case; any port: tunnels change it
# No other page may show the board, or what it serves.
_HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def refusals(host: str) -> Callable[[str, Mapping[str, str]], str | None]:
    """Return a function that says why a server that listens on ``host`` refuses a request, or None.

    It takes the request's method and headers.

    >>> refusal = refusals("127.0.0.1")
    >>> refusal("GET", {"Host": "localhost:8097"})
    >>> refusal("POST", {"Host": "localhost:8097", "Origin": "http://localhost:8097"})
    >>> refusal("POST", {"Host": "localhost:8097", "Origin": "http://localhost:3000"}) == OTHER_ORIGIN
    True
    """
    only_this_machine = _is_loopback(host)
    names = {"localhost", host.lower()}
    if not only_this_machine:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def is_own(asked: str) -> bool:
        parts = _HOST.fullmatch(asked)
        if parts is None:
            return False
        name = parts[1].strip("[]")
        if name in names:
            return True
        try:  # an address cannot be made to mean another machine, as a name can
            return ip_address(name).is_loopback or not only_this_machine
        except ValueError:
            return False

    def refusal(method: str, headers: Mapping[str, str]) -> str | None:
        asked = headers.get("Host", "").lower()
        if not is_own(asked):
            return OTHER_HOST
        if headers.get("Origin", f"http://{asked}").lower() != f"http://{asked}":
            return OTHER_ORIGIN
        # "none" is the user, who typed the address; no browser of today is silent about a page of its own.
        if headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return None
        # Whoever follows a link to the board sees it in place of the page that the link is on.
        followed = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        return None if followed and method == "GET" else OTHER_ORIGIN

    return refusal


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class OwnOriginOnly(Router):
    """Pass on to ``application``, which listens on ``host``, what `refusals` lets through, whatever its URL.

    The rest is answered with status 403 and the reason, before its body is read.
    """

    def __init__(self, application: Application, *, host: str) -> None:
        application.add_transform(_Unframed)
        self.application, self._refusal = application, refusals(host)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return who answers a request."""
        reason = self._refusal(request.method or "", request.headers)
        if reason is None:
            return self.application.find_handler(request, **kwargs)
        return self.application.get_handler_delegate(request, _Refusal, {"reason": reason})


@stream_request_body
class _Refusal(RequestHandler):
    def initialize(self, reason: str) -> None:
        self.reason = reason

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{self.reason}\n")

    def data_received(self, chunk: bytes) -> None:
        pass


class _Unframed(OutputTransform):
    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name, value in _HEADERS.items():
            headers[name] = value
        return status_code, headers, chunk
