"""Labelled images: the validation part of a data set, or all of a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ignite_pipeline.command_line import say
from ignite_pipeline.data.cifar2 import cifar2
from ignite_pipeline.data.image_files import subfolders
from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.known_files import CIFAR10_FOLDER
from ignite_pipeline.data.labelled_files import VALIDATION_NAMES, LabelledFiles, class_folders
from ignite_pipeline.data.stored_images import StoredImages
from ignite_pipeline.data.targets_csv import read_targets
from ignite_pipeline.errors import BadInput
from ignite_pipeline.signature import Signature


@dataclass(frozen=True)
class LabelledData:
    """Images that are read when they are asked for, their names, and the target of each."""

    names: Sequence[str]
    images: ImageTensors | StoredImages
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def find_labelled(root: Path, signature: Signature, *, targets: str | None = None) -> LabelledData:
    """Return the labelled images of ``root``, in the order of validation.

    ``root`` holds a folder for each class, or ``val/`` or ``test/`` with these, or CIFAR-10's own files; or
    ``targets`` is a CSV table of files below it, see `read_targets`. Folders of other classes are reported
    and left out. `BadInput` is raised for what is not there.
    """
    if not os.path.isdir(root):
        raise BadInput(f"{root}: no such folder; give one that holds images")
    if targets is not None:
        files, of_val, test = read_targets(targets, root, kind=signature.kind, classes=signature.outputs)
        if test is not None:
            say(f"{targets}: rows of test are left out ({len(test):,}): give a table of them alone")
        return _of_files(of_val or files, signature)
    if signature.kind != "classes":
        raise BadInput(f"--targets CSV must say which {signature.kind} each image has")
    if (root / CIFAR10_FOLDER).is_dir():
        images = cifar2(root, classes=signature.outputs, dataset="cifar10").val
        return LabelledData([f"test image {number}" for number in range(len(images))], images, images.targets)
    there = subfolders(root)
    val = next((root / name for name in VALIDATION_NAMES if name in there), root)
    known = signature.outputs
    others = [name for name in subfolders(val) if name not in known]
    if not set(subfolders(val)) & set(known):
        raise BadInput(f"{val}: holds no folder of the model's classes, {', '.join(known)}")
    files = class_folders(val, (*known, *others))
    if others:
        say(f"{val}: the model does not know {', '.join(others)}: left out")
        of_known = (files.targets < len(known)).nonzero().flatten().tolist()
        files = replace(files.chosen(of_known), classes=known)
    return _of_files(files, signature)


def _of_files(files: LabelledFiles, signature: Signature) -> LabelledData:
    names = [os.path.join(files.root, name) for name in files.names]
    images = StoredImages(files, image_size=signature.preprocessing.resize_size)
    return LabelledData(names, images, files.targets)
