"""What a script imports before it is used: what takes seconds waits until it is."""

import subprocess
import sys

import pytest
import torchvision

from ignite_pipeline.data import known_files
from tests.support.runs import SCRIPTS

SLOW = {"torchvision", "matplotlib", "pandas", "triton", "IPython", "tensorboard"}


@pytest.mark.parametrize("script", ["run_cifar2", "run_pix2pix"])
def test_help_imports_nothing_that_is_slow_but_torch_and_ignite(script):
    code = f"import sys, {script}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert SLOW.isdisjoint(done.stdout.split())


def test_the_names_of_files_are_torchvision_s():
    assert known_files.IMAGE_SUFFIXES == torchvision.datasets.folder.IMG_EXTENSIONS
    assert torchvision.datasets.CIFAR10.base_folder == known_files.CIFAR10_FOLDER
