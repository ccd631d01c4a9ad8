"""The recipe of docs/recipe.md in the hands of a stranger, who has the wheel and what it requires."""

import json
import shutil
import signal
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from handlers.files import read_metrics
from handlers.run_windows import run_environment
from tests.support.runs import outcome, summary
from tests.support.stranger import (
    LANDS_AT,
    OPTIONS,
    QUIET,
    RECIPE,
    ROOT,
    Stranger,
    applies,
    git,
    in_site_packages,
    pip,
)
from tests.support.visdom_process import VisdomProcess

pytestmark = pytest.mark.slow

BEGUN_IN_ONE_SECOND = """
import runpy, sys, time
time.strftime = lambda *args: "20260101-000000"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy: a build leaves folders behind."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("benchmarks", "handlers", "ignite_pipeline", "scripts", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "setup.py"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and, of the packages here, those that it requires."""
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip("install", "--no-deps", "--no-index", wheel, python=python)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (installed,) = distributions(name="ignite_pipeline", path=[str(site)])
    required = folder / "required"
    required.mkdir()
    for entry in in_site_packages(text for text in installed.requires or () if applies(Requirement(text))):
        (required / entry.name).symlink_to(entry)
    (site / "required.pth").write_text(f"{required}\n")
    return python


@pytest.fixture(scope="module")
def stranger(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """The recipe in a repository of its own, with one commit."""
    stranger = Stranger(python, tmp_path_factory.mktemp("recipe"))
    git(stranger.folder, "init", "--quiet")
    git(stranger.folder, "add", "recipe.py")
    git(stranger.folder, "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "commit", "-qm", "Begin")
    return stranger


@pytest.fixture(scope="module")
def undisturbed(stranger: Stranger) -> Path:
    """The directory of an undisturbed run; not to be written to."""
    directory = stranger.folder / "undisturbed"
    stranger.train(*OPTIONS, *QUIET, "--output", directory)
    return directory


def test_the_recipe_has_at_most_90_lines():
    assert len(RECIPE.splitlines()) <= 90


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path):
    kept = [
        str(path.relative_to(ROOT))
        for package in ("handlers", "ignite_pipeline")
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    ]
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(found) == sorted(kept)
    assert {"handlers/py.typed", "ignite_pipeline/py.typed", "ignite_pipeline/run/__init__.py"} <= set(found)


def test_a_stranger_has_neither_this_repository_nor_visdom(stranger: Stranger):
    names = ["ignite_pipeline", "handlers", "run_cifar2", "visdom", "tornado", "requests"]
    status, output, error = stranger.run(
        "-c", f"from importlib.util import find_spec as s; print(*[s(n) and s(n).origin for n in {names}])"
    )
    assert status == 0, error
    site = next(stranger.python.parent.parent.glob("lib/python*/site-packages"))
    packages = [str(site / name / "__init__.py") for name in names[:2]]
    assert output.split() == [*packages, "None", "None", "None", "None"]


def test_help_shows_its_own_options_and_those_of_every_run(stranger: Stranger):
    status, output, _ = stranger.run("recipe.py", "--help")
    assert status == 0
    assert "Tell noisy rings from noisy blobs." in output
    for option in (
        "--noise NOISE",
        "--resume DIR",
        "--num-workers {auto,N}",
        "--visdom {auto,off,serve,URL}",
    ):
        assert f"\n  {option}" in output


MISTAKES = {
    "--epochs 0": "argument --epochs: must be a whole number at least 1, got 0",
    "--samples 3": "--samples must be even, for two classes of one size, got 3",
    "--resume undisturbed --noise 0.1": "--noise 0.1 contradicts the run in undisturbed, which has 0.5",
    "--visdom serve": (
        "a board needs the package visdom, the extra [visdom]: docs/board.md says how to install it"
    ),
}


@pytest.fixture(scope="module")
def answers(stranger: Stranger, undisturbed: Path) -> dict[str, tuple[int, str, set[Path]]]:
    """Exit status and standard error of each mistake, and what is there after all of them that was not."""
    before = set(stranger.folder.rglob("*"))
    processes = {words: stranger.start("recipe.py", *words.split()) for words in MISTAKES}
    errors = {words: process.communicate(timeout=120)[1] for words, process in processes.items()}
    written = set(stranger.folder.rglob("*")) - before
    return {words: (processes[words].returncode, errors[words], written) for words in MISTAKES}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_ends_with_status_2_and_one_line_and_nothing_written(answers, words):
    status, error, written = answers[words]
    assert status == 2, error
    assert MISTAKES[words] in error
    assert error.startswith("recipe.py: error: ")
    assert error.count("\n") == 1
    assert not written


def test_a_run_that_is_killed_goes_on_with_other_workers_as_if_nothing_had_happened(
    stranger: Stranger, undisturbed: Path, tmp_path: Path
):
    directory = tmp_path / "run"
    status, error = stranger.end(signal.SIGKILL, directory)
    assert status == -signal.SIGKILL, error
    assert not (directory / "summary.json").exists()
    stranger.train("--resume", directory, "--num-workers", 2)
    assert outcome(directory) == outcome(undisturbed)


def test_a_run_that_is_told_to_end_saves_itself_and_goes_on_as_if_nothing_had_happened(
    stranger: Stranger, undisturbed: Path, tmp_path: Path
):
    directory = tmp_path / "run"
    status, error = stranger.end(signal.SIGTERM, directory)
    assert status == 143, error
    assert error.splitlines()[-1] == f"interrupted; go on with --resume {directory}"
    assert "Traceback" not in error
    assert summary(directory)["status"] == "interrupted"
    assert LANDS_AT <= summary(directory)["iterations"] < 96
    stranger.train("--resume", directory)
    assert outcome(directory) == outcome(undisturbed)


def test_two_runs_begun_in_the_same_second_have_two_directories(python: Path, tmp_path: Path):
    stranger = Stranger(python, tmp_path)
    options = ("recipe.py", *OPTIONS, *QUIET, "--max-iterations", 1)
    processes = [stranger.start("-c", BEGUN_IN_ONE_SECOND, *options) for _ in range(2)]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    directories = {path.name: path for path in (tmp_path / "runs" / "rings").iterdir()}
    assert set(directories) == {"20260101-000000-0", "20260101-000000-0-2"}
    assert all(summary(path)["status"] == "completed" for path in directories.values())
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.py", "runs"}


def test_its_curves_arrive_on_a_board_and_its_weights_are_the_same(
    stranger: Stranger, undisturbed: Path, tmp_path: Path
):
    server, directory = VisdomProcess(tmp_path / "home"), tmp_path / "run"
    server.start()
    try:
        stranger.train(*OPTIONS, *QUIET, "--visdom", server.url, "--output", directory)
        windows = server.windows(run_environment(directory))
    finally:
        server.kill()
    assert outcome(directory) == outcome(undisturbed)
    (validation,) = (t for t in windows["accuracy"]["content"]["data"] if t["name"] == "validation")
    lines = [line for line in read_metrics(directory) if line["kind"] == "epoch"]
    assert validation["x"] == [32, 64, 96]
    assert validation["y"] == [line["val/accuracy"] for line in lines]


def test_the_revision_recorded_is_that_of_the_recipe_s_repository(stranger: Stranger, undisturbed: Path):
    recorded = json.loads((undisturbed / "config.json").read_text())["git_revision"]
    assert recorded == git(stranger.folder, "describe", "--always", "--dirty")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ["-c", "import ignite_pipeline.run"],
            "hides the package handlers, a part of ignite_pipeline: rename it",
        ),
        (["recipe.py"], ""),
    ],
)
def test_handlers_of_a_user_s_own_beside_the_recipe_are_named(python: Path, tmp_path: Path, args, words):
    stranger = Stranger(python, tmp_path)
    (tmp_path / "handlers.py").write_text("")
    status, _, error = stranger.run(*args)
    assert status == 1
    assert str(tmp_path / "handlers.py") in error.splitlines()[-1]
    assert words in error.splitlines()[-1]
