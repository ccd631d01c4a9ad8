"""Windows of a Visdom server: curves, bars, texts and images, each of bounded size."""

import base64
import hashlib
import html
import json
import math
import re
import struct
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Protocol

from handlers.report import PART_STYLES

_MAX_BUCKETS = 500
_MAX_BARS = 200
_MAX_LETTERS = 20_000
_MAX_PIXELS = 2**26
_MAX_PANE_HEIGHT = 2_000
_PANE = {"width": 460, "height": 340}
_VERSIONS = count(1)  # no two looks of any window have the same


def safe_name(name: str) -> str:
    """Return ``name`` if Visdom takes it for an environment or a window, else one like it that it takes.

    >>> safe_name("cifar2_20261121-0"), safe_name("val/<b>")
    ('cifar2_20261121-0', 'val-b-64ee23')
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    # Two names that differ in what was replaced are still two.
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return name if safe == name and name else f"{safe}-{digest[:6]}"


class Window(Protocol):
    """Something that Visdom shows in one pane; ``version`` is another whenever it would look different."""

    version: Any

    def content(self) -> str:
        """Return the ``data``, ``layout`` and ``opts`` that Visdom wants, as the inside of a JSON object."""


class Trace:
    """The points of one curve, thinned to at most two (three, where there are gaps) in each of 500 buckets.

    Neighbours share a bucket, which keeps its lowest, its highest and, if it has one, a gap; when there
    are too many buckets, each two become one, so ``max_buckets`` must be even. The newest point is always
    there as it came.

    >>> trace = Trace(max_buckets=4)
    >>> for x in range(64):
    ...     trace.add(x, -9.0 if x == 5 else float(x))
    >>> trace.points()
    [(5, -9.0), (15, 15.0), (16, 16.0), (31, 31.0), (32, 32.0), (47, 47.0), (48, 48.0), (63, 63.0)]
    """

    def __init__(self, *, max_buckets: int = _MAX_BUCKETS) -> None:
        self.max_buckets = max_buckets
        self._buckets: list[list[tuple[float, float | None]]] = []
        self._per_bucket = 1
        self._in_newest = 1
        self._newest: tuple[float, float | None] | None = None

    def add(self, x: float, y: float | None) -> None:
        """Add a point to the right of the others; a ``y`` that is not finite is a gap."""
        self._newest = (x, y if y is not None and math.isfinite(y) else None)
        if self._in_newest == self._per_bucket:
            if len(self._buckets) == self.max_buckets:
                pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
                self._buckets = [_extremes(left + right) for left, right in pairs]
                self._per_bucket *= 2
            self._buckets.append([])
            self._in_newest = 0
        self._buckets[-1] = _extremes([*self._buckets[-1], self._newest])
        self._in_newest += 1

    def points(self) -> list[tuple[float, float | None]]:
        """Return the points that are kept, from left to right."""
        points = [point for bucket in self._buckets for point in bucket]
        if self._newest is not None and points[-1] != self._newest:
            points.append(self._newest)
        return points


def _extremes(points: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    if len(points) < 2:
        return points
    gaps = [point for point in points if point[1] is None]
    finite = sorted((point for point in points if point[1] is not None), key=lambda point: point[1] or 0.0)
    return sorted({*finite[:1], *finite[-1:], *gaps[-1:]}, key=lambda point: point[0])


class Curves:
    """Curves by iteration, with a legend."""

    def __init__(self, title: str, *, y_title: str, from_zero: bool = False) -> None:
        self.title, self.y_title, self.from_zero = title, y_title, from_zero
        self.traces: dict[str, Trace] = {}
        self.styles: dict[str, Mapping[str, Any]] = {}
        self.version: Any = 0

    def add(self, name: str, x: float, y: float | None, **style: Any) -> None:
        """Add a point to the curve of that name; ``style`` is Plotly's, for a curve that is new."""
        if name not in self.traces:
            self.traces[name], self.styles[name] = Trace(), style
        self.traces[name].add(x, y)
        self.version = next(_VERSIONS)

    def content(self) -> str:
        """Return a Plotly figure."""
        data = []
        for name, trace in self.traces.items():
            x, y = zip(*trace.points(), strict=True)
            style = {"mode": "lines", **self.styles[name]}
            data.append({"type": "scatter", "name": html.escape(name), "x": x, "y": y, **style})
        return _plot(self.title, data, "iteration", self.y_title, from_zero=self.from_zero)


