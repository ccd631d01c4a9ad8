"""The processes of a run: who they are, what they tell each other, and which of them has failed.

They are started by ``torchrun``, or by whatever else sets ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
``MASTER_PORT``, and speak through ``ignite.distributed``.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public by its docs

from handlers.errors import NotSaved, UnusableRun
from ignite_pipeline.command_line import say
from ignite_pipeline.errors import BadInput
from ignite_pipeline.run.meeting import meet
from ignite_pipeline.run.roll_call import RollCall

T = TypeVar("T")
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_CORRECTABLE = (BadInput, UnusableRun, NotSaved)


def largest_power_of_two(number: int) -> int:
    """Return the largest power of two that is at most ``number``.

    >>> [largest_power_of_two(number) for number in (1, 2, 3, 8)]
    [1, 2, 2, 8]
    """
    return 1 << (number.bit_length() - 1)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise BadInput(f"{name} must be a whole number, got {text!r}; torchrun sets it")
    return int(text)


class Processes:
    """Those that a launcher has started: one, which talks to nobody, or several.

    After `take_places`, ``count`` of them compute and have a ``rank``; the others are `surplus`.
    """

    def __init__(self, *, device: str = "cpu", timeout_s: float = 600.0) -> None:
        self.started = _number("WORLD_SIZE", 1)
        self.rank = _number("RANK", 0) if self.started > 1 else 0
        self.count, self.timeout_s = self.started, timeout_s
        self._on_gpu = device.split(":")[0] == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._timeout = timedelta(seconds=timeout_s)
        self._store: Any = None
        self._host: Any = None  # a group for what is not on a device
        self._pairs: list[Any] = []
        self._calls: RollCall | None = None
        if self.started == 1:
            return
        if missing := [name for name in _NEEDED if name not in os.environ]:
            raise BadInput(f"WORLD_SIZE is {self.started}, and {missing[0]} is not set: start with torchrun")
        if self.rank >= self.started:
            raise BadInput(f"RANK must be less than WORLD_SIZE, {self.started}, got {self.rank}")
        if not dist.is_available():
            raise BadInput(f"WORLD_SIZE is {self.started}, and this torch has no torch.distributed")
        if dist.is_initialized():
            raise BadInput("torch.distributed is in use already: leave it to the run to begin it")
        with self._finding_each_other():
            self._store = meet(rank=self.rank, count=self.started, timeout=self._timeout)
        self._calls = RollCall(self._store, rank=self.rank, count=self.started)
        if not self.is_main:
            logging.disable(logging.WARNING)

    @contextmanager
    def _finding_each_other(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BadInput(
                f"{self.started} processes did not find each other ({reason}); start them with torchrun"
            ) from error

    @property
    def is_main(self) -> bool:
        """Whether this is the process that records, saves and shows."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether more than one computes."""
        return self.count > 1

    @property
    def is_surplus(self) -> bool:
        """Whether there is nothing to compute for this one."""
        return self.rank >= self.count

    def told_by_main(self, make: Callable[[], Path | None]) -> Path | None:
        """Return what ``make`` returns in the main process, before places are taken."""
        if self._store is None:
            return make()
        if self.is_main:
            path = make()
            self._store.set("told", str(path or ""))
            return path
        with self._finding_each_other():
            self._store.wait(["told"], self._timeout)
        text = self._store.get("told").decode()
        return Path(text) if text else None

    def take_places(self, replicas: int) -> None:
        """Let as many processes compute as can share so many replicas equally, a power of two."""
        self.count = min(replicas, largest_power_of_two(self.started))
        surplus = self.started - self.count
        if surplus and self.is_main:
            say(
                f"{self.count} of {self.started} processes compute what is cut into {replicas};"
                f" {surplus} {'waits' if surplus == 1 else 'wait'}"
            )
        if self.count == 1 or self.is_surplus:
            return
        gpus, needed = torch.cuda.device_count(), min(self.count, self.on_this_machine)
        if self._on_gpu and 0 < gpus < needed:
            raise BadInput(
                f"{needed} processes need as many GPUs, and here are {gpus}: start torchrun with"
                f" --nproc-per-node {gpus}, or give --device cpu"
            )
        with self._finding_each_other():
            if self._on_gpu:
                place = _number("LOCAL_RANK", 0)
                torch.cuda.set_device(place if place < gpus else 0)  # where each is shown its own alone
            dist.init_process_group(
                "nccl" if self._on_gpu else "gloo",
                store=PrefixStore("compute", self._store),
                rank=self.rank,
                world_size=self.count,
                timeout=self._timeout,
            )
            idist.sync()
            self._host = dist.new_group(backend="gloo", timeout=self._timeout)
            step = 1
            while step < self.count:
                for pair in ([first, first ^ step] for first in range(self.count) if not first & step):
                    group = dist.new_group(pair, timeout=self._timeout)  # by all, in the same order
                    if self.rank in pair:
                        self._pairs.append(group)
                step *= 2

    def wait(self) -> None:
        """Wait, as one that is surplus, until the others are done."""
        if self._calls is not None:
            self._calls.wait_until_done()

    @property
    def on_this_machine(self) -> int:
        """How many of them share this machine's cores."""
        return _number("LOCAL_WORLD_SIZE", 1) if self.started > 1 else 1

    def local(self, replicas: int) -> range:
        """Return the replicas that this process computes."""
        share = replicas // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def add_up(self, vector: Tensor) -> None:
        """Replace a vector by its sum over all processes, along the binary tree over their ranks.

        In each round, pairs add up what they have; the sum of two does not depend on their order.
        """

        def by_pairs() -> None:
            for group in self._pairs:
                dist.all_reduce(vector, group=group)

        self._together(by_pairs)

    def gather(self, thing: Any) -> list[Any]:
        """Return what each process has given, in the order of their ranks."""
        if not self.are_several:
            return [thing]
        things: list[Any] = [None] * self.count
        self._together(lambda: dist.all_gather_object(things, thing, group=self._host))
        return things

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in the main process, everywhere; if it fails there, all end."""
        if not self.are_several:
            return make()
        if self.is_main:
            result = make()  # what it raises is noted as why this process has ended
            self._together(lambda: dist.broadcast_object_list([result], src=0, group=self._host))
            return result
        received: list[Any] = [None]
        self._together(lambda: dist.broadcast_object_list(received, src=0, group=self._host))
        content: T = received[0]
        return content

    def _together(self, communicate: Callable[[], object]) -> None:
        if self._calls is None:
            communicate()
            return
        try:
            with self._calls.waiting():
                communicate()
        except RuntimeError as error:
            raise self._calls.lost(error, among=self.count, timeout_s=self.timeout_s) from error

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._calls is None:
            return
        if error is None:
            if not self.is_surplus:
                self.gather(None)  # nobody leaves before all are done
            self._calls.note_done()
            if self._host is not None:
                idist.finalize()
            return
        status = 2 if isinstance(error, _CORRECTABLE) else getattr(error, "status", 1)
        self._calls.note_end(status, " ".join(str(error).split()) or type(error).__name__)
        # The main process says for all what is to be corrected.
        if isinstance(error, _CORRECTABLE) and not self.is_main:
            raise SystemExit(status) from error
