"""Where a recipe is recorded to be, it is found again."""

import sys
from functools import partial

import pytest

import run_cifar2
from ignite_pipeline.run.recipe_place import module_at, place_of


def test_a_function_that_cannot_be_found_again_has_no_place():
    def inside(run):
        pass

    for recipe in (inside, lambda run: None, partial(run_cifar2.train), run_cifar2.Recipe(1, 1, 1.0), None):
        assert place_of(recipe) is None


def test_a_script_s_recipe_has_a_place():
    place = place_of(run_cifar2.train)
    assert place == {"module": "run_cifar2", "file": run_cifar2.__file__, "function": "train"}


@pytest.fixture
def package(tmp_path):
    """A recipe in a package, which imports what lies beside it, also while it trains."""
    folder = tmp_path / "theirs_of_a_test" / "recipes"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(
        "from ..net import depth\ndef train(run):\n    import beside\n    return depth\n"
    )
    (tmp_path / "theirs_of_a_test" / "net.py").write_text("depth = 3\n")
    (tmp_path / "beside.py").write_text("")
    yield {"module": "theirs_of_a_test.recipes.mine", "file": str(folder / "mine.py"), "function": "train"}
    for name in [name for name in sys.modules if name.startswith("theirs_of_a_test") or name == "beside"]:
        del sys.modules[name]


def test_a_recipe_in_a_package_is_found_with_all_that_it_imports(package):
    before = list(sys.path)
    with module_at(package) as module:
        assert module.train(None) == 3
        assert place_of(module.train) == package
    assert sys.path == before


@pytest.mark.parametrize("name", ["run_cifar2", "time"])
def test_a_recipe_whose_module_is_called_like_another_is_found(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("def train(run):\n    return 'theirs'\n")
    place = {"module": name, "file": str(tmp_path / f"{name}.py"), "function": "train"}
    with module_at(place) as module:
        assert module.train(None) == "theirs"
    del sys.modules[f"recipe_{name}"]
