"""Checkpoints: written whole, read back and verified before an older one is removed."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from handlers.agreement import Agreement
from handlers.checkpoint_files import (
    checkpoint_path,
    files_in,
    load_checkpoint,
    save_sealed,
    tidy,
)
from handlers.errors import NotSaved, UnusableRun
from handlers.every_seconds import EverySeconds
from handlers.files import make_folders, write_whole
from handlers.restoring import put_back
from handlers.states import (
    Stateful,
    added_attributes,
    copied,
    frozen_parameters,
    holds_nan,
    state_of,
)
from handlers.timing import FetchComputeTimer
from handlers.training_metrics import scalars

_LOGGER = logging.getLogger(__name__)
_MOST_NAMED = 10
# The best score so far, and the iteration that it was reached in.
Best = tuple[float, int] | None


class Checkpoints:
    """Save objects and the engine's position at the start, after every epoch and every ``every_s`` seconds.

    A checkpoint is a file ``checkpoint_<iteration>.pt`` in ``directory`` that `load_newest` and
    ``torch.load(weights_only=True)`` read. The newest ``keep`` stay, and the one with the best
    ``metrics[score]`` (the largest, or the smallest with ``maximize=False``; NaN is never best). A save
    that fails, or would hold NaN, is logged; training goes on and the older checkpoints stay. If the last
    save of a run fails, `NotSaved` is raised at its end.

    ``background`` copies the state in the loop and leaves the rest to a thread: it takes the memory of
    a copy. ``config`` is kept in each file, for whoever has nothing but that file; its ``"run"``, if any,
    tells the run's own checkpoints from those of others. ``before`` is called before each save, to write what
    a checkpoint must not stand without; if it raises, nothing is saved. A ``timer`` counts the time of the
    loop apart.

    Where several processes train together, all attach one, with an ``agreement`` by which they save after
    the same iteration, and all but one with ``writes=False``: these take states and write nothing.
    ``verify(objects)`` is called before each save, and what it raises ends the run.

    Attach it after whatever has its state saved, or publishes the score, or writes a record.

    >>> import tempfile
    >>> from handlers import load_newest
    >>> from torch import nn
    >>> model = nn.Linear(2, 1)
    >>> directory = tempfile.TemporaryDirectory()
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = Checkpoints(directory.name, {"model": model}).attach(trainer)
    >>> _ = trainer.run([0] * 10, max_epochs=3)
    >>> load_newest(directory.name)["engine"]["iteration"]
    30
    >>> directory.cleanup()
    """

    def __init__(
        self,
        directory: str | Path,
        objects: Mapping[str, Stateful],
        *,
        every_s: float | None = None,
        keep: int = 2,
        score: str | None = None,
        maximize: bool = True,
        config: Mapping[str, Any] | None = None,
        timer: FetchComputeTimer | None = None,
        background: bool = False,
        before: Callable[[], object] = lambda: None,
        agreement: Agreement | None = None,
        writes: bool = True,
        verify: Callable[[Mapping[str, Stateful]], object] = lambda objects: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        if every_s is not None and every_s <= 0:
            raise ValueError(f"every_s must be positive or None, got {every_s}")
        self.directory, self.objects, self._named = Path(directory), dict(objects), set(objects)
        self.keep, self.score, self.maximize = keep, score, maximize
        self.config, self.timer, self.background, self.before = dict(config or {}), timer, background, before
        self.agreement, self.writes, self.verify = agreement, writes, verify
        self.failure: str | None = None
        self.is_saving = False
        self._best: Best = None
        self._unscored: list[str] | None = None  # the metrics there were, where the score was none of them
        self._saved_at: int | None = None
        self._tried_at: int | None = None
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None
        self._conclude_last: Callable[[], None] | None = None
        self._wait = None if every_s is None else EverySeconds(every_s, clock=clock)

    def attach(self, engine: Engine) -> "Checkpoints":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        if self._wait is not None:
            alone = self.agreement is None  # else another process may ask for it at any time
            when = (
                Events.ITERATION_COMPLETED(event_filter=self._wait) if alone else Events.ITERATION_COMPLETED
            )
            engine.add_event_handler(when, self.save_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_scored)
        engine.add_event_handler(Events.TERMINATE, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        return self

    def start(self, engine: Engine) -> None:
        """Remove what a kill has left, refuse a directory with a later checkpoint, and save."""
        if self.writes:
            tidy(self.directory, engine.state.iteration, run=self.config.get("run"))
        self.save(engine)

    @property
    def saved_iteration(self) -> int | None:
        """The iteration of the newest checkpoint that this run has saved, or goes on from."""
        return self._saved_at

    @property
    def newest(self) -> Path | None:
        """The file of that checkpoint."""
        return None if self._saved_at is None else self._path(self._saved_at)

    def save_if_due(self, engine: Engine) -> None:
        """Save if ``every_s`` have passed; after an epoch's last iteration, `save_scored` does."""
        if self.agreement is not None and self.agreement.is_agreed("save"):
            self._save_inside_an_epoch(engine)
            return
        if self._wait is None or not self._wait.is_over():
            return
        if self._written is not None and not self._written.done():
            return
        if self.agreement is None:
            self._save_inside_an_epoch(engine)
        elif self.writes:
            self.agreement.ask("save")

    def _save_inside_an_epoch(self, engine: Engine) -> None:
        state = engine.state
        if not (state.epoch_length and state.iteration % state.epoch_length == 0):
            self.save(engine)

    def save_scored(self, engine: Engine) -> None:
        """Save, and keep this checkpoint if its score is the best."""
        self.wait()
        numbers = {} if self.score is None else scalars(engine.state.metrics)
        self._unscored = None if self.score in numbers else list(numbers)
        value = numbers.get(str(self.score), math.nan)
        sign = 1 if self.maximize else -1
        best = self._best
        if not math.isnan(value) and (best is None or sign * value > sign * best[0]):
            best = value, engine.state.iteration
        self._save(engine, best)

    def save(self, engine: Engine) -> None:
        """Save, unless this iteration has been."""
        self.wait()
        # Whether it could be written, only one of several processes knows.
        last = self._saved_at if self.agreement is None else self._tried_at
        if engine.state.iteration != last:
            self._save(engine, self._best)

    def wait(self) -> None:
        """Wait until what is saved in the background is on the disk."""
        conclude, self._conclude_last = self._conclude_last, None
        if conclude is not None:
            with self._saving():
                conclude()

    def finish(self, engine: Engine) -> None:
        """Say if nobody has published the score, and raise `NotSaved` if the last save has failed."""
        if self.score is not None and self._unscored is not None:
            names = [name for name in self._unscored if not name.startswith("time/")]
            there = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
            _LOGGER.warning("%s is no metric, so no checkpoint is the best; there are %s", self.score, there)
        self.wait()
        if self.failure is not None:
            raise NotSaved(self.failure)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        self.is_saving = True
        try:
            with nullcontext() if self.timer is None else self.timer.part("checkpoint"):
                yield
        finally:
            self.is_saving = False

    def _save(self, engine: Engine, best: Best) -> None:
        iteration = engine.state.iteration
        path = self._path(iteration)
        conclude = partial(self._conclude, path, iteration, best)
        self.verify(self.objects)
        self._tried_at = iteration
        with self._saving():
            try:
                self.before()
                content = {
                    "engine": dict(engine.state_dict()),
                    "engine_attributes": added_attributes(engine.state),
                    "config": self.config,
                    "metrics": scalars(engine.state.metrics),
                    "best": best,
                    "objects": {name: state_of(it) for name, it in self.objects.items()},
                    "frozen": {name: frozen_parameters(it) for name, it in self.objects.items()},
                }
                if not self.writes:
                    self._saved_at, self._best = iteration, best
                elif self.background:
                    self._written = self._pool.submit(self._write, path, copied(content))
                    self._conclude_last = partial(conclude, self._written.result)
                else:
                    conclude(partial(self._write, path, content))
            except Exception as error:  # whatever a state or a copy of it stumbles over
                self._fail(path, error)
        if self._wait is not None:
            self._wait.restart()

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        # Whoever is found and not named may have reasons for a NaN, such as a place that is not yet filled.
        if holds_nan([state for name, state in content["objects"].items() if name in self._named]):
            raise ValueError("it holds values that are not a number")
        make_folders(self.directory)
        check = partial(load_checkpoint, lazily=True)
        write_whole(path, partial(save_sealed, content=content), check=check)

    def _conclude(self, path: Path, iteration: int, best: Best, written: Callable[[], object]) -> None:
        try:
            written()
        except Exception as error:  # a checkpoint must not end a run
            self._fail(path, error)
            return
        self._saved_at, self._best, self.failure = iteration, best, None
        try:
            self._prune()
        except OSError as error:  # it is saved nevertheless
            _LOGGER.warning("%s could not be listed (%s)", self.directory, error)

    def _fail(self, path: Path, error: Exception) -> None:
        before = "there is none before it" if self._saved_at is None else "the checkpoints before it are kept"
        self.failure = f"{path} was not saved ({str(error) or type(error).__name__}); {before}"
        _LOGGER.warning(self.failure)

    def _path(self, iteration: int) -> Path:
        return checkpoint_path(self.directory, iteration)

    def _prune(self) -> None:
        best = None if self._best is None else self._path(self._best[1])
        for path in files_in(self.directory)[: -self.keep]:
            if path != best:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    _LOGGER.warning("%s could not be removed (%s)", path, error)

    def restore(self, engine: Engine, payload: Mapping[str, Any], *, missing: Collection[str] = ()) -> None:
        """Put everything back from what `load_newest` returned; ``engine.run`` then goes on from there.

        ``missing`` names objects that are new since the checkpoint, which may lack them: they begin as they
        are. `UnusableRun` is raised if it lacks others, or holds any that this run does not have.
        """
        if "frozen" not in payload:
            raise UnusableRun("the checkpoint is of an older version, which this one cannot go on with")
        if unknown := set(missing) - self.objects.keys():
            raise ValueError(f"missing must name objects of this run, got {', '.join(sorted(unknown))}")
        held = payload["objects"].keys()
        if lacking := self.objects.keys() - held - set(missing):
            raise UnusableRun(
                f"the checkpoint lacks {', '.join(sorted(lacking))}; if that is new, name it in missing="
            )
        if surplus := held - self.objects.keys():
            raise UnusableRun(f"the checkpoint holds {', '.join(sorted(surplus))}, which this run lacks")
        put_back(engine, self.objects, payload)
        self._best = None if payload["best"] is None else (payload["best"][0], payload["best"][1])
        self._saved_at = self._tried_at = engine.state.iteration
