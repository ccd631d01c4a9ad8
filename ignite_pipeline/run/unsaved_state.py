"""What the first steps of a session and of its epochs show of a recipe that would not resume exactly."""

import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from handlers.model_digest import unwrapped
from ignite_pipeline.data.loading import EndlessLoader
from ignite_pipeline.run.changing_values import ChangingValues

_LOGGER = logging.getLogger(__name__)


def _looking_on(
    handler: "Callable[[UnsavedState, Engine], None]",
) -> "Callable[[UnsavedState, Engine], None]":
    """Let a handler look at objects of any make: what they raise is logged once, and ends no run."""

    @wraps(handler)
    def look(self: "UnsavedState", engine: Engine) -> None:
        try:
            handler(self, engine)
        except Exception:
            if self._has_failed:
                return
            self._has_failed = True
            _LOGGER.warning("what a resumed run would lack could not be looked at", exc_info=True)

    return look


class UnsavedState:
    """Say once what a run draws from, steps or changes, that its checkpoints do not hold.

    The first step of a session, and of each epoch, is watched: an optimizer that steps must be among what
    ``saved()`` returns or an attribute of one, and its gradients must not be kept for the next. Neither
    ``random`` nor ``numpy.random`` may be drawn from. Plain values that the step, a handler or the data set
    holds may not change. The last two are looked at again after every epoch. Optimizer steps are noted until
    the end of the epoch.

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
        self._told: set[str] = set()
        self._has_failed = False
        self._stepped: dict[int, Optimizer] = {}
        self._hook: Any = None
        self._states: dict[str, Any] = {}
        self._values: ChangingValues | None = None
        self._groups: dict[int, int] = {}

    def attach(self, engine: Engine) -> "UnsavedState":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.compare)
        return self

    def start(self, engine: Engine) -> None:
        """Watch the first step, after whatever else is attached before it and before what comes after."""
        self._states, self._values = {}, None
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin_step)

    @_looking_on
    def begin_step(self, engine: Engine) -> None:
        """Remember what the step begins with."""
        engine.remove_event_handler(self.begin_step, Events.ITERATION_STARTED)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end_step)
        self._hook = register_optimizer_step_post_hook(self._note_step)
        if self._values is None:
            self._states = _random_states()
            loader = engine.state.dataloader
            dataset = loader.dataset.dataset if isinstance(loader, EndlessLoader) else None
            self._groups = {
                id(thing): len(thing.param_groups)
                for thing in self._all_saved()
                if isinstance(thing, Optimizer)
            }
            self._values = ChangingValues(engine, self._saved_tensors(), dataset=dataset)
            self._say_of(
                self._values.iterators(),
                "begins anew in a resumed run, as every iterator: take data from run.train_loader alone, or"
                " index it by trainer.state.iteration",
            )

    @_looking_on
    def end_step(self, engine: Engine) -> None:
        """Compare with what the step has left."""
        engine.remove_event_handler(self.end_step, Events.ITERATION_COMPLETED)
        self._say_what_was_drawn("the step draws")
        kept = any(tensor.grad is not None for tensor in self._saved_tensors() if tensor.is_leaf)
        if kept and not self._stepped and engine.state.iteration == 1:
            self._tell(
                "gradients are kept from one iteration to the next, and a checkpoint does not hold them:"
                " accumulate them within an iteration (--micro-batches)"
            )
        self._say_what_is_not_saved()
        self._say_what_has_changed()

    def _say_what_has_changed(self) -> None:
        if self._values is not None:
            self._say_of(
                self._values.changed(),
                "changes and is not saved, so a resumed run begins it anew (and workers have copies of a data"
                " set): put it on trainer.state, or give what holds it a state_dict",
            )

    def _say_what_a_resume_would_not_find(self, engine: Engine) -> None:
        for thing in self._all_saved():
            if isinstance(thing, Optimizer) and len(thing.param_groups) > self._groups.get(
                id(thing), len(thing.param_groups)
            ):
                self._tell(
                    f"{type(thing).__name__} was given parameters as it ran, which it does not have when the"
                    " run goes on: give it all groups when it is made, frozen if need be"
                )
        state = engine.state
        if not engine.should_terminate and state.epoch_length and state.iteration % state.epoch_length:
            self._tell("an epoch has ended early: a run that goes on counts its epochs as if none had")

    def _say_of(self, names: Iterable[str], what: str) -> None:
        for name in names:
            self._tell(f"{name} {what}")

    def _saved_tensors(self) -> list[Tensor]:
        return [
            tensor
            for thing in self._all_saved()
            if isinstance(thing, nn.Module)
            for tensor in (*unwrapped(thing).parameters(), *unwrapped(thing).buffers())
        ]

    def _say_what_is_not_saved(self) -> None:
        held = list(self._all_saved())
        parameters = {
            id(parameter)
            for thing in held
            if isinstance(thing, nn.Module)
            for parameter in unwrapped(thing).parameters()
        }
        for optimizer in self._stepped.values():
            name = type(optimizer).__name__
            if not any(thing is optimizer for thing in held):
                self._tell(
                    f"{name} steps and is not saved: put it into save= of Run.attach, else a resumed run"
                    " begins it anew"
                )
            stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if stepped - parameters:
                self._tell(
                    f"{name} updates parameters of a model that is not saved: put the model into save= of"
                    " Run.attach, else a resumed run begins it anew"
                )
        self._stepped.clear()

    def _tell(self, notice: str) -> None:
        if notice not in self._told:
            self._told.add(notice)
            self.on_unsaved(notice)

    def close(self) -> None:
        """Stop watching optimizers."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped[id(optimizer)] = optimizer

    def _all_saved(self) -> Iterable[Any]:
        for thing in self.saved():
            yield thing
            # What it holds counts if its state has it too: a schedule's does not have its optimizer.
            state = {}
            if not isinstance(thing, nn.Module | Optimizer):
                with suppress(ValueError):  # one that refuses to be saved now says so when it is to be
                    state = thing.state_dict()
            names = state.keys() if isinstance(state, dict) else ()
            yield from (getattr(thing, name) for name in names if hasattr(thing, str(name)))

    @_looking_on
    def compare(self, engine: Engine) -> None:
        """Look whether the generators have moved in this session."""
        self.close()
        if self._states:
            self._say_what_was_drawn("something outside the data set draws")
        if self._stepped:
            self._say_what_is_not_saved()
        self._say_what_has_changed()
        self._say_what_a_resume_would_not_find(engine)
        # A step that begins with a later epoch may have an optimizer of its own.
        if not engine.should_terminate and not engine.has_event_handler(
            self.begin_step, Events.ITERATION_STARTED
        ):
            engine.add_event_handler(Events.ITERATION_STARTED, self.begin_step)

    def _say_what_was_drawn(self, who: str) -> None:
        if not self.watch_randomness:
            return
        now = _random_states()
        drawn = [name for name, state in self._states.items() if state != now[name]]
        if drawn:
            self.watch_randomness = False
            self._tell(
                f"{who} from {' and '.join(drawn)}, which a resumed run does not go on with:"
                f" --seed-everything seeds {'it' if len(drawn) == 1 else 'them'}"
            )


def _random_states() -> dict[str, Any]:
    kind, keys, position, *_ = np.random.get_state(legacy=True)
    return {"random": random.getstate(), "numpy.random": (kind, bytes(np.asarray(keys)), position)}
