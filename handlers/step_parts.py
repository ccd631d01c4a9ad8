"""What a step computes: forward, backward, the optimizer, and the rest, from a sample of the steps."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from ignite.engine import Engine
from torch import Tensor, nn
from torch.autograd import Variable
from torch.optim import Optimizer

from handlers.attached import step_of
from handlers.held import held_objects

PARTS = ("forward", "backward", "optimizer", "rest")
_EVERY_ITERS, _MOST_EVERY_ITERS = 32, 256
_MOST_PENDING = 16


class StepParts:
    """The seconds of a step in parts, of one step in 32, later in 256; hooks are there as long as it lasts.

    ``forward`` is the calls of models, ``backward`` what autograd does from their outputs on, ``optimizer``
    the calls of ``Optimizer.step``, and ``rest`` all else, such as the loss. Models and optimizers are found
    in the step (see `held_objects`). With ``make_event``, the times are those of the device (see
    `DeviceTimeline`); nothing waits for it.

    >>> model = nn.Linear(2, 2)
    >>> engine = Engine(lambda engine, batch, model=model: model(batch))
    >>> ticks = iter(range(100))
    >>> parts = StepParts(clock=lambda: next(ticks))
    >>> parts.begin(engine)
    >>> parts.start()
    >>> _ = model(Tensor(1, 2))
    >>> parts.end()
    >>> parts.seconds()
    {'forward': 1.0, 'backward': 0.0, 'optimizer': 0.0, 'rest': 2.0}
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.make_event: Callable[[], Any] | None = None
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._models: list[nn.Module] = []
        self._optimizers: list[Optimizer] = []
        self._hooks: list[Any] = []
        self._inside: list[str] = []
        self._marks: list[tuple[str, Any]] = []
        self._pending: deque[list[tuple[str, Any]]] = deque(maxlen=_MOST_PENDING)
        self._draw = 0
        self.due = -1
        """The iteration, counted from 0, whose step is the next to be looked into."""
        self.looks = False
        """Whether a step is looked into now."""

    def begin(
        self, engine: Engine, *, iteration: int = 0, make_event: Callable[[], Any] | None = None
    ) -> None:
        """Find what the engine's step computes with; it goes on from ``iteration``."""
        self.stop()
        self._pending.clear()
        self.make_event, self.due = make_event, iteration + 2
        self._models, self._optimizers = [], []
        with suppress(Exception):  # objects of any make are looked at: what they raise ends no run
            held = [thing for _, thing in held_objects(Engine(step_of(engine)))]
            self._models = _outermost(thing for thing in held if isinstance(thing, nn.Module))
            self._optimizers = [thing for thing in held if isinstance(thing, Optimizer)]

    def start(self) -> None:
        """Look into the step that begins now."""
        self.stop()
        # Not every 32nd: it could fall in step with what happens every 16th.
        self._draw = (self._draw * 1103515245 + 12345) % 2**31
        every = min(max(_EVERY_ITERS, self.due // _EVERY_ITERS), _MOST_EVERY_ITERS)
        self.due += 1 + (self._draw >> 8) % (2 * every - 1)
        for model in self._models:
            self._hooks.append(model.register_forward_pre_hook(lambda *_: self._enter("forward")))
            hook = model.register_forward_hook(lambda _, __, y: self._end_forward(y), always_call=True)
            self._hooks.append(hook)  # also when a checkpoint calls again, and stops where it has enough
        for optimizer in self._optimizers:
            self._hooks.append(optimizer.register_step_pre_hook(lambda *_: self._enter("optimizer")))
            self._hooks.append(optimizer.register_step_post_hook(lambda *_: self._leave("optimizer")))
        self._inside, self._marks, self.looks = ["rest"], [], True
        self._mark("rest")

    def end(self) -> None:
        """End the step that is looked into, if one is."""
        if self._inside:
            self._mark(self._inside[0])
            self._pending.append(self._marks)
        self.stop()
        self._read()

    def stop(self) -> None:
        """Look no longer: a step that has raised is not counted."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._inside, self.looks = [], [], False

    def pause(self) -> None:
        """Count what follows, until `go_on`, to no part."""
        if self._inside:
            self._mark(self._inside[-1])

    def go_on(self) -> None:
        """Count again."""
        if self._inside:
            self._mark("")

    def _mark(self, part: str) -> None:
        """Charge what has passed since the last mark to ``part``."""
        if self.make_event is None:
            self._marks.append((part, self.clock()))
        else:
            event = self.make_event()
            event.record()
            self._marks.append((part, event))

    def _enter(self, part: str) -> None:
        if self._inside:
            self._mark(self._inside[-1])
            self._inside.append(part)

    def _leave(self, part: str) -> None:
        if part in self._inside[1:]:
            self._mark(self._inside[-1])
            while self._inside.pop() != part:
                pass

    def _end_forward(self, output: Any) -> None:
        self._leave("forward")
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(lambda _: self._start_backward())
                return

    def _start_backward(self) -> None:
        if self._inside and "backward" not in self._inside:
            self._enter("backward")
            # Called when this run of autograd's engine ends; distributed training waits so, too.
            Variable._execution_engine.queue_callback(lambda: self._leave("backward"))

    def _read(self) -> None:
        while self._pending and (self.make_event is None or self._pending[0][-1][1].query()):
            marks = self._pending.popleft()
            for (_, start), (part, end) in pairwise(marks):
                if part:
                    seconds = end - start if self.make_event is None else start.elapsed_time(end) / 1000
                    self._seconds[part] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part in the steps that were looked into."""
        return dict(self._seconds)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        self._seconds = dict(state["seconds"])


def _outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return those with parameters that are in no other, and can be hooked without being compiled anew."""
    modules = [module for module in modules if any(True for _ in module.parameters())]
    inner = {id(part) for module in modules for part in module.modules() if part is not module}
    return [
        module
        for module in modules
        if id(module) not in inner and getattr(module, "_compiled_call_impl", None) is None
    ]


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from (tensor for value in output.values() for tensor in _tensors(value))
    elif isinstance(output, tuple | list):
        yield from (tensor for value in output for tensor in _tensors(value))
