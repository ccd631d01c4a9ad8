"""What any process asks for, told to all with the sums that they make anyway."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from handlers import FetchComputeTimer
from ignite_pipeline.run.processes import Processes


class Exchange:
    """Add up vectors over ``processes``; those at the end of a vector tell what any of them asks for.

    So all learn of it in the same iteration, and it costs nothing. On a device that would have to be waited
    for, they learn of it an iteration later.
    """

    def __init__(self, processes: Processes, names: Iterable[str], *, timed: FetchComputeTimer) -> None:
        self._add_up = timed.timed("others", processes.add_up)
        self._wishes = dict.fromkeys(names, 0.0)
        self._heard: set[str] = set()
        # From a device: the copy that is under way, and what of it has been heard before.
        self._coming: tuple[Tensor, Any] | None = None
        self._settled: set[str] = set()

    @property
    def spare(self) -> int:
        """So many numbers at the end of each vector are needed here."""
        return len(self._wishes)

    def ask(self, name: str) -> None:
        """Ask for something, from the next sum on."""
        self._wishes[name] = 1.0

    def is_agreed(self, name: str) -> bool:
        """Return whether somebody has asked for it, and all know; once, unless it is asked for again."""
        if name not in self._heard:
            return False
        self._heard.discard(name)
        self._wishes[name] = 0.0
        if self._coming is not None:
            self._settled.add(name)
        return True

    def add_up(self, vector: Tensor) -> None:
        """Replace the vector by its sum over all processes."""
        wishes = vector[-self.spare :]
        on_host = vector.device.type == "cpu"
        mine = torch.tensor(list(self._wishes.values()), dtype=vector.dtype, pin_memory=not on_host)
        wishes.copy_(mine, non_blocking=True)
        self._add_up(vector)
        if on_host:
            self._hear(wishes)
            return
        if self._coming is not None:
            copy, event = self._coming
            event.synchronize()  # it is an iteration old
            self._hear(copy)
        copy = torch.empty(self.spare, dtype=vector.dtype, pin_memory=True).copy_(wishes, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._coming = copy, event

    def _hear(self, wishes: Tensor) -> None:
        heard = {name for name, wish in zip(self._wishes, wishes.tolist(), strict=True) if wish}
        self._heard |= heard - self._settled
        self._settled.clear()
