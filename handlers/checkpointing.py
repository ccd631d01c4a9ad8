"""Checkpoints: written whole, read back and verified before an older one is removed."""

import copy
import hashlib
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from handlers.checkpoint_files import check_seal, load_checkpoint, save_sealed
from handlers.files import write_whole
from handlers.timing import FetchComputeTimer
from handlers.training_metrics import scalars

_LOGGER = logging.getLogger(__name__)
_NAME = re.compile(r"checkpoint_\d+\.pt")


class Stateful(Protocol):
    """Anything whose state can be taken and put back."""

    def state_dict(self) -> Any:
        """Return the state: tensors, numbers and strings in dicts and lists."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore the state."""


class Checkpoints:
    """Save objects and the engine's position at the start, after every epoch and every ``every_s`` seconds.

    A checkpoint is a file ``checkpoint_<iteration>.pt`` in ``directory`` that `load_newest` and
    ``torch.load(weights_only=True)`` read. The newest ``keep`` stay, and the one with the best
    ``metrics[score]`` (the largest, or the smallest with ``maximize=False``; NaN is never best). A save
    that fails, or would hold NaN, is logged; training goes on and the older checkpoints stay. If the last
    save of a run fails, ``RuntimeError`` is raised at its end.

    ``background`` copies the state in the loop and leaves the rest to a thread: it takes the memory of
    a copy. ``config`` is kept in each file, for whoever has nothing but that file. A ``timer`` counts the
    time of the loop apart.

    Attach it after whatever has its state saved, or publishes the score, or writes a record.

    >>> import tempfile
    >>> from handlers import load_newest
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        if every_s is not None and every_s <= 0:
            raise ValueError(f"every_s must be positive or None, got {every_s}")
        self.directory, self.objects = Path(directory), dict(objects)
        self.every_s, self.keep, self.score, self.maximize, self.clock = every_s, keep, score, maximize, clock
        self.config, self.timer, self.background = dict(config or {}), timer, background
        self.failure: str | None = None
        self._best: tuple[float, int] | None = None
        self._saved_at: int | None = None
        self._writer: Thread | None = None
        self._last_save_s = clock()

    def attach(self, engine: Engine) -> "Checkpoints":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        if self.every_s is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.save_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_scored)
        engine.add_event_handler(Events.TERMINATE, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        return self

    def start(self, engine: Engine) -> None:
        """Save, once nothing is in the way: what a kill left goes, a later checkpoint is an error."""
        for path in self.directory.glob(".checkpoint_*.tmp"):
            path.unlink()
        for path in self._files():
            if path > self._path(engine.state.iteration):
                self._unlink_damaged(path)
        self.save(engine)

    def _unlink_damaged(self, path: Path) -> None:
        try:
            iteration = load_checkpoint(path)["engine"]["iteration"]
        except ValueError:
            path.unlink()
        else:
            raise ValueError(
                f"{self.directory} holds a checkpoint of iteration {iteration}: restore it, or save elsewhere"
            )

    def save_if_due(self, engine: Engine) -> None:
        """Save if ``every_s`` have passed; after an epoch's last iteration, `save_scored` does."""
        state = engine.state
        due = self.every_s is not None and self.clock() - self._last_save_s >= self.every_s
        writing = self._writer is not None and self._writer.is_alive()
        if due and not writing and not (state.epoch_length and state.iteration % state.epoch_length == 0):
            self.save(engine)

    def save_scored(self, engine: Engine) -> None:
        """Save, and remember this checkpoint if its score is the best."""
        value = math.nan if self.score is None else float(engine.state.metrics.get(self.score, math.nan))
        sign = 1 if self.maximize else -1
        if not math.isnan(value) and (self._best is None or sign * value > sign * self._best[0]):
            self._best = value, engine.state.iteration
        self.save(engine)

    def save(self, engine: Engine) -> None:
        """Save, unless this iteration has been."""
        self._last_save_s = self.clock()
        with nullcontext() if self.timer is None else self.timer.part("checkpoint"):
            self.wait()
            if engine.state.iteration != self._saved_at:
                self._save(engine)

    def wait(self) -> None:
        """Wait until what is saved in the background is on the disk."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def finish(self, engine: Engine) -> None:
        """Raise ``RuntimeError`` if the last save has failed."""
        self.wait()
        if self.failure is not None:
            raise RuntimeError(self.failure)

    def _save(self, engine: Engine) -> None:
        path, best = self._path(engine.state.iteration), self._best
        try:
            content = {
                "engine": dict(engine.state_dict()),
                "config": self.config,
                "metrics": scalars(engine.state.metrics),
                "best": best,
                "objects": {name: unwrapped(thing).state_dict() for name, thing in self.objects.items()},
            }
        except ValueError as error:
            self._fail(path, error)
            return
        write = partial(self._write, path, engine.state.iteration, best)
        if not self.background:
            write(content)
            return
        self._writer = Thread(target=write, args=(_copied(content),), name="checkpoint")
        self._writer.start()

    def _write(self, path: Path, iteration: int, best: tuple[float, int] | None, content: Any) -> None:
        try:
            if _holds_nan(content["objects"]):
                raise ValueError("it holds values that are not a number")
            self.directory.mkdir(parents=True, exist_ok=True)
            write_whole(path, partial(save_sealed, content=content), check=check_seal)
            self._saved_at, self.failure = iteration, None
            self._prune(best)
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(path, error)

    def _fail(self, path: Path, error: Exception) -> None:
        self.failure = f"{path} was not saved ({error}); the checkpoints before it are kept"
        _LOGGER.warning(self.failure)

    def _path(self, iteration: int) -> Path:
        return self.directory / f"checkpoint_{iteration:08d}.pt"

    def _files(self) -> list[Path]:
        paths = self.directory.iterdir() if self.directory.exists() else ()
        return sorted(path for path in paths if _NAME.fullmatch(path.name))

    def _prune(self, best: tuple[float, int] | None) -> None:
        for path in self._files()[: -self.keep]:
            if best is None or path != self._path(best[1]):
                path.unlink()

    def restore(self, engine: Engine, payload: Mapping[str, Any]) -> None:
        """Put everything back from what `load_newest` returned; ``engine.run`` then goes on from there."""
        if different := self.objects.keys() ^ payload["objects"].keys():
            raise ValueError(f"the checkpoint and this run differ in {', '.join(sorted(different))}")
        for name, thing in self.objects.items():
            try:
                unwrapped(thing).load_state_dict(payload["objects"][name])
            except (RuntimeError, KeyError) as error:
                raise ValueError(f"the checkpoint's {name} does not fit this run's") from error
        engine.load_state_dict(payload["engine"])
        engine.state.metrics.update(payload["metrics"])
        self._best = None if payload["best"] is None else (payload["best"][0], payload["best"][1])
        self._saved_at = engine.state.iteration


def unwrapped(thing: Any) -> Any:
    """Return the model inside ``torch.compile`` and data parallelism, whose names are the plain ones."""
    while True:
        if isinstance(thing, nn.DataParallel | nn.parallel.DistributedDataParallel):
            thing = thing.module
        elif hasattr(thing, "_orig_mod"):
            thing = thing._orig_mod
        else:
            return thing


def _copied(content: Any) -> Any:
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        copied = copy.copy(content)  # of its own kind: a model's state has its versions as an attribute
        copied.update((name, _copied(value)) for name, value in content.items())
        return copied
    if isinstance(content, list | tuple):
        return type(content)(_copied(value) for value in content)
    return content


def _holds_nan(content: Any) -> bool:
    if isinstance(content, Tensor):
        # The sum alone takes a third of the time; infinities of both signs make it NaN too.
        return content.is_floating_point() and bool(content.sum().isnan()) and bool(content.isnan().any())
    values = (
        content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    )
    return any(map(_holds_nan, values))


def _feed_tensor(hasher: Any, tensor: Tensor) -> None:
    hasher.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    flat = tensor.detach().cpu().contiguous().view(-1)
    hasher.update(flat.view(torch.uint8).numpy().data)


def model_sha256(*models: nn.Module) -> str:
    """Return the SHA-256 over the parameters and buffers of models, each in name order.

    Name, dtype, shape and bytes count: two runs trained the same model if and only if these agree.

    >>> model = nn.Linear(2, 2)
    >>> before = model_sha256(model)
    >>> _ = nn.init.constant_(model.bias, 3.0)
    >>> before == model_sha256(model)
    False
    """
    hasher = hashlib.sha256()
    for model in map(unwrapped, models):
        tensors = [*model.named_parameters(), *model.named_buffers()]
        for name, tensor in sorted(tensors, key=lambda item: item[0]):
            hasher.update(f"{name} ".encode())
            _feed_tensor(hasher, tensor)
    return hasher.hexdigest()
