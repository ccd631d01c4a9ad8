"""The rules of the house that no type checker sees."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import handlers
from ignite_pipeline import run
from tests.support.imports import imported_by

ROOT = Path(handlers.__file__).parent.parent


def modules_of(package: str) -> list[str]:
    """Return the modules of a package in dots."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def imported(modules: list[str]) -> set[str]:
    """Return what modules import, all that is imported for them included."""
    return imported_by(f"import importlib; list(map(importlib.import_module, {modules}))", folder=ROOT)


def test_handlers_know_nothing_of_what_is_trained():
    names = modules_of("handlers")
    assert len(names) > 5
    assert not {name for name in imported(names) if name.split(".")[0] == "ignite_pipeline"}


def test_the_core_knows_neither_handlers_nor_what_joins_the_two():
    names = [name for name in modules_of("ignite_pipeline") if room_of(name) == "core"]
    assert len(names) > 5
    above = {"handlers", *(f"ignite_pipeline.{room}" for room in MAY_IMPORT)}
    assert not above & imported(names)


# What each may import, besides itself. Nothing imports in a circle, then.
MAY_IMPORT = {
    "handlers": set(),
    "core": set(),
    "board": {"core", "handlers"},
    "run": {"core", "handlers", "board"},
    "profiling": {"core", "handlers", "output_files", "run"},
    "output_files": {"core", "handlers"},
    "look": {"core", "handlers", "output_files"},
    "compare": {"core", "handlers", "output_files"},
    "predict": {"core", "handlers", "output_files"},
    "evaluate": {"core", "handlers", "output_files", "predict"},
}


def room_of(module: str) -> str | None:
    """Return the room that a module of ours is in."""
    package, _, rest = module.partition(".")
    if package != "ignite_pipeline":
        return "handlers" if package == "handlers" else None
    return rest.split(".")[0] if rest.split(".")[0] in MAY_IMPORT else "core"


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_every_room_imports_only_what_stands_below_it():
    for path in [*ROOT.glob("handlers/*.py"), *ROOT.glob("ignite_pipeline/**/*.py")]:
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found = {room_of(name) for name in imports_of(path)} - {None, room}
        assert found <= MAY_IMPORT[room], path


@pytest.mark.parametrize("package", ["handlers", "ignite_pipeline"])
def test_no_two_modules_import_each_other(package):
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.glob(f"{package}/**/*.py")
    }
    graph = {name: imports_of(path) & paths.keys() for name, path in paths.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("script", ["run_cifar2", "run_finetune", "run_pix2pix"])
def test_the_recipe_of_a_script_can_be_read_at_once(script):
    tree = ast.parse((ROOT / "scripts" / f"{script}.py").read_text())
    (train,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    assert train.end_lineno - train.lineno + 1 <= 60
    assert not [name for name in imports_of(ROOT / "scripts" / f"{script}.py") if name.startswith("run_")]


def test_the_exported_names_of_run():
    assert run.__all__ == ["BadInput", "Best", "Parser", "Run", "launch", "number"]


def test_the_exported_names_of_handlers():
    assert handlers.__all__ == [
        "Checkpoints",
        "EvaluateEachEpoch",
        "EverySeconds",
        "FetchComputeTimer",
        "Interrupted",
        "LearningRate",
        "Mistakes",
        "ModelNorms",
        "ProgressLine",
        "RunRecord",
        "SampleGrids",
        "StepMeans",
        "StopOnNonFinite",
        "StopOnSignal",
        "UnfreezeAfter",
        "VisdomBoard",
        "WeightAverage",
        "create_run",
        "load_best",
        "load_checkpoint",
        "load_newest",
        "model_sha256",
        "plot_report",
        "read_config",
        "update_config",
    ]
    assert all(hasattr(handlers, name) for name in handlers.__all__)


def test_nobody_names_handlers_beside_a_script():
    assert not (ROOT / "scripts" / "handlers.py").exists()
