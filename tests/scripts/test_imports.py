"""What a script imports before it is used: what takes seconds waits until it is."""

import pytest
import torchvision

from ignite_pipeline.data import known_files
from tests.support.imports import imported_by
from tests.support.runs import SCRIPTS

SLOW = {"torchvision", "matplotlib", "pandas", "triton", "IPython", "tensorboard"}


def slow_imports(code):
    return SLOW & imported_by(code, folder=SCRIPTS)


@pytest.mark.parametrize("script", ["run_cifar2", "run_pix2pix"])
def test_help_imports_nothing_that_is_slow_but_what_torch_and_ignite_do(script):
    assert slow_imports(f"import {script}") == slow_imports("import torch, ignite.engine")


def test_the_names_of_files_are_torchvision_s():
    assert known_files.IMAGE_SUFFIXES == torchvision.datasets.folder.IMG_EXTENSIONS
    assert torchvision.datasets.CIFAR10.base_folder == known_files.CIFAR10_FOLDER
