"""Live curves, texts and images on a Visdom server, never in the way of the run."""

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from handlers.files import read_metrics
from handlers.run_windows import RunWindows
from handlers.training_metrics import scalars
from handlers.visdom_sender import VisdomSender
from handlers.visdom_windows import Window

_LOGGER = logging.getLogger(__name__)
_MOST_WAITING = 100_000


class VisdomBoard:
    """Show a run's metrics on the Visdom server at ``url``, now or whenever there is one.

    Each quantity has a window: ``train/loss`` and ``val/loss`` are curves in that of ``loss``. Training
    metrics are read every ``every_iters`` iterations, all of them after every epoch; then, and at the start,
    ``texts`` are asked for what the panes of these titles say. ``metrics`` names those to show
    (default: all that are numbers); ``labels`` gives axis titles, with units: ``{"psnr": "PSNR (dB)"}``.

    With ``directory``, a run directory, a resumed run goes on with the curves that `RunRecord` kept there,
    and the newest image of ``samples/`` is shown. ``environment`` is the name under which Visdom lists the
    run. In a job of several processes, only the first shows anything. Changes are sent once in ``period_s``
    seconds.

    The training thread only puts values aside; a `VisdomSender` does the rest in a thread of its own, so
    a server that is away, hangs or fails costs the run nothing. Values on a device are copied there and
    read by that thread. Use it as a context manager around ``trainer.run``, to send the last of it:

    >>> trainer = Engine(lambda engine, batch: None)
    >>> with VisdomBoard("http://localhost:1", environment="demo", optional=True).attach(trainer) as board:
    ...     board.show_text("verdict", "compute-bound")
    ...     state = trainer.run([1, 2, 3])

    With ``optional``, a server that never was there is not reported; ``username`` and ``password`` are for
    one that asks for a log-in. ``ValueError`` is raised for a ``url`` that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        environment: str,
        directory: str | Path | None = None,
        metrics: Collection[str] | None = None,
        labels: Mapping[str, str] | None = None,
        texts: Mapping[str, Callable[[], str]] | None = None,
        every_iters: int = 50,
        period_s: float = 1.0,
        optional: bool = False,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        if every_iters < 1:
            raise ValueError(f"every_iters must be at least 1, got {every_iters}")
        self.directory = None if directory is None else Path(directory)
        self.metrics, self.texts, self.every_iters = metrics, texts or {}, every_iters
        self.environment, self._windows = environment, RunWindows(labels=labels)
        self._sender = VisdomSender(
            url,
            self._update,
            period_s=period_s,
            optional=optional,
            username=username,
            password=password,
        )
        # What the training thread hands over: each of these operations is atomic, and none waits.
        self._lines: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._new_texts: dict[str, str] = {}
        self._new_images: dict[str, tuple[Tensor, str]] = {}
        self._history_until: int | None = None
        self._unread: set[str] = set()  # files that it was said of

    def attach(self, engine: Engine) -> "VisdomBoard":
        """Register on the engine's events and return self."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.log_iteration)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_epoch)
        return self

    def start(self, engine: Engine) -> None:
        """Begin to send."""
        if self._history_until is None:
            self._history_until = engine.state.iteration
        self._show_texts()
        self._sender.start()

    def log_iteration(self, engine: Engine) -> None:
        """Put aside the training metrics."""
        self._log("iteration", engine)

    def log_epoch(self, engine: Engine) -> None:
        """Put aside all metrics and texts."""
        self._log("epoch", engine)
        self._show_texts()

    def show_text(self, title: str, text: str) -> None:
        """Show ``text``, as it is, in the pane of that title."""
        self._new_texts[title] = text

    def show_image(self, title: str, image: Tensor, *, caption: str = "") -> None:
        """Show ``image`` in the pane of that title, in place of the one before.

        It is (C, H, W) or a row of (N, C, H, W), C of 1 or 3, uint8 or a float type in [0, 1]; else
        ``ValueError`` is raised.
        """
        if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3):
            raise ValueError(f"image must be (C, H, W) or (N, C, H, W), C 1 or 3, got {tuple(image.shape)}")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ValueError(f"image must be uint8 or a float type, got {image.dtype}")
        dtype = torch.uint8 if image.dtype == torch.uint8 else torch.float32
        self._new_images[title] = image.detach().to(dtype, copy=True), caption

    def __enter__(self) -> "VisdomBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self, deadline_s: float = 3.0) -> None:
        """Send what has changed and end; give up after ``deadline_s`` seconds."""
        self._sender.close(deadline_s)

    def _show_texts(self) -> None:
        for title, text in self.texts.items():
            try:
                self.show_text(title, text())
            except Exception:  # a text must not end a run
                _LOGGER.exception("the text %r failed", title)

    def _log(self, kind: str, engine: Engine) -> None:
        state = engine.state
        line: dict[str, Any] = {"kind": kind, "epoch": state.epoch, "iteration": state.iteration}
        for name, value in state.metrics.items():
            if kind == "iteration" and not name.startswith("train/"):
                continue
            if self.metrics is not None and name not in self.metrics:
                continue
            if isinstance(value, Tensor):
                if value.ndim > 1 and value.numel() != 1:
                    continue
                value = value.detach().clone()
            line[name] = value
        self._lines.append(line)

    def _update(self) -> dict[tuple[str, str], Window]:
        """Bring the windows up to date, in the sender's thread."""
        while self._new_texts:
            self._windows.set_text(*self._new_texts.popitem())
        until, self._history_until = self._history_until, 0
        if self.directory is not None and until:
            self._try("metrics.jsonl", self._add_history, self.directory, until)
        while self._lines:
            line = self._lines.popleft()
            self._windows.add({**scalars(line), "kind": line["kind"]})
            time.sleep(0)  # gives way to the training thread, which would else wait 5 ms for the interpreter
        while self._new_images:
            title, (image, caption) = self._new_images.popitem()
            self._windows.set_image(title, _png(image), caption=caption)
        if self.directory is not None:
            self._try("samples", self._windows.show_samples, self.directory)
        return {(self.environment, name): window for name, window in self._windows.windows.items()}

    def _try(self, name: str, read: Callable[..., None], *args: Any) -> None:
        try:
            read(*args)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            if name not in self._unread:
                self._unread.add(name)
                _LOGGER.warning("%s: %s is not shown (%s)", self.directory, name, error)

    def _add_history(self, directory: Path, until: int) -> None:
        for line in read_metrics(directory):
            if line["iteration"] <= until:
                self._windows.add(self._chosen(line))

    def _chosen(self, line: Mapping[str, Any]) -> dict[str, Any]:
        kept = {"kind", "epoch", "iteration", *(line if self.metrics is None else self.metrics)}
        return {name: value for name, value in line.items() if name in kept}


def _png(image: Tensor) -> bytes:
    # NumPy and Pillow only: torch would start threads of its own here, beside those of the training.
    from PIL import Image

    pixels = image.cpu().numpy()
    if pixels.dtype != np.uint8:
        pixels = (np.nan_to_num(pixels).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    rows = np.concatenate(pixels, axis=-1) if pixels.ndim == 4 else pixels
    rows = rows.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(rows[..., 0] if rows.shape[-1] == 1 else rows).save(file, format="PNG", compress_level=1)
    return file.getvalue()
