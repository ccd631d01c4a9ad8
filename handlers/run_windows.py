"""What a run shows on a Visdom server, as windows; and several runs side by side."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handlers.files import read_regular
from handlers.report import TRAIN_COLOR, VAL_COLOR, parts_of
from handlers.report_pictures import newest_sample
from handlers.visdom_windows import Curves, ImagePane, TextPane, TimeBars, safe_name

_AXIS_TITLES = {
    "l1": "L1 distance",
    "grad_norm": "L2 norm of the gradients",
    "lr": "learning rate",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "weight_norm": "L2 norm of the weights",
}
_MOST_CURVES = 300
_LONGEST_NAME = 200
_LARGEST_SAMPLE_BYTES = 2**26
_TIME = re.compile(r"time/(.+)_s")


def run_environment(directory: Path) -> str:
    """Return the name of a run's environment: ``cifar2_20261121-0`` for ``runs/cifar2/20261121-0``."""
    # Unlike Path.resolve, realpath raises nothing for links that lead in a circle.
    return safe_name("_".join(Path(os.path.realpath(directory)).parts[-2:]))


class RunWindows:
    """The windows of one run, by a fixed id each, in the order in which they were first filled.

    ``train/loss`` and ``val/loss`` share the window of ``loss``, by iteration, and so do ``val/recall/cat``
    and ``val/recall/dog`` that of ``recall``; ``time/..._s`` are stacked by epoch. ``labels`` gives axis
    titles, with units where there are any, to quantities. When there are 300 curves, or a name is longer than
    200 letters, further ones are left out; a window says so, and so does ``is_full``.

    >>> windows = RunWindows(labels={"loss": "cross entropy (nats)"})
    >>> windows.add({"kind": "epoch", "epoch": 1, "iteration": 9, "train/loss": 2.0, "val/loss": 3.0})
    >>> {name: list(window.traces) for name, window in windows.windows.items()}
    {'loss': ['training, epoch mean', 'validation']}
    """

    def __init__(self, *, labels: Mapping[str, str] | None = None) -> None:
        self.labels = {**_AXIS_TITLES, **(labels or {})}
        self.windows: dict[str, Any] = {}
        self.is_full = False
        self._curves: set[tuple[str, str]] = set()
        self._sample: tuple[int, Path] | None = None

    def add(self, line: Mapping[str, Any]) -> None:
        """Add the metrics of a line of ``metrics.jsonl``, or of an engine in the same form."""
        seconds: dict[str, float | None] = {}
        for name, value in line.items():
            if name in ("kind", "epoch", "iteration"):
                continue
            if part := _TIME.fullmatch(name):
                seconds[part[1]] = value
            else:
                self._add_point(line, name, value)
        if seconds:
            self._window("time/", TimeBars).add(line["epoch"], seconds)

    def _add_point(self, line: Mapping[str, Any], name: str, value: float | None) -> None:
        prefix, quantity, label = parts_of(name)
        trace, style = _trace_of(prefix, quantity, line["kind"])
        if label:
            trace, style = f"{trace}, {label}", {}
        if (quantity, trace) not in self._curves:
            if len(self._curves) == _MOST_CURVES or len(name) > _LONGEST_NAME:
                if not self.is_full:
                    self._leave_out()
                return
            self._curves.add((quantity, trace))
        y_title = self.labels.get(quantity, quantity)
        # A learning rate that never changes would stand in the middle of an axis from -1 to 1.
        curves = self._window(quantity, Curves, quantity, y_title=y_title, from_zero=quantity == "lr")
        curves.add(trace, line["iteration"], value, **style)

    def _leave_out(self) -> None:
        self.is_full = True
        words = f"{_MOST_CURVES} curves at most are shown, and names of {_LONGEST_NAME} letters at most"
        self.set_text("left out", f"There are more metrics: {words}.")

    def set_text(self, title: str, text: str) -> None:
        """Show ``text`` in the pane of that title."""
        self._window(f"text/{title}", TextPane, title).set(text)

    def set_image(self, title: str, png: bytes, *, caption: str = "") -> None:
        """Show an image, encoded as PNG, in the pane of that title."""
        key = f"image/{title}"
        pane = self.windows.get(key, ImagePane(title))
        pane.set(png, caption=caption)  # raises before the pane is shown
        self.windows[key] = pane

    def show_samples(self, directory: Path) -> None:
        """Show the newest image of ``samples/`` in a run directory, unless it is shown already.

        ``OSError`` is raised if there is none or it cannot be read, ``ValueError`` if it is no PNG.
        """
        path = newest_sample(directory)
        newest = None if path is None else (path.stat().st_mtime_ns, path)
        if newest is not None and newest != self._sample:
            self._sample = newest  # also if it cannot be read: that is not tried again and again
            png = read_regular(newest[1], most_bytes=_LARGEST_SAMPLE_BYTES)
            self.set_image("samples", png, caption=newest[1].stem)

    def _window(self, key: str, window_class: Any, *args: Any, **kwargs: Any) -> Any:
        if key not in self.windows:
            self.windows[key] = window_class(*args, **kwargs)
        return self.windows[key]


def _trace_of(prefix: str, quantity: str, kind: str) -> tuple[str, dict[str, Any]]:
    if prefix == "val":
        return "validation", {"line": {"color": VAL_COLOR}}
    if prefix != "train":
        return prefix or quantity, {}
    if quantity in ("lr", "weight_norm", "grad_norm"):  # as they are, not means
        return "training", {"line": {"color": TRAIN_COLOR}}
    if kind == "iteration":
        return "training, recent mean", {"line": {"color": TRAIN_COLOR, "width": 1}, "opacity": 0.6}
    return "training, epoch mean", {"line": {"color": TRAIN_COLOR}}


def compare(runs: Mapping[str, RunWindows]) -> dict[str, Curves]:
    """Return a window for each quantity, with one curve for each of the runs, given by name."""
    windows: dict[str, Curves] = {}
    for run, shown in runs.items():
        for quantity, window in shown.windows.items():
            if not isinstance(window, Curves):
                continue
            for name in {"validation", "training, epoch mean"} & window.traces.keys():
                title = f"{quantity} · {name}"
                common = windows.setdefault(title, Curves(title, y_title=window.y_title))
                common.traces[run], common.styles[run] = window.traces[name], {}
                common.version = (*(common.version or ()), window.version)
    return dict(sorted(windows.items()))
