"""The run directory: what a run was asked to do, what it measured on the way, and how it ended."""

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from handlers.errors import UnusableRun
from handlers.files import make_folders, metrics_record, read_regular, write_whole
from handlers.line_file import LineFile
from handlers.model_digest import model_sha256
from handlers.report import plot_report
from handlers.report_page import write_report_page
from handlers.timing import FetchComputeTimer
from handlers.training_metrics import scalars

_LOGGER = logging.getLogger(__name__)


def create_run(directory: str | Path, config: Mapping[str, Any]) -> Path:
    """Make a run directory with ``config.json`` in it; raise `UnusableRun` if it holds a run already."""
    directory = Path(directory)
    refuse_existing_run(directory)
    make_folders(directory)
    update_config(directory, config)
    return directory


def refuse_existing_run(directory: str | Path) -> None:
    """Raise `UnusableRun` if a run has been recorded in ``directory``."""
    if any(
        os.path.exists(Path(directory) / name) for name in ("config.json", "metrics.jsonl", "checkpoints")
    ):
        raise UnusableRun(f"{directory} already holds a run; resume it or choose another directory")


def read_config(directory: str | Path) -> dict[str, Any]:
    """Return what ``config.json`` says; raise `UnusableRun` if there is none or it cannot be read."""
    path = Path(directory) / "config.json"
    try:
        config = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableRun(f"{directory}: not a run directory, {path.name} is missing or damaged") from error
    if not isinstance(config, dict):
        raise UnusableRun(f"{directory}: not a run directory, {path.name} holds no object")
    return config


