"""Replicas: the shares of a batch that are computed apart, and summed in an order that nothing changes.

What a replica computes depends on its number and the iteration alone, and sums go along one binary tree over
the replicas: so the weights have the same bits whether one process computes them all or each has its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ignite_pipeline.errors import BadInput
from ignite_pipeline.flat_vector import FlatVector
from ignite_pipeline.model_modes import Buffers
from ignite_pipeline.nested import map_leaves
from ignite_pipeline.seeding import REPLICA_STREAM, Generators, position_seed

Part = TypeVar("Part")
Result = TypeVar("Result")
Numbers = dict[str, Tensor]
_HOW = (
    "parts = compute.parts(batch), and then return compute.update(optimizer, forward, parts), where"
    " forward(part) returns the loss and a dict of tensors"
)


class Replicated:
    """What a loader gives a process that computes several replicas: the batch of each."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = list(batches)

    def pin_memory(self) -> "Replicated":
        """Return them in pinned memory, as a DataLoader asks for."""
        return Replicated([map_leaves(_pinned, batch) for batch in self.batches])

    def __iter__(self) -> NoReturn:
        raise BadInput(f"with several replicas, a batch has to be cut by run.compute: {_HOW}")

    def __getitem__(self, name: Any) -> NoReturn:
        self.__iter__()

    def __len__(self) -> NoReturn:
        self.__iter__()


def _pinned(leaf: Any) -> Any:
    return leaf.pin_memory() if hasattr(leaf, "pin_memory") else leaf


class Between(Protocol):
    """What adds up vectors over processes, each of which brings the sum of its own replicas."""

    @property
    def spare(self) -> int:
        """How many numbers at the end of each vector are its own."""

    def add_up(self, vector: Tensor) -> None:
        """Replace the vector by the sum over all processes, along the tree."""


class Replicas:
    """``count`` replicas, of which this process computes those in ``local``, a whole subtree.

    Each runs in randomness of its own, a function of ``seed``, the iteration and its number, and goes on with
    the buffers that it had; `update` replaces gradients, buffers, losses and outputs by their means.
    ``between`` adds up over processes, where there are several.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        generators: Generators,
        local: range | None = None,
        between: Between | None = None,
    ) -> None:
        if count < 1 or count & (count - 1):
            raise ValueError(f"count must be a power of two, got {count}")
        self.count, self.local = count, range(count) if local is None else local
        self.seed, self.generators, self.between = seed, generators, between
        self._models: tuple[nn.Module, ...] = ()
        self._iteration = self._stage = 0
        # Of each local replica; None while they have the same.
        self._buffers: list[Buffers] | None = None
        self._differ = self._updates = False
        self._vectors: dict[int, FlatVector] = {}

    def begin(self, iteration: int, models: tuple[nn.Module, ...]) -> None:
        """Begin an iteration, in which the buffers of ``models`` may change."""
        self.end()
        self._iteration, self._stage, self._models = iteration, 0, models

    def end(self) -> None:
        """Let all replicas have the means of their buffers, unless they do."""
        if self._differ and any(True for model in self._models for _ in model.buffers()):
            self._mean(FlatVector((), self._models), [None] * len(self.local), lambda part: [])

    def each(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Call ``function`` with the part of each local replica."""
        self._differ = True
        return [function(part) for part in self._in_turn(parts, keep=True)]

    def _in_turn(self, parts: Sequence[Part], *, keep: bool) -> Iterator[Part]:
        """Yield each local replica's part, while draws and buffers are its own; ``keep`` the latter."""
        if len(parts) != len(self.local):
            raise ValueError(
                f"parts must be those of {len(self.local)} replicas, got {len(parts)}: take the loader from"
                " run.train_loader, or --replicas 1"
            )
        several = len(parts) > 1
        before = self.generators.states()
        if several and self._buffers is None:
            self._buffers = [Buffers(*self._models)] * len(parts)
        for place, (replica, part) in enumerate(zip(self.local, parts, strict=True)):
            seed = position_seed(self.seed, REPLICA_STREAM, self._iteration, self._stage, replica)
            self.generators.seed(seed)
            if several and self._buffers is not None:
                self._buffers[place].restore()
            yield part
            if several and keep and self._buffers is not None:
                self._buffers[place] = Buffers(*self._models)
        self._stage += 1
        self.generators.restore(before)

    def update(
        self,
        optimizer: Optimizer,
        backward: Callable[[Part], tuple[Tensor, Numbers]],
        parts: Sequence[Part],
    ) -> tuple[Tensor, Numbers]:
        """Return the means of what ``backward`` returns; gradients and buffers become theirs."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        vector = self._vectors.get(id(optimizer))
        if vector is None or not vector.suits(parameters, self._models):
            vector = self._vectors[id(optimizer)] = FlatVector(parameters, self._models)
        names: list[str] = []

        def numbers_of(part: Part) -> list[Tensor]:
            loss, output = backward(part)
            names[:] = output
            for name, value in output.items():
                if value.ndim:
                    raise ValueError(
                        f"what forward returns must be numbers, whose means are taken over the replicas; got"
                        f" {name} of shape {tuple(value.shape)}"
                    )
            return [loss.detach(), *(value.detach() for value in output.values())]

        loss, *values = self._mean(vector, parts, numbers_of)
        return loss, dict(zip(names, values, strict=True))

    def _mean(
        self, vector: FlatVector, parts: Sequence[Part], numbers_of: Callable[[Part], list[Tensor]]
    ) -> list[Tensor]:
        spare = self.between.spare if self.between is not None else 0
        sums = TreeSum()
        replica = self.local.start
        for part in self._in_turn(parts, keep=False):
            numbers = numbers_of(part)
            is_first, reuse = replica == 0, len(parts) == 1
            sums.add(vector.packed(numbers, spare=spare, is_first=is_first, count=self.count, reuse=reuse))
            replica += 1
        if self.between is not None:
            self.between.add_up(sums.total)
        self._buffers, self._differ = None, False
        return vector.unpacked(sums.total.div_(self.count), like=numbers, count=self.count)

    @contextmanager
    def refusing_other_updates(self) -> Iterator[None]:
        """Raise `BadInput` where an optimizer steps outside of `updating`: on one replica's gradients."""

        def refuse(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if not self._updates:
                raise BadInput(
                    f"--replicas {self.count}: {type(optimizer).__name__} steps on the gradients of one"
                    f" replica; let run.compute make the update, on those of all: {_HOW}"
                )

        hook = register_optimizer_step_pre_hook(refuse)
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Let optimizers step."""
        self._updates = True
        try:
            yield
        finally:
            self._updates = False


class TreeSum:
    """The sum of 2^n tensors along a balanced binary tree, with at most n + 1 of them in memory.

    It works as a counter in binary does: two sums of as many terms are carried to one of twice as many. The
    tensors are overwritten.

    >>> import torch
    >>> sums = TreeSum()
    >>> for number in (1.0, 2.0, 3.0, 4.0):
    ...     sums.add(torch.tensor(number))
    >>> sums.total
    tensor(10.)
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[Tensor] = []

    def add(self, tensor: Tensor) -> None:
        """Add the next term."""
        self._count += 1
        carries = self._count
        while carries % 2 == 0:
            tensor = self._sums.pop().add_(tensor)
            carries //= 2
        self._sums.append(tensor)

    @property
    def total(self) -> Tensor:
        """The sum; ``ValueError`` is raised unless the number of terms is a power of two."""
        if len(self._sums) != 1:
            raise ValueError(f"the number of terms must be a power of two, got {self._count}")
        return self._sums[0]
