"""What a script imports before it is used: what takes seconds waits until it is."""

import subprocess
import sys

import pytest
import torchvision

from ignite_pipeline.data import known_files
from tests.support.runs import SCRIPTS

SLOW = {"torchvision", "matplotlib", "pandas", "triton", "IPython", "tensorboard"}


def imported_by(code):
    shown = f"import sys; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", shown]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    return SLOW & set(done.stdout.split())


@pytest.mark.parametrize("script", ["run_cifar2", "run_pix2pix"])
def test_help_imports_nothing_that_is_slow_but_what_torch_and_ignite_do(script):
    assert imported_by(f"import {script}") == imported_by("import torch, ignite.engine")


def test_the_names_of_files_are_torchvision_s():
    assert known_files.IMAGE_SUFFIXES == torchvision.datasets.folder.IMG_EXTENSIONS
    assert torchvision.datasets.CIFAR10.base_folder == known_files.CIFAR10_FOLDER
