"""Where a run cannot go on with the same bits, it says so."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from handlers import read_config
from ignite_pipeline.run.circumstances import circumstances, differences
from tests.support.runs import SCRIPTS, train


@pytest.fixture(scope="module")
def begun(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("begun") / "run"
    train(image_tree, directory, "--max-iterations", 33)
    return directory


@pytest.fixture
def run(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")  # which this process has not locked


def resumed(directory, iterations, **environment):
    """Resume in a process of its own, elsewhere; return what it says."""
    command = [sys.executable, SCRIPTS / "run_cifar2.py", "--resume", directory, "--visdom", "off"]
    done = subprocess.run(
        [*command, "--max-iterations", str(iterations)],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ATEN_CPU_CAPABILITY", "default", "instruction_set was AVX"),
        ("ONEDNN_MAX_CPU_ISA", "SSE41", "ONEDNN_MAX_CPU_ISA was not set and is SSE41"),
        ("MKL_CBWR", "COMPATIBLE", "MKL_CBWR was not set and is COMPATIBLE"),
    ],
)
def test_other_kernels_are_said(run, variable, value, said):
    error = resumed(run, 34, **{variable: value})
    assert said in error
    assert "bits may differ from here on" in error
    before, now = read_config(run)["sessions"]
    assert before.get(variable) is None
    assert now[variable] == value
    assert before["computes"] != now["computes"] or variable == "MKL_CBWR"  # which changes products by MKL


def test_the_same_machine_says_nothing(run):
    assert "bits may differ" not in resumed(run, 34, OMP_NUM_THREADS="1")


def test_what_nobody_has_recorded_shows_in_what_is_computed():
    now = circumstances(torch.device("cpu"))
    assert differences(now, now) == []
    assert differences({**now, "computes": "?"}, now) == ["the same computation gives other bits"]
    assert differences({**now, "torch": "2.6.0", "computes": "?"}, now) == [
        f"torch was 2.6.0 and is {torch.__version__}"
    ]


def test_other_threads_compute_other_bits():
    digests = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        digests.append(circumstances(torch.device("cpu"))["computes"])
    assert digests[0] != digests[1]
