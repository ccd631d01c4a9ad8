"""What differs between the runs of two sides, besides how they went."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ignite_pipeline.compare.past_runs import PastRun

# Where a run is written to is no way in which it differs.
_PLACES = ("output", "resume")
_DATA = ("name", "train", "val", "sha256")
_NO_CIRCUMSTANCE = ("from_iteration", "started", "num_workers")
NOT_RECORDED = "–"


class Difference(NamedTuple):
    """Something that is not the same on both sides: its kind and name, and its values in the runs of each."""

    kind: str
    name: str
    a: list[str]
    b: list[str]


def differences(a: Sequence[PastRun], b: Sequence[PastRun]) -> list[Difference]:
    """Return what options, data, code and machine have as values on one side that they lack on the other.

    What varies alike on both sides, as seeds do, is no difference.
    """
    found = []
    for kind, facts_of in FACTS.items():
        facts = [[facts_of(run) for run in side] for side in (a, b)]
        for name in dict.fromkeys(name for side in facts for one in side for name in one):
            values = [_distinct(one.get(name, NOT_RECORDED) for one in side) for side in facts]
            if set(values[0]) != set(values[1]):
                found.append(Difference(kind, name, *values))
    return found


def _options(run: PastRun) -> dict[str, str]:
    options = run.config["options"]
    return {f"--{name.replace('_', '-')}": _text(options[name]) for name in options if name not in _PLACES}


def _data(run: PastRun) -> dict[str, str]:
    return {name: _text(run.config["dataset"][name]) for name in _DATA if name in run.config["dataset"]}


def _code(run: PastRun) -> dict[str, str]:
    versions = run.config.get("versions")
    found = {"git revision": run.config.get("git_revision")}
    found |= versions if isinstance(versions, dict) else {}
    return {name: _text(value) for name, value in found.items()}


def _machine(run: PastRun) -> dict[str, str]:
    last = run.sessions[-1] if run.sessions else {}
    found = {name: _text(value) for name, value in last.items() if name not in _NO_CIRCUMSTANCE}
    workers = run.config.get("auto_workers")
    if isinstance(workers, dict):
        found["workers found"] = _text(workers.get("num_workers"))
    return found


FACTS: dict[str, Callable[[PastRun], dict[str, str]]] = {
    "option": _options,
    "data": _data,
    "code": _code,
    "machine": _machine,
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
