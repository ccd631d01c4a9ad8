"""Two real runs, and sides made of copies of one."""

import pytest

from tests.support.compared_runs import OPTIONS, copy
from tests.support.runs import train


@pytest.fixture(scope="session")
def real(image_tree, tmp_path_factory):
    """Two real runs of the recipe, which differ in the learning rate; not to be written to."""
    folder = tmp_path_factory.mktemp("compared")
    for name, rate in (("low", 0.01), ("high", 0.05)):
        train(image_tree, folder / name, *OPTIONS, "--lr", rate)
    return folder


@pytest.fixture
def sides(real, tmp_path):
    """Return what makes sides of three runs, copies of a real one, begun in turn: their times are given."""

    def make(**factors: tuple[float, float, float]) -> list[str]:
        for place, (side, of_runs) in enumerate(factors.items()):
            for number, factor in enumerate(of_runs):
                copy(real / "low", tmp_path / side / str(number), begun_s=2 * number + place, factor=factor)
        return [str(tmp_path / side) for side in factors]

    return make
