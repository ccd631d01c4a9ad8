"""What to find out before a download."""

import urllib.request


def require_answer(url: str) -> None:
    """Raise ``OSError`` unless somebody answers at ``url`` in ten seconds: downloads have no time-out."""
    urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10).close()
