"""Ignite's own handlers beside ours: attached before and after, killed, resumed, with the same outcome.

The table in docs/ignite.md is what this finds; with ``UPDATE_DOCS=1`` it writes it anew.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import handlers
from handlers import load_newest
from tests.support import ignite_cases
from tests.support.ignite_cases import CASES, Case
from tests.support.killing import run_recipe
from tests.support.runs import outcome

pytestmark = pytest.mark.slow

PAGE = Path(handlers.__file__).parent.parent / "docs" / "ignite.md"
OURS = {"model", "optimizer", "compute", "StepMeans", "FetchComputeTimer", "StopOnNonFinite", "RunRecord"}


def found(directory):
    """Return what must not depend on a kill: weights, metrics, and the files of ``ModelCheckpoint``."""
    files = {path.name: torch.load(path) for path in (directory / "theirs").glob("*")}
    return outcome(directory), {
        name: {key: value.tolist() for key, value in state.items()} for name, state in files.items()
    }


@functools.cache
def saved_and_exact(case: Case, first: bool, root: Path) -> tuple[str, bool]:
    """Return what checkpoints hold because of a case, and whether a run that was killed ends the same."""
    train = functools.partial(ignite_cases.train, case=case, first=first)
    whole, killed = root / "whole", root / "killed"
    run_recipe(train, whole)
    run_recipe(train, killed, kill_at=17)
    run_recipe(train, killed, "--num-workers", 1)
    names = load_newest(whole / "checkpoints")["objects"].keys() - OURS
    return ", ".join(f"`{name}`" for name in sorted(names)), found(killed) == found(whole)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ignite")


def row(case: Case, root: Path) -> str:
    def try_place(first: bool) -> tuple[str, bool]:
        place = root / f"{CASES.index(case)}-{first}"
        place.mkdir(exist_ok=True)
        return saved_and_exact(case, first, place)

    with ThreadPoolExecutor(2) as pool:
        (saved, before), (_, after) = pool.map(try_place, (True, False))
    return f"| {case.name} | {_in_words(before)} | {_in_words(after)} | {saved or '–'} |"


def _in_words(exact: bool) -> str:
    return "exact" if exact else "**not exact**"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_handler_of_ignite_s_is_exact_before_and_after_ours(case, root):
    assert "| exact | exact |" in row(case, root)


def test_the_page_has_what_was_found(root):
    head, _, rest = PAGE.read_text().partition("| Ignite's |")
    _, _, tail = rest.partition("\n\n")
    lines = ["| Ignite's | attached before ours | after ours | in the checkpoint |", "|---|---|---|---|"]
    page = head + "\n".join([*lines, *(row(case, root) for case in CASES)]) + "\n\n" + tail
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
