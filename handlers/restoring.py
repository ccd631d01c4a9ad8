"""Putting a run's objects and its engine's state back from a checkpoint."""

import copy
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer

from handlers.errors import UnusableRun
from handlers.model_digest import unwrapped
from handlers.states import Stateful, freeze_parameters, lay_out_as_parameters


def put_back(engine: Engine, objects: Mapping[str, Stateful], payload: Mapping[str, Any]) -> None:
    """Put back all that a checkpoint's ``payload`` has; ``engine.run`` then goes on from there.

    `UnusableRun` is raised for an object that does not fit.
    """
    _put_back_objects(objects, payload)
    engine.load_state_dict(payload["engine"])
    engine.should_terminate = False  # else Ignite takes the place for the beginning of an epoch
    _set_attributes(engine, payload)
    engine.state.metrics.update(payload["metrics"])
    _put_back_again_once_started(engine, objects, payload)


def _put_back_objects(objects: Mapping[str, Stateful], payload: Mapping[str, Any]) -> None:
    for name, thing in objects.items():
        if name not in payload["objects"]:
            continue
        try:
            unwrapped(thing).load_state_dict(payload["objects"][name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise UnusableRun(f"the checkpoint's {name} does not fit this run's ({error})") from error
        freeze_parameters(thing, payload["frozen"][name])
        if isinstance(thing, Optimizer):
            lay_out_as_parameters(thing)


def _put_back_again_once_started(
    engine: Engine, objects: Mapping[str, Stateful], payload: Mapping[str, Any]
) -> None:
    # What happens at a start has happened before; so has what happens at the start of the epoch, if the
    # run goes on inside one. Ignite's metrics, say, forget all they know.
    inside = bool(engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length)

    to_come = [payload]

    def restore(engine: Engine) -> None:
        if not to_come:  # a profiler has wrapped this, so that it could not be removed
            return
        payload = to_come.pop()
        if engine.has_event_handler(restore, event):
            engine.remove_event_handler(restore, event)
        _put_back_objects(objects, payload)
        _set_attributes(engine, payload)

    event = Events.GET_BATCH_STARTED if inside else Events.STARTED
    engine.add_event_handler(event, restore)


def _set_attributes(engine: Engine, payload: Mapping[str, Any]) -> None:
    for name, value in payload["engine_attributes"].items():
        now = getattr(engine.state, name, None)
        if isinstance(now, list) and isinstance(value, list):
            now[:] = value  # somebody may hold it
        elif isinstance(now, dict) and isinstance(value, dict):
            now.clear()
            now.update(value)
        else:
            setattr(engine.state, name, copy.copy(value))
