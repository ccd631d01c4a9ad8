"""What a checkpoint holds: what the recipe names, and whatever is attached and has a state."""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from handlers.attached import attached_objects
from handlers.held import held_objects
from handlers.model_digest import unwrapped
from handlers.states import Stateful, state_of, without_numpy_scalars
from ignite_pipeline.run.generator_states import GeneratorState, as_stateful


def objects_to_save(
    given: Mapping[str, Stateful],
    trainer: Engine,
    evaluators: Iterable[Engine] = (),
    *,
    on_unsavable: Callable[[str], object],
) -> dict[str, Stateful]:
    """Return ``given``, every object with a state that is attached to an engine, and what the trainer holds.

    An attached object goes by its class's name. One that the trainer's step or its handlers hold, a schedule
    or a buffer of images, goes by the name that it has there (see `held_objects`).

    What cannot be saved goes to ``on_unsavable``, in words, and is left out; metrics of an evaluator, which
    begin anew each time, are left out too. ``TypeError`` is raised for a given object without
    ``state_dict``.

    >>> from ignite.metrics import Average
    >>> def make_step(model):
    ...     return lambda engine, batch: float(batch) * model.bias.item()
    >>> trainer = Engine(make_step(nn.Linear(1, 1)))
    >>> Average().attach(trainer, "mean")
    >>> list(objects_to_save({}, trainer, on_unsavable=print))
    ['Average', 'model']
    """
    objects: dict[str, Stateful] = {}
    for name, thing in given.items():
        if not _has_state(thing):
            raise TypeError(f"save[{name!r}] must have state_dict and load_state_dict, got {type(thing)}")
        objects[name], reason = _savable(thing)
        if reason is not None:
            raise TypeError(f"save[{name!r}] has a state that a checkpoint cannot hold: {reason}")
    known = {id(unwrapped(thing)) for thing in given.values()}
    found = [(type(thing).__name__, thing) for thing in attached_objects(trainer)]
    held = list(held_objects(trainer))
    by_hand = [thing for _, thing in held if isinstance(thing, Engine) and thing is not trainer]
    for evaluator in {id(engine): engine for engine in (*evaluators, *by_hand)}.values():
        for thing in attached_objects(evaluator):
            if isinstance(thing, Metric):
                known.add(id(thing))
            else:
                found.append((type(thing).__name__, thing))
    for name, thing in (*found, *held):
        thing = as_stateful(thing)
        inner = thing.generator if isinstance(thing, GeneratorState) else unwrapped(thing)
        if id(inner) in known or isinstance(thing, Engine | DataLoader) or not _has_state(thing):
            continue
        known.add(id(inner))
        if isinstance(thing, nn.Module) and _is_part_of(thing, objects.values()):
            continue
        savable, reason = _savable(thing)
        if reason is not None:
            on_unsavable(f"{name} is not saved, a resumed run begins it anew: {reason}")
        else:
            objects[_free_name(name, objects)] = savable
    return objects


def _savable(thing: Stateful) -> tuple[Stateful, str | None]:
    """Return an object in the form in which it can be saved, and why it cannot, if so."""
    if isinstance(thing, Optimizer):  # it is large, and holds tensors
        return thing, _why_unsavable_content(without_numpy_scalars(thing.state_dict()["param_groups"]))
    if isinstance(thing, nn.Module) and not _has_extra_state(thing):
        return thing, None
    try:
        if not isinstance(thing, nn.Module | Metric) and _WithoutFunctions.suits(thing):
            thing = _WithoutFunctions(thing)
    except Exception as error:  # whatever its state stumbles over
        return thing, _in_a_line(error)
    return thing, _why_unsavable(thing)


def _has_extra_state(model: nn.Module) -> bool:
    default = nn.Module.get_extra_state
    return any(type(module).get_extra_state is not default for module in model.modules())


def _is_part_of(module: nn.Module, others: Iterable[Any]) -> bool:
    """Return whether all that a module holds is in the states of others already."""
    tensors = {id(tensor) for other in others if isinstance(other, nn.Module) for tensor in _tensors(other)}
    return {id(tensor) for tensor in _tensors(module)} <= tensors and not _has_extra_state(module)


def _tensors(module: nn.Module) -> Iterable[Any]:
    return (*module.parameters(), *module.buffers())


class _WithoutFunctions:
    """The state of an object without the functions in it: a checkpoint holds none, the recipe makes them.

    Ignite's ``LambdaStateScheduler`` and ``ReduceLROnPlateauScheduler`` have such.
    """

    def __init__(self, thing: Stateful) -> None:
        self.thing = thing

    @staticmethod
    def suits(thing: Stateful) -> bool:
        """Return whether there is a state, with functions in it and more."""
        state = thing.state_dict()
        return isinstance(state, dict) and _without_functions(state) not in (state, {})

    def state_dict(self) -> dict[str, Any]:
        return _without_functions(self.thing.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.thing.load_state_dict(_merged(self.thing.state_dict(), state))


def _without_functions(state: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the functions in a state and in the dicts in it.

    >>> _without_functions({"a": 1, "b": {"c": print, "d": 2}})
    {'a': 1, 'b': {'d': 2}}
    """
    return {
        name: _without_functions(value) if isinstance(value, dict) else value
        for name, value in state.items()
        if not callable(value)
    }


def _merged(state: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(state)
    for name, value in new.items():
        is_part = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if is_part else value
    return merged


def _has_state(thing: Any) -> bool:
    # Asked of the class: an Ignite metric itself answers to every name.
    return hasattr(type(thing), "state_dict") and hasattr(type(thing), "load_state_dict")


def _why_unsavable(thing: Stateful) -> str | None:
    if isinstance(thing, Metric) and not thing._state_dict_all_req_keys:
        return "its class names nothing to save in _state_dict_all_req_keys"
    try:
        return _why_unsavable_content(state_of(thing))
    except Exception as error:  # whatever its state stumbles over
        return _in_a_line(error)


def _why_unsavable_content(content: Any) -> str | None:
    file = io.BytesIO()
    try:
        torch.save(content, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:  # whatever is in it
        return _in_a_line(error)
    return None


def _in_a_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
