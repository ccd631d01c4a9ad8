"""What to find out before a download, and what one may raise."""

import urllib.request
from http.client import HTTPException

# No network, a server or a proxy that speaks otherwise, and torch's comparison of digests.
DOWNLOAD_FAILURES = (OSError, HTTPException, RuntimeError)


def require_answer(url: str) -> None:
    """Raise one of `DOWNLOAD_FAILURES` unless somebody answers in ten seconds: downloads have no time-out."""
    urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10).close()
