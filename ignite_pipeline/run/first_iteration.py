"""What the first step of a session shows of a recipe that would not resume exactly."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook


class UnsavedState:
    """Say once what a run draws from, or steps, that its checkpoints do not hold.

    The first step of a session is watched: an optimizer that steps must be among what ``saved()`` returns
    or an attribute of one, and neither ``random`` nor ``numpy.random`` may be drawn from. These two are
    looked at again after every epoch. After its first step, it costs an iteration nothing.

    >>> trainer = Engine(lambda engine, batch: random.random())
    >>> _ = UnsavedState(list, on_unsaved=print).attach(trainer)
    >>> _ = trainer.run([1, 2])
    the step draws from random, which a resumed run does not go on with: --seed-everything seeds it
    """

    def __init__(
        self,
        saved: Callable[[], Iterable[Any]],
        *,
        on_unsaved: Callable[[str], object],
        watch_randomness: bool = True,
    ) -> None:
        self.saved, self.on_unsaved, self.watch_randomness = saved, on_unsaved, watch_randomness
        self._stepped: dict[int, Optimizer] = {}
        self._hook: Any = None
        self._states: dict[str, Any] = {}

    def attach(self, engine: Engine) -> "UnsavedState":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.compare)
        return self

    def start(self, engine: Engine) -> None:
        """Watch the first step, after whatever else is attached before it and before what comes after."""
        self._states = {}
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin_step)

    def begin_step(self, engine: Engine) -> None:
        """Remember what the step begins with."""
        engine.remove_event_handler(self.begin_step, Events.ITERATION_STARTED)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end_step)
        self._states = _random_states()
        self._hook = register_optimizer_step_post_hook(self._note_step)

    def end_step(self, engine: Engine) -> None:
        """Compare with what the step has left."""
        engine.remove_event_handler(self.end_step, Events.ITERATION_COMPLETED)
        self._hook.remove()
        self._say_what_was_drawn("the step draws")
        held = {id(thing) for thing in self._all_saved()}
        for optimizer in self._stepped.values():
            if id(optimizer) not in held:
                self.on_unsaved(
                    f"{type(optimizer).__name__} steps and is not saved: put it into save= of Run.attach,"
                    " else a resumed run begins it anew"
                )
        self._stepped.clear()

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped[id(optimizer)] = optimizer

    def _all_saved(self) -> Iterable[Any]:
        for thing in self.saved():
            yield thing
            yield from getattr(thing, "__dict__", {}).values()

    def compare(self, engine: Engine) -> None:
        """Look whether the generators have moved in this session."""
        if self._states:
            self._say_what_was_drawn("something outside the data set draws")

    def _say_what_was_drawn(self, who: str) -> None:
        if not self.watch_randomness:
            return
        now = _random_states()
        drawn = [name for name, state in self._states.items() if state != now[name]]
        if drawn:
            self.watch_randomness = False
            self.on_unsaved(
                f"{who} from {' and '.join(drawn)}, which a resumed run does not go on with:"
                f" --seed-everything seeds {'it' if len(drawn) == 1 else 'them'}"
            )


def _random_states() -> dict[str, Any]:
    kind, keys, position, *_ = np.random.get_state(legacy=True)
    return {"random": random.getstate(), "numpy.random": (kind, bytes(np.asarray(keys)), position)}
