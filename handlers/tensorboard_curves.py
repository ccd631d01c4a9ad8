"""Curves for TensorBoard, written beside a run and never in its way."""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

_LOGGER = logging.getLogger(__name__)
_PACKAGES = ("tensorboardX", "tensorboard")
_MOST_WAITING = 100_000


class TensorboardCurves:
    """Write every number of the lines that a `RunRecord` writes as a curve, to event files in ``directory``.

    Put `add` into the record's ``listeners``. The training thread only puts lines aside: a thread of its own
    writes them, with Ignite's ``TensorboardLogger``, and waits for a disk that hangs; a disk that fails is
    logged, and no more is written. Use it as a context manager around ``trainer.run``: at the end it waits
    ``deadline_s`` at the most, and logs how many lines are missing. What an earlier session wrote of
    iterations after ``from_iteration`` is hidden. ``ModuleNotFoundError`` is raised if neither tensorboardX
    nor tensorboard is there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with TensorboardCurves(folder) as curves:
    ...         curves.add({"kind": "epoch", "epoch": 1, "iteration": 10, "val/loss": 0.5})
    ...     [path.name.split(".")[0] for path in Path(folder).iterdir()]
    ['events']
    """

    def __init__(self, directory: str | Path, *, from_iteration: int = 0, deadline_s: float = 3.0) -> None:
        if not is_available():
            raise ModuleNotFoundError("TensorBoard needs tensorboardX, or tensorboard")
        self.directory, self.from_iteration = Path(directory), from_iteration
        self.deadline_s = deadline_s
        self._added = self._written = 0
        self._lines: deque[Mapping[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._wakes, self._ends = threading.Event(), False
        self._thread = threading.Thread(target=self._write, name="tensorboard", daemon=True)

    def add(self, line: Mapping[str, Any]) -> None:
        """Put a line aside, to be written soon."""
        self._lines.append(line)  # and forget the oldest, if there are too many
        self._added += 1
        self._wakes.set()

    def __enter__(self) -> "TensorboardCurves":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends = True
        self._wakes.set()
        self._thread.join(self.deadline_s)
        if missing := self._added - self._written:
            _LOGGER.warning(
                "%s: %d lines of %d are missing for TensorBoard", self.directory, missing, self._added
            )

    def _write(self) -> None:
        try:
            # Half a second to import: only who writes pays for it.
            from ignite.handlers import TensorboardLogger

            logger = TensorboardLogger(log_dir=str(self.directory), purge_step=self.from_iteration + 1)
            written = 0
            while not self._ends or self._lines:
                self._wakes.wait()
                self._wakes.clear()
                while self._lines:
                    _add_scalars(logger.writer, self._lines.popleft())
                    time.sleep(0)  # lets the training thread run
                    written += 1
                logger.writer.flush()
                self._written = written
            logger.close()
        except Exception as error:  # whatever a disk does: to look on must not end a run
            _LOGGER.warning("%s: no more is written for TensorBoard (%s)", self.directory, error)


def is_available() -> bool:
    """Return whether a package is there that writes for TensorBoard."""
    return any(find_spec(package) is not None for package in _PACKAGES)


def _add_scalars(writer: Any, line: Mapping[str, Any]) -> None:
    # Means of the last iterations and of the epoch stand at the same iterations: each has a curve.
    suffix = "" if line["kind"] == "epoch" else "_recent"
    for name, value in line.items():
        if name not in ("kind", "epoch", "iteration") and value is not None:
            writer.add_scalar(name + suffix, value, line["iteration"])