class TimeBars:
    """The seconds that each part took, stacked, for each of the latest 200 epochs."""

    def __init__(self) -> None:
        self.epochs: deque[tuple[int, dict[str, float]]] = deque(maxlen=_MAX_BARS)
        self.version: Any = 0

    def add(self, epoch: int, seconds: dict[str, float | None]) -> None:
        """Add an epoch's seconds by part; those of parts without a colour are not shown."""
        shown = {part: value for part, value in seconds.items() if part in PART_STYLES}
        finite = {part: value for part, value in shown.items() if value is not None and math.isfinite(value)}
        self.epochs.append((epoch, finite))
        self.version = next(_VERSIONS)

    def content(self) -> str:
        """Return a Plotly figure."""
        x = [epoch for epoch, _ in self.epochs]
        heights = {part: [seconds.get(part, 0.0) for _, seconds in self.epochs] for part in PART_STYLES}
        visible = 0.001 * sum(map(sum, heights.values()))
        data = [
            {"type": "bar", "name": label, "x": x, "y": heights[part], "marker": {"color": color}}
            for part, (label, color) in PART_STYLES.items()
            if sum(heights[part]) > visible
        ]
        return _plot("where the time went", data, "epoch", "seconds", barmode="stack")


class TextPane:
    """Lines of plain text."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.text = ""
        self.version: Any = 0

    def set(self, text: str) -> None:
        """Replace the text."""
        if text != self.text:
            self.text, self.version = text, next(_VERSIONS)

    def content(self) -> str:
        """Return a text pane: Visdom renders HTML there, so it is escaped."""
        cut = f"{self.text[:_MAX_LETTERS]} …" if len(self.text) > _MAX_LETTERS else self.text
        shown = html.escape(cut).replace("\n", "<br>")
        return _members(
            {
                "data": [{"type": "text", "content": shown}],
                "opts": {"title": self.title, **_PANE, "height": 150},
            }
        )


class ImagePane:
    """An encoded image with a caption."""

    def __init__(self, title: str) -> None:
        self.title, self.caption = title, ""
        self.png, self.width, self.height = b"", 1, 1
        self.version: Any = 0

    def set(self, png: bytes, *, caption: str = "") -> None:
        """Replace the image by one encoded as PNG; raise ``ValueError`` for what is none, or too large."""
        if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
            raise ValueError("not a PNG image")
        width, height = struct.unpack(">II", png[16:24])  # the first chunk's
        if not 0 < width * height <= _MAX_PIXELS:  # a browser would have to decode them
            raise ValueError(f"an image of {width} x {height} pixels is not shown")
        self.png, self.caption, self.width, self.height = png, caption, width, height
        self.version = next(_VERSIONS)

    def content(self) -> str:
        """Return an image pane, at most as wide as a plot."""
        width = max(280, min(self.width + 20, _PANE["width"]))
        height = min(round(self.height * width / self.width) + 50, _MAX_PANE_HEIGHT)
        content = {"src": "@", "caption": self.caption}
        opts = {"title": self.title, "width": width, "height": height}
        text = _members({"data": [{"type": "image", "content": content}], "opts": opts})
        # Put in after the encoder, which would look at each of a million characters.
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"
        return text.replace('"src": "@"', f'"src": "{source}"', 1)


def _plot(
    title: str,
    data: list[dict[str, Any]],
    x_title: str,
    y_title: str,
    *,
    from_zero: bool = False,
    **layout: Any,
) -> str:
    axes = {
        "xaxis": {"title": {"text": html.escape(x_title)}},
        "yaxis": {
            "title": {"text": html.escape(y_title)},
            "rangemode": "tozero" if from_zero else "normal",
        },
        "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom"},
        "margin": {"l": 60, "r": 15, "t": 45, "b": 45},
        "showlegend": True,
    }
    return _members({"data": data, "layout": {**axes, **layout}, "opts": {"title": title, **_PANE}})


def _members(content: Mapping[str, Any]) -> str:
    return json.dumps(content)[1:-1]
