"""Data of any kind, with any workers, started in any way: the same batches, through a kill."""

import functools
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from handlers import load_newest
from tests.support import data_cases
from tests.support.data_cases import KINDS, LOADERS
from tests.support.killing import run_recipe

pytestmark = pytest.mark.slow

WORKERS = [(None, 0)] + [(method, count) for method in ("fork", "forkserver", "spawn") for count in (1, 3)]


def digests(directory):
    """Return a digest of all batches of the run, for each kind."""
    buffers = load_newest(directory / "checkpoints")["objects"]["model"].values()
    return {name: bytes(buffer.tolist()) for name, buffer in zip(KINDS, buffers, strict=True)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The digests of runs that were killed and resumed, by loader and workers; of whole runs by None."""
    root = tmp_path_factory.mktemp("kinds")

    def run(loader):
        place = root / str(list(LOADERS).index(loader))
        place.mkdir()
        train = functools.partial(data_cases.train, loader=loader, method=None)
        run_recipe(train, place / "whole")
        run_recipe(train, place / "killed", kill_at=17)
        found = {(loader, None): digests(place / "whole")}
        for method, count in WORKERS:
            directory = place / f"{method}-{count}"
            shutil.copytree(place / "killed", directory)
            train = functools.partial(data_cases.train, loader=loader, method=method)
            run_recipe(train, directory, "--num-workers", count)
            found[loader, (method, count)] = digests(directory)
        return found

    with ThreadPoolExecutor(2) as pool:
        found = [item for part in pool.map(run, LOADERS) for item in part.items()]
    return dict(found)


@pytest.mark.parametrize("workers", WORKERS, ids=lambda workers: f"{workers[1]} by {workers[0]}")
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", KINDS)
def test_data_is_the_same_after_a_kill_with_any_workers(runs, kind, loader, workers):
    assert runs[loader, workers][kind] == runs[loader, None][kind]


def test_the_digests_tell_loaders_apart(runs):
    for kind in set(KINDS) - {"torch's own data sets"}:
        assert len({runs[loader, None][kind] for loader in LOADERS}) == len(LOADERS)
