"""What several test files need: images on disk, a ticking clock, a script in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from handlers import plot_report, record
from ignite_pipeline.board import server as visdom_server
from ignite_pipeline.errors import BadInput
from ignite_pipeline.run import live_board
from tests.support.clocks import TickingClock
from tests.support.drawn import write_pairs, write_tree
from tests.support.photographs import write_photographs
from tests.support.runs import SCRIPTS, train

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background job
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ticking_clock() -> TickingClock:
    return TickingClock()


@pytest.fixture(scope="session")
def image_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 training and 8 validation images of each of two classes, as PNG files; not to be written to."""
    return write_tree(tmp_path_factory.mktemp("images"), {"train": 32, "val": 8})


@pytest.fixture(scope="session")
def undisturbed(image_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of three epochs on these images; not to be written to."""
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "plot_report", plot_report)  # even if the first test to ask has none drawn
        train(image_tree, directory)
    return directory


@pytest.fixture(scope="session")
def real_cifar2() -> Path:
    """CIFAR-10's airplanes and birds as JPEG files, where IGNITE_PIPELINE_CIFAR2 says that they are."""
    root = os.environ.get("IGNITE_PIPELINE_CIFAR2")
    if root is None:
        pytest.skip("IGNITE_PIPELINE_CIFAR2 names no folder of real images")
    return Path(root)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of all sizes and modes in train/ and test/, real ones where they are at hand"""
    pictures = os.environ.get("IGNITE_PIPELINE_CIFAR2")
    counts = {"train/airplane": 33, "train/bird": 44, "test/airplane": 11, "test/bird": 11}
    root = tmp_path_factory.mktemp("photographs") / "photographs"
    return write_photographs(root, counts, Path(pictures) if pictures else None)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 side-by-side pairs for training and 3 for validation, of 40 pixels a side; not to be written to."""
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root, {"train": 5, "val": 3}, side=40)
    return root


@pytest.fixture(scope="session")
def real_facades() -> Path:
    """CMP façades, photo left, labels right, where IGNITE_PIPELINE_FACADES says that they are."""
    root = os.environ.get("IGNITE_PIPELINE_FACADES")
    if root is None:
        pytest.skip("IGNITE_PIPELINE_FACADES names no folder of real images")
    return Path(root)


@pytest.fixture(scope="session")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Visdom's front end, fetched as a user would get it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    try:
        return visdom_server.front_end()
    except BadInput as error:
        pytest.skip(str(error))
    finally:
        patch.undo()


@pytest.fixture
def start_script() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script in a process, and a process group, of its own; what still runs ends with the test."""
    started = []

    def start(name: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPTS / name), *map(str, args)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(autouse=True)
def _no_board_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run of a test appear on a board that happens to be open."""
    monkeypatch.setattr(live_board, "PORT", 1)


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no report.png, which takes longer than a small run, but for tests that are marked so."""
    if "draws_reports" not in request.keywords:
        monkeypatch.setattr(record, "plot_report", lambda directory: None)


@pytest.fixture(autouse=True)
def _restore_torch() -> object:
    """Undo what a script sets for its whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")