def update_config(directory: str | Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json``, whole."""
    _write_json(Path(directory) / "config.json", config)


class RunRecord:
    """Write ``metrics.jsonl`` during a run, ``summary.json``, ``report.png`` and ``.html`` at its end.

    A line of ``metrics.jsonl`` is one JSON object: ``kind``, ``epoch``, ``iteration`` and, flat, the
    metrics that are published then: those named ``train/...`` every ``every_iters`` iterations
    (``"iteration"``), all at the end of an epoch (``"epoch"``). One that is not finite is null. Use it
    as a context manager around ``trainer.run``, so that the summary says how the run ended. When a run
    is resumed, lines from after its checkpoint are dropped: what they tell is about to happen again.

    ``reports`` are called with the directory before these two are made, to leave there what they show.
    Whatever is in ``listeners`` is called with each line as it is written.
    Where several processes train together, all but one have one with ``writes=False``, which does nothing.

    Attach it after whatever publishes metrics and before `Checkpoints`: a checkpoint then never
    stands without the record of what led to it.

    >>> import tempfile
    >>> directory = tempfile.TemporaryDirectory()
    >>> trainer = Engine(lambda engine, batch: None)
    >>> with RunRecord(directory.name, report=False).attach(trainer):
    ...     _ = trainer.run([0] * 10, max_epochs=2)
    >>> json.loads((Path(directory.name) / "summary.json").read_text())["status"]
    'completed'
    >>> directory.cleanup()
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        every_iters: int = 50,
        timer: FetchComputeTimer | None = None,
        batch_size: int | None = None,
        models: tuple[nn.Module, ...] = (),
        dataset: Mapping[str, Any] | None = None,
        best: str | None = None,
        maximize: bool = True,
        report: bool = True,
        saved_iteration: Callable[[], int | None] | None = None,
        writes: bool = True,
        reports: Sequence[Callable[[Path], object]] = (),
    ) -> None:
        self.directory, self.every_iters = Path(directory), every_iters
        self.timer, self.batch_size, self.models, self.dataset = timer, batch_size, models, dataset
        self.best, self.maximize, self.report = best, maximize, report
        self.saved_iteration, self.writes, self.reports = saved_iteration, writes, reports
        self.listeners: list[Callable[[Mapping[str, Any]], object]] = []
        self._lines = LineFile(self.directory / "metrics.jsonl", as_record=metrics_record)
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> "RunRecord":
        """Register on the engine's events and return self."""
        self._engine = engine
        if not self.writes:
            return self
        engine.add_event_handler(Events.STARTED, self.drop_later_lines)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.write_iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write_epoch)
        return self

    def drop_later_lines(self, engine: Engine) -> None:
        """Keep the lines up to the iteration from which the run goes on."""
        self._lines.keep_until(engine.state.iteration)
        # What an earlier part of the run came to is not what the whole will.
        self._try(partial((self.directory / "summary.json").unlink, missing_ok=True))

    def write_iteration(self, engine: Engine) -> None:
        """Append the training metrics."""
        metrics = engine.state.metrics.items()
        self._append(
            "iteration", engine, {name: value for name, value in metrics if name.startswith("train/")}
        )

    def write_epoch(self, engine: Engine) -> None:
        """Append all metrics."""
        self._append("epoch", engine, engine.state.metrics)

    def _append(self, kind: str, engine: Engine, metrics: Mapping[str, Any]) -> None:
        state = engine.state
        # In this order a metric that is called like one of the three is in nobody's way.
        position = {"kind": kind, "epoch": state.epoch, "iteration": state.iteration}
        line = {**position, **_plain(metrics), **position}
        self._lines.add(line)
        for listen in self.listeners:
            self._try(partial(listen, line))

    def sync(self) -> None:
        """Wait until all lines are on the disk; raise ``OSError`` if that cannot be done."""
        if self.writes:
            self._lines.sync()

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # a record must not end a run
            _LOGGER.warning("%s: not recorded (%s)", self.directory, str(error) or type(error).__name__)

    def __enter__(self) -> "RunRecord":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = (
            "completed"
            if kind is None
            else "interrupted"
            if issubclass(kind, KeyboardInterrupt)
            else "failed"
        )
        self.end(status, error)
        if self.report and self.writes:
            for write in (*self.reports, plot_report, write_report_page):
                self._try(partial(write, self.directory))

    def end(self, status: str, error: BaseException | None = None, *, digest: bool = True) -> None:
        """Write ``summary.json``, with or without the models' ``digest``; failures are logged."""
        if not self.writes:
            return
        self._try(self.sync)
        summary = partial(self.summary, status, error, digest=digest)
        self._try(lambda: _write_json(self.directory / "summary.json", summary()))

    def summary(
        self, status: str, error: BaseException | None = None, *, digest: bool = True
    ) -> dict[str, Any]:
        """Return the content of ``summary.json``."""
        if self._engine is None:
            raise RuntimeError("attach the RunRecord to an engine first")
        state = self._engine.state
        timing = None if self.timer is None else self.timer.summary()
        images_per_s = None
        if self.timer is not None and self.batch_size is not None:
            images_per_s = self.timer.iterations_per_s() * self.batch_size
        return {
            "status": status,
            **({"reason": f"{type(error).__name__}: {error}"} if error is not None else {}),
            "epochs": state.iteration // state.epoch_length if state.epoch_length else 0,
            "iterations": state.iteration,
            **({"saved_iteration": self.saved_iteration()} if self.saved_iteration is not None else {}),
            "best": self._best(),
            "final": {name: v for name, v in _plain(state.metrics).items() if not name.startswith("time/")},
            "timing": timing,
            "images_per_s": images_per_s,
            "dataset": self.dataset,
            "sessions": self._sessions(state.iteration),
            "model_sha256": model_sha256(*self.models) if self.models and digest else None,
        }

    def _sessions(self, iteration: int) -> list[dict[str, Any]]:
        """Return the sessions of the run, as ``config.json`` has them, each with its end."""
        try:
            sessions = read_config(self.directory).get("sessions", [])
            ends = [*(session["from_iteration"] for session in sessions[1:]), iteration]
        except (UnusableRun, TypeError, KeyError):  # somebody has edited it
            return []
        if not sessions:
            return []
        return [{**session, "to_iteration": end} for session, end in zip(sessions, ends, strict=True)]

    def _best(self) -> dict[str, Any] | None:
        name = self.best
        lines = [line for line in self._lines.read() if line["kind"] == "epoch"]
        scored = [line for line in lines if line.get(name or "") is not None]
        if name is None or not scored:
            return None
        line = (max if self.maximize else min)(scored, key=lambda line: line[name])
        return {
            "metric": name,
            "value": line[name],
            "epoch": line["epoch"],
            "maximize": self.maximize,
        }


def _plain(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scalars(metrics).items()}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, default=str) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text))
